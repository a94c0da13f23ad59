"""Uploads: promised bytes go to the collector, listings first, then marked clips, originals, renditions.

May be killed anywhere: the journal says where to go on. A bundle that cannot be delivered as one is taken apart, and
nothing of it is lost or delivered twice: its members are open deliveries like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from agent.core.uplink import should_ask_first
from agent.doorbells import Doorbell
from agent.spool.journal import Journal
from agent.spool.records import Delivery, Shipment
from agent.uplink.batch import Batcher, Transition
from agent.uplink.early import EarlyUploads
from agent.uplink.errors import (
    CollectorProblemError,
    SourceError,
    SpoolDamagedError,
    UploadDivergedError,
    UploadStuckError,
)
from agent.uplink.sources import BundleSource, WholeFile
from agent.uplink.state import Clock, Transfer, UplinkState
from agent.uplink.tus import ProgressNote, TusClient, UploadOrder, UrlKeeper
from protocol.bundle import Member
from protocol.digest import Digest
from protocol.upload import Purpose
from protocol.upload_errors import UploadHeaderError

NO_BUNDLES_S: Final = 3600.0
"""For so long no bundle is offered to a collector that does not know them: it may have been replaced meanwhile."""

_BUNDLES_UNKNOWN: Final = frozenset({UploadHeaderError.code, "purpose-unknown"})
"""How a collector of before bundles refuses their purpose."""

_log = logging.getLogger(__name__)


class Receipts(Protocol):
    """What uploading asks before it sends a large file."""

    async def has_receipt(self, statement: Digest) -> bool: ...


class Uploading:
    """Brings shipments to the collector: ``Fetch`` and ``Act`` of the upload workers."""

    def __init__(
        self,
        *,
        journal: Journal,
        transitions: Batcher[Transition],
        tus: TusClient,
        early: EarlyUploads,
        receipts: Receipts,
        uploaded: Doorbell,
        state: UplinkState,
        now: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._transitions = transitions
        self._tus = tus
        self._early = early
        self._receipts = receipts
        self._uploaded = uploaded
        self._state = state
        self._now = now
        self._monotonic = monotonic
        self._bundling_from_s = float("-inf")

    def fetch(self, limit: int, under_way: Collection[str]) -> list[Shipment]:
        """In a thread."""
        bundling = self._monotonic() >= self._bundling_from_s
        return self._journal.take_shipments(limit, self._now(), bundling=bundling, under_way=under_way)

    async def act(self, shipment: Shipment) -> None:
        """Raises AgentError as ``TusClient.upload`` does; SpoolDamagedError when the spool itself has changed."""
        try:
            if shipment.bundle is None:
                await self._deliver_alone(shipment.deliveries[0])
            else:
                await self._deliver_bundle(shipment, shipment.bundle)
        finally:
            self._state.transfers.pop(shipment.deliveries[0].statement, None)

    async def _deliver_alone(self, delivery: Delivery) -> None:
        if should_ask_first(delivery) and await self._receipts.has_receipt(delivery.statement):
            return
        url = await self._early.finished(delivery.digest, delivery.upload_url)
        current = await asyncio.to_thread(self._journal.delivery, delivery.statement)
        if current is None:
            return
        if current.upload_url is None:  # the early upload began too late for the journal to know
            current = replace(current, upload_url=url)
        try:
            await self._send_file(current)
        except UploadDivergedError as error:
            _log.warning("upload-diverged", extra={"digest": error.expected, "actual": error.actual})
            await asyncio.to_thread(_check_spooled, current)
            raise
        await self._transitions.put(lambda: self._journal.note_uploaded(current.statement, self._now()))
        self._uploaded.ring()

    async def _send_file(self, delivery: Delivery) -> None:
        async def keep(url: str | None) -> None:
            await self._transitions.put(lambda: self._journal.note_upload_url(delivery.statement, url))

        await self._tus.upload(
            WholeFile(path=delivery.path, size_bytes=delivery.size_bytes),
            UploadOrder(agency=delivery.agency, purpose=delivery.purpose, digest=delivery.digest),
            url=delivery.upload_url,
            keep_url=keep,
            note_progress=self._progress_of(delivery, delivery.size_bytes),
        )

    async def _deliver_bundle(self, shipment: Shipment, bundle: int) -> None:
        address = shipment.upload_url

        async def keep(url: str | None) -> None:
            nonlocal address
            address = url
            await self._transitions.put(lambda: self._journal.note_bundle_url(bundle, url))

        try:
            await self._send_bundle(shipment, keep)
        except (CollectorProblemError, SourceError, UploadStuckError) as error:
            if isinstance(error, CollectorProblemError) and error.can_retry:
                raise
            await self._take_apart(bundle, error)
            if address is not None:
                await self._tus.terminate(address)
        else:
            await self._transitions.put(lambda: self._journal.note_bundle_uploaded(bundle, self._now()))
            self._uploaded.ring()

    async def _send_bundle(self, shipment: Shipment, keep: UrlKeeper) -> None:
        different = {(item.purpose, item.digest): item for item in shipment.deliveries}.values()
        members = [
            Member(purpose=Purpose(item.purpose), digest=item.digest, size_bytes=item.size_bytes)
            for item in different
        ]
        source = BundleSource(shipment.key, members, [item.path for item in different])
        await self._tus.upload(
            source,
            UploadOrder(agency=shipment.deliveries[0].agency, purpose=Purpose.BUNDLE, digest=None),
            url=shipment.upload_url,
            keep_url=keep,
            note_progress=self._progress_of(shipment.deliveries[0], source.size_bytes),
        )

    def _progress_of(self, delivery: Delivery, size_bytes: int) -> ProgressNote:
        def progress(sent_bytes: int) -> None:
            self._state.transfers[delivery.statement] = Transfer(
                digest=delivery.digest, sent_bytes=sent_bytes, size_bytes=size_bytes
            )

        return progress

    async def _take_apart(
        self, bundle: int, error: CollectorProblemError | SourceError | UploadStuckError
    ) -> None:
        """Each member by itself finds out what is wrong with it, or gets through a line that never lives as long as one
        of them takes: alone it goes on at any byte. Unless it is bundles that the collector refuses."""
        unknown = isinstance(error, CollectorProblemError) and error.problem in _BUNDLES_UNKNOWN
        if unknown:
            self._bundling_from_s = self._monotonic() + NO_BUNDLES_S
        _log.warning("bundle-taken-apart", extra={"bundle": bundle, "detail": str(error)})
        await self._transitions.put(
            lambda: self._journal.dissolve_bundle(bundle, self._now(), alone=not unknown)
        )


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
