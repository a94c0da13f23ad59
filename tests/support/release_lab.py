"""A station that releases what it has read, and a collector that keeps its word: everything signed is real."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from agent.core.bay import BayState
from agent.core.release import ReleaseSettings
from agent.offload.settings import ReleaseTools, VisitTools
from agent.offload.visit import Visit
from agent.ports import RecorderVolume
from agent.spool.journal import Journal
from agent.spool.records import Purpose
from protocol import ed25519
from protocol.admission import open_admission
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.statements import (
    Inventory,
    Manifest,
    Released,
    ReleaseIntent,
    Statement,
    sign_statement,
)
from protocol.verify import verify_receipt
from tests.support.evidence import AGENCY, COLLECTOR_SEED, NOW, STATION, STATION_SEED
from tests.support.lossy_spool import LossySpool
from tests.support.tiny_log import TinyCollector
from tests.support.visit_lab import FAST, WatchedTile, end_with, make_tools, statements, visiting

PHOTO = b"DCIM/100MEDIA/ZFY0001_000123_20260131081530.JPG"
CLIP = b"DCIM/100MEDIA/ZFY0001_000123_20260131081600.MP4"
SYSTEM = b"System Volume Information/IndexerVolumeGuid"
FILES = {PHOTO: b"photo" * 1000, CLIP: bytes(range(256)) * 4096 * 2 + b"end", SYSTEM: b"\0" * 76}
"""What lies on a recorder: evidence, and what its computer left there."""

PATIENCE_S = 30
"""For what would otherwise hang a test for ever."""

AT_REST = frozenset(
    {
        BayState.DONE,
        BayState.RELEASED,
        BayState.NOT_RELEASED,
        BayState.UNREADABLE,
        BayState.REFUSED,
        BayState.LOST_CONTACT,
        BayState.RELEASE_INTERRUPTED,
    }
)


class EnrolledSigner:
    """The station that the collector's log has enrolled."""

    station = STATION

    def sign(self, statement: Statement) -> Envelope:
        return sign_statement(statement, STATION_SEED)

    def agency_for(self, recorder: Claim | None) -> str | None:
        return AGENCY


@dataclass
class Centre:
    """The collector as the station's journal meets it: it answers what was signed and stores what the spool holds.

    Kinds in ``silent`` are not answered. ``refuses`` maps kinds to refusal codes.
    """

    collector: TinyCollector = field(default_factory=TinyCollector)
    silent: set[str] = field(default_factory=set)
    refuses: dict[str, str] = field(default_factory=dict)
    withholds_receipts: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def public_key(self) -> bytes:
        return ed25519.public_from_seed(COLLECTOR_SEED)

    def answer(self, journal: Journal, spool: LossySpool) -> None:
        """Everything the station owes is answered, as far as the collector is willing."""
        with self._lock:
            self._answer(journal, spool)

    def _answer(self, journal: Journal, spool: LossySpool) -> None:
        for row in journal.unsettled_statements(-1):
            if row.kind in self.refuses:
                journal.settle_refused(row.statement, self.refuses[row.kind], "the test says so", NOW)
            elif row.kind not in self.silent:
                self._admit(journal, row.envelope)
        for delivery in journal.open_deliveries(-1):
            data = spool.blob(delivery.purpose, delivery.digest)
            if data is not None and Digest.of(data) == delivery.digest:
                self.collector.blobs.add(delivery.digest)
        if not self.withholds_receipts:
            self._give_receipts(journal)

    def _admit(self, journal: Journal, envelope: bytes) -> None:
        admission = open_admission(self.collector.admit([envelope]), self.public_key)
        for result in admission.results:
            assert result.index is not None
            journal.settle_admitted({result.statement: result.index}, NOW)

    def _give_receipts(self, journal: Journal) -> None:
        self.collector.store_what_is_here()
        for delivery in journal.open_deliveries(-1):
            promise = self.collector.statements.get(delivery.statement)
            chained = not isinstance(promise, Manifest) or promise.inventory in self.collector.indices
            if chained and delivery.statement in self.collector.stored_at:
                receipt = self.collector.receipt(delivery.statement)
                verified = verify_receipt(Receipt.from_bytes(receipt), self.log_key)
                journal.settle_receipt(delivery.statement, receipt, verified.checkpoint_note, NOW)

    @property
    def log_key(self) -> VerifierKey:
        return self.collector.log.log_key.verifier

    def stored(self) -> set[Digest]:
        """What is stored by a signed statement in the log."""
        promises = (self.collector.statements[statement] for statement in self.collector.stored_at)
        return {promise.digest for promise in promises if isinstance(promise, Manifest)}


def release_tools(
    journal: Journal,
    centre: Centre,
    *,
    ids: str = "",
    settings: ReleaseSettings | None = None,
    log_halted: Callable[[], bool] = lambda: False,
) -> VisitTools:
    tools = make_tools(journal, settings=FAST, signer=EnrolledSigner(), ids=ids)
    release = ReleaseTools(
        settings=settings or ReleaseSettings(), log_key=centre.log_key, log_halted=log_halted
    )
    return replace(tools, release=release)


@asynccontextmanager
async def released_by(
    volume: RecorderVolume, tools: VisitTools, centre: Centre, spool: LossySpool
) -> AsyncIterator[tuple[Visit, WatchedTile]]:
    """A visit under way whose statements are answered as they come."""
    async with asyncio.timeout(PATIENCE_S), visiting(volume, tools) as (visit, tile):
        answering = asyncio.create_task(_keep_answering(visit, tools.journal, centre, spool), name="centre")
        watcher = asyncio.create_task(end_with(answering, tile))
        try:
            yield visit, tile
        finally:
            answering.cancel()
            watcher.cancel()
            await asyncio.wait({answering, watcher})
            if not answering.cancelled():
                answering.result()


async def _keep_answering(visit: Visit, journal: Journal, centre: Centre, spool: LossySpool) -> None:
    while True:
        await asyncio.to_thread(centre.answer, journal, spool)
        visit.note_receipts()
        await asyncio.sleep(0.001)


async def run_release(
    volume: RecorderVolume,
    tools: VisitTools,
    centre: Centre,
    spool: LossySpool,
    until: Collection[BayState] = AT_REST,
) -> WatchedTile:
    """One visit until it rests, and until everything it signed is answered."""
    async with released_by(volume, tools, centre, spool) as (_, tile):
        await tile.reached(until)
    await asyncio.to_thread(centre.answer, tools.journal, spool)
    return tile


def intents(journal: Journal) -> list[tuple[Digest, ReleaseIntent]]:
    return [(name, said) for name, said in statements(journal) if isinstance(said, ReleaseIntent)]


def releases(journal: Journal) -> list[Released]:
    return [said for _, said in statements(journal) if isinstance(said, Released)]


def inventory_ids(journal: Journal) -> list[Digest]:
    return [name for name, said in statements(journal) if isinstance(said, Inventory)]


def held_originals(spool: LossySpool, journal: Journal) -> dict[bytes, bytes | None]:
    """By path, what the spool holds of what was read last."""
    return {
        said.path_bytes: spool.blob(Purpose.ORIGINAL, said.digest)
        for _, said in statements(journal)
        if isinstance(said, Manifest)
    }
