"""The uplink as one service: its loops in one task group, each named, each ending only with the others.

No network trouble ends a loop. What does end one (a journal that cannot be written) ends the service, loudly.
Started again, it goes on from the journal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Final

from agent.broker.port import Broker
from agent.core.retry import Backoff
from agent.doorbells import Doorbell, Doorbells
from agent.errors import AgentError
from agent.spool.journal import Journal
from agent.uplink.admissions import AdmissionDesk
from agent.uplink.batch import transitions
from agent.uplink.collector_http import CollectorClient
from agent.uplink.deliveries import Asking, Uploading
from agent.uplink.early import EarlyUploads
from agent.uplink.inbox import CommandHandler, Inbox
from agent.uplink.log_watch import LogWatch
from agent.uplink.patience import Gate, Random
from agent.uplink.receipts import ReceiptDesk
from agent.uplink.state import Clock, UplinkState
from agent.uplink.statements import StatementLoop
from agent.uplink.tus import TusClient
from agent.uplink.workers import Circumstances, Workers
from protocol.digest import Digest
from protocol.errors import ForkError, ProtocolError
from protocol.note import VerifierKey

_BROKER_LOOK_S: Final = 1.0
"""How often a connected broker is looked at, to notice the next reconnection."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSettings:
    """Who the station is to its collector, and how much it does at once."""

    station: str
    log_key: VerifierKey
    collector_key: bytes
    """The key admissions are signed with."""
    evidence: Path
    """Folder for contradictions of the log."""
    upload_slots: int = 4
    asking_slots: int = 4
    backoff: Backoff = Backoff()  # noqa: RUF009 - frozen


class Uplink:
    """Statements out, bytes up, receipts back. ``early`` and ``state`` are for the visits and the status."""

    def __init__(
        self,
        settings: UplinkSettings,
        *,
        journal: Journal,
        collector: CollectorClient,
        broker: Broker | None,
        bells: Doorbells,
        now: Clock,
        random: Random | None = None,
        commands: CommandHandler | None = None,
    ) -> None:
        """``collector`` must be open, and ``broker`` started, while ``run`` runs; their owners end them after it."""
        random = random or SystemRandom().random
        self.state = UplinkState(now)
        self._journal = journal
        self._broker = broker
        self.watch = LogWatch(
            journal=journal,
            proofs=collector,
            log_key=settings.log_key,
            evidence=settings.evidence,
            state=self.state,
            now=now,
        )
        gate = Gate(self.state, random, settings.backoff)
        shared = Circumstances(
            gate=gate,
            backoff=settings.backoff,
            state=self.state,
            random=random,
            halted=lambda: self.watch.halted,
        )
        tus = TusClient(collector)
        self.early = EarlyUploads(tus=tus, gate=gate, backoff=settings.backoff, random=random)
        self._transitions = transitions(journal)
        self._receipts = ReceiptDesk(journal=journal, watch=self.watch, log_key=settings.log_key, now=now)
        self._admissions = AdmissionDesk(
            journal=journal,
            station=settings.station,
            collector_key=settings.collector_key,
            state=self.state,
            now=now,
        )
        self._statements = StatementLoop(
            journal=journal,
            broker=broker,
            collector=collector,
            admissions=self._admissions,
            station=settings.station,
            bell=bells.statements,
            gate=Gate(self.state, random, settings.backoff),
            state=self.state,
            now=now,
        )
        asking = Asking(
            journal=journal,
            transitions=self._transitions,
            collector=collector,
            tus=tus,
            receipts=self._receipts,
            admissions=self._admissions,
            bells=bells,
            state=self.state,
            backoff=settings.backoff,
            random=random,
            pushed=lambda: broker is not None and broker.connected,
        )
        uploaded = Doorbell()
        uploading = Uploading(
            journal=journal,
            transitions=self._transitions,
            tus=tus,
            early=self.early,
            asking=asking,
            uploaded=uploaded,
            state=self.state,
            now=now,
        )
        self._uploads = Workers(
            name="upload",
            slots=settings.upload_slots,
            bell=bells.deliveries,
            fetch=partial(journal.open_deliveries, uploaded=False),
            act=uploading.act,
            shared=shared,
        )
        self._questions = Workers(
            name="receipt",
            slots=settings.asking_slots,
            bell=uploaded,
            fetch=asking.fetch,
            act=asking.act,
            shared=shared,
        )
        self._receipts.on_settled = self._forget
        self._admissions.on_answered = partial(_ring, (bells.statements, bells.deliveries, uploaded))
        self.watch.on_halt = self._look_up
        self._inbox = (
            None
            if broker is None
            else Inbox(
                broker=broker,
                station=settings.station,
                admissions=self._admissions,
                receipts=self._receipts,
                state=self.state,
                commands=commands,
            )
        )

    async def run(self) -> None:
        """Until cancelled. What was put into the journal's queues is written before this returns."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._statements.run(), name="statements")
                tasks.create_task(self._uploads.run(), name="uploads")
                tasks.create_task(self._questions.run(), name="receipts")
                tasks.create_task(self.early.run(), name="early uploads")
                tasks.create_task(self._witness(), name="witness")
                if self._inbox is not None and self._broker is not None:
                    tasks.create_task(self._inbox.run(), name="inbox")
                    tasks.create_task(self._notice_reconnections(self._broker), name="broker watch")
        finally:
            await self._transitions.close()
            await self._receipts.close()

    def _forget(self, statement: Digest) -> None:
        self._uploads.forget(statement)
        self._questions.forget(statement)

    def _remember_newest(self) -> None:
        note = self.watch.newest_note()
        if note is not None:
            self._journal.note_checkpoint(note)

    def _look_up(self) -> None:
        self._uploads.retry_all()
        self._questions.retry_all()

    async def _notice_reconnections(self, broker: Broker) -> None:
        """The broker lives with the collector: when it is back, everything is worth another try."""
        while True:
            await broker.wait_connected()
            self._statements.hurry()
            self._look_up()
            while broker.connected:  # noqa: ASYNC110 - the port tells only of connections
                await asyncio.sleep(_BROKER_LOOK_S)

    async def _witness(self) -> None:
        """Check the checkpoints that admissions carry; those that come faster than proofs are skipped, since the
        next one proves the more."""
        admissions = self._admissions
        while True:
            await admissions.checkpoint_bell.wait(60.0)
            note, admissions.newest_checkpoint = admissions.newest_checkpoint, None
            if note is None:
                continue
            try:
                if await self.watch.check(note):
                    await self._transitions.put(self._remember_newest)
            except ForkError as error:
                _log.error("checkpoint-refused", extra={"code": error.code})
            except (AgentError, ProtocolError) as error:
                _log.info("checkpoint-not-proven", extra={"code": error.code, "detail": str(error)})


def _ring(bells: Sequence[Doorbell]) -> None:
    for bell in bells:
        bell.ring()
