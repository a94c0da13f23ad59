"""Deliveries: every blob a statement promised, from open to receipted (I6), in two loops over the journal.

The upload loop brings bytes: listings first, then marked clips, originals, renditions. The receipt loop asks for the
receipts that no broker has brought. Either may be killed anywhere: the journal says where to go on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from agent.core.retry import Backoff
from agent.core.uplink import decide_pending, should_ask_first
from agent.doorbells import Doorbell, Doorbells
from agent.spool.journal import Journal
from agent.spool.records import Delivery
from agent.uplink.admissions import AdmissionDesk
from agent.uplink.answers import RECEIPT_PENDING, STATEMENT_UNKNOWN
from agent.uplink.batch import Batcher, Transition
from agent.uplink.early import EarlyUploads
from agent.uplink.errors import CollectorProblemError, SourceError, SpoolDamagedError, UploadDivergedError
from agent.uplink.patience import Random
from agent.uplink.receipts import ReceiptDesk
from agent.uplink.state import Clock, Transfer, UplinkState
from agent.uplink.statements import StatementCollector
from agent.uplink.tus import TusClient, UploadOrder, WholeFile
from protocol.digest import Digest

LOST_UPLOAD: Final = "upload-lost"

_log = logging.getLogger(__name__)


class ReceiptSource(StatementCollector, Protocol):
    """What the receipt loop needs of the collector."""

    async def fetch_receipt(self, statement: Digest) -> bytes: ...


class Uploading:
    """Brings one delivery's bytes to the collector; the ``Act`` of the upload loop."""

    def __init__(
        self,
        *,
        journal: Journal,
        transitions: Batcher[Transition],
        tus: TusClient,
        early: EarlyUploads,
        asking: Asking,
        uploaded: Doorbell,
        state: UplinkState,
        now: Clock,
    ) -> None:
        self._journal = journal
        self._transitions = transitions
        self._tus = tus
        self._early = early
        self._asking = asking
        self._uploaded = uploaded
        self._state = state
        self._now = now

    async def act(self, delivery: Delivery, _turn: int) -> None:
        """Raises AgentError as ``TusClient.upload`` does; SpoolDamagedError when the spool itself has changed."""
        if should_ask_first(delivery) and await self._asking.has_receipt(delivery.statement):
            return
        await self._early.finished(delivery.upload_url)
        current = await asyncio.to_thread(self._journal.delivery, delivery.statement)
        if current is None:
            return
        try:
            await self._send(current)
        except UploadDivergedError as error:
            _log.warning("upload-diverged", extra={"digest": error.expected, "actual": error.actual})
            await asyncio.to_thread(_check_spooled, current)
            raise
        finally:
            self._state.transfers.pop(delivery.statement, None)
        await self._transitions.put(lambda: self._journal.note_uploaded(current.statement, self._now()))
        self._uploaded.ring()

    async def _send(self, delivery: Delivery) -> None:
        async def keep(url: str | None) -> None:
            await self._transitions.put(lambda: self._journal.note_upload_url(delivery.statement, url))

        def progress(sent_bytes: int) -> None:
            self._state.transfers[delivery.statement] = Transfer(
                digest=delivery.digest, sent_bytes=sent_bytes, size_bytes=delivery.size_bytes
            )

        await self._tus.upload(
            WholeFile(path=delivery.path, size_bytes=delivery.size_bytes),
            UploadOrder(agency=delivery.agency, purpose=delivery.purpose, digest=delivery.digest),
            url=delivery.upload_url,
            keep_url=keep,
            note_progress=progress,
        )


class Asking:
    """Asks for one delivery's receipt; the ``Act`` of the receipt loop."""

    def __init__(
        self,
        *,
        journal: Journal,
        transitions: Batcher[Transition],
        collector: ReceiptSource,
        tus: TusClient,
        receipts: ReceiptDesk,
        admissions: AdmissionDesk,
        bells: Doorbells,
        state: UplinkState,
        backoff: Backoff,
        random: Random,
        pushed: Callable[[], bool],
    ) -> None:
        """``pushed`` says whether receipts come by the broker now, so that asking can wait."""
        self._journal = journal
        self._transitions = transitions
        self._collector = collector
        self._tus = tus
        self._receipts = receipts
        self._admissions = admissions
        self._bells = bells
        self._state = state
        self._backoff = backoff
        self._random = random
        self._pushed = pushed

    def fetch(self, limit: int) -> list[Delivery]:
        """What there is to ask for: a receipt cannot come before the admission."""
        return [row for row in self._journal.open_deliveries(limit, uploaded=True) if row.admitted]

    async def act(self, delivery: Delivery, turn: int) -> float | None:
        """None once receipted; else seconds until the next question. Raises as ``has_receipt``."""
        plan = decide_pending(polls=turn, unit=self._random(), backoff=self._backoff, pushed=self._pushed())
        if turn == 1 and self._pushed():
            return plan.delay_s
        if await self.has_receipt(delivery.statement):
            return None
        if plan.check_staging and await self._is_lost(delivery):
            return None
        return plan.delay_s

    async def has_receipt(self, statement: Digest) -> bool:
        """Fetch, verify and keep the receipt if there is one.

        Raises UplinkError when the collector does not answer as it should; ForkError.
        """
        try:
            data = await self._collector.fetch_receipt(statement)
        except CollectorProblemError as error:
            if error.problem == STATEMENT_UNKNOWN:
                await self._announce_again(statement)
            elif error.problem != RECEIPT_PENDING:
                raise
            return False
        await self._receipts.accept(data)
        return True

    async def _announce_again(self, statement: Digest) -> None:
        """The collector admitted it, signed, and no longer knows it. It gets it again, and people are told."""
        envelope = await asyncio.to_thread(self._journal.statement, statement)
        if envelope is not None:
            self._state.report(
                STATEMENT_UNKNOWN, "the collector forgot a statement it had admitted", statement
            )
            await self._admissions.accept(await self._collector.post_statements([envelope]))

    async def _is_lost(self, delivery: Delivery) -> bool:
        """Whether the collector threw the uploaded bytes away; then they are delivered again."""
        if delivery.upload_url is None or await self._tus.exists(delivery.upload_url):
            return False
        if await self.has_receipt(delivery.statement):  # stored in the very moment between the two questions
            return True
        self._state.report(LOST_UPLOAD, "the collector no longer has the uploaded bytes", delivery.statement)
        await self._transitions.put(lambda: self._journal.note_upload_lost(delivery.statement))
        self._bells.deliveries.ring()
        return True


def _check_spooled(delivery: Delivery) -> None:
    """In a thread. Raises SpoolDamagedError when it is this side whose bytes have changed."""
    actual = _hash_file(delivery.path)
    if actual != delivery.digest.hex:
        raise SpoolDamagedError(expected=str(delivery.digest), actual=f"{delivery.digest.algorithm}:{actual}")


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path.name} cannot be read: {error.strerror}") from error
