"""Does the uplink bring everything the journal promises to a receipt, on good days and on bad ones?

Real: journal, spool, signatures, log, proofs, HTTP, uploads, the broken lines between. In memory: the broker.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.broker.port import Presence
from agent.core.retry import Backoff
from agent.doorbells import Doorbells
from agent.offload.growing import GrowingFile
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from agent.spool.records import NewRow, OriginalRecord, Purpose, VisitRecord
from agent.uplink.answers import Timeouts
from agent.uplink.collector_http import CollectorClient
from agent.uplink.service import Uplink, UplinkSettings
from protocol import ed25519
from protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from protocol.digest import Digest
from protocol.receipt import Receipt
from protocol.statements import sign_statement
from protocol.topics import Channel, Topic
from protocol.verify import verify_receipt
from tests.support import evidence
from tests.support.evidence import AGENCY, COLLECTOR_SEED, NOW, OTHER_SEED, STATION, STATION_SEED, VISIT
from tests.support.memory_broker import MemoryBroker, MemoryBus
from tests.support.proxy import Fault, FaultyProxy, How
from tests.support.tiny_log import TinyCollector, until

LISTING = b"listing"
QUICK = Backoff(first_s=0.02, cap_s=0.2)


@dataclass
class Station:
    """A station with something to deliver. ``journal`` is the real one and outlives ``uplink``."""

    folder: Path
    journal: Journal
    spool: DirectorySpool
    bells: Doorbells = field(default_factory=Doorbells)
    now: datetime = NOW
    manifests: list[Digest] = field(default_factory=list)
    inventory: Digest = field(init=False)

    def take_in(self, contents: Sequence[bytes]) -> None:
        """What a visit leaves in journal and spool."""
        self.take_stock(contents)
        for number, content in enumerate(contents):
            self.read(number, content)

    def take_stock(self, contents: Sequence[bytes]) -> None:
        """The inventory alone."""
        inventory = sign_statement(evidence.inventory(rows=len(contents)), STATION_SEED)
        self._publish(Purpose.LISTING, LISTING)
        self.inventory = self.journal.record_inventory(
            inventory,
            visit=VisitRecord(
                visit=VISIT,
                dock="folder",
                bay="bay-1",
                generation="1",
                recorder_key="recorder",
                profile="generic@1",
                agency=AGENCY,
                opened_at=NOW,
            ),
            sequence=1,
            listing=Digest.of(LISTING),
            listing_size_bytes=len(LISTING),
            rows=[
                NewRow(
                    path=b"%d.mp4" % n,
                    shown=f"{n}.mp4",
                    size_bytes=len(content),
                    modified_ns=1,
                    state="to_read",
                )
                for n, content in enumerate(contents)
            ],
            now=NOW,
        )

    def read(self, number: int, content: bytes) -> None:
        """One original, published and journalled."""
        digest = self._publish(Purpose.ORIGINAL, content)
        manifest = evidence.manifest(content, self.inventory, 100 + number, row=number)
        envelope = sign_statement(replace(manifest, path=f"{number}.mp4"), STATION_SEED)
        row = self.journal.rows_to_read(self.inventory, 1)[0]
        record = OriginalRecord(
            row=row,
            envelope=envelope,
            digest=digest,
            size_bytes=len(content),
            media_type=manifest.media_type,
            marked=False,
            recorder=manifest.recorder,
        )
        self.manifests.append(self.journal.record_original(record, NOW))

    def _publish(self, purpose: Purpose, content: bytes) -> Digest:
        digest = Digest.of(content)
        path = self.spool.path(purpose, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest

    def wait_for_nothing(self) -> None:
        """A minute passes for whoever looks at the clock."""
        self.now += timedelta(minutes=1)
        self.bells.statements.ring()

    def all_receipted(self) -> bool:
        return not self.journal.open_deliveries(1)

    def receipt(self, statement: Digest) -> Receipt:
        receipt = self.journal.receipt(statement)
        assert receipt is not None
        return Receipt.from_bytes(receipt)


@dataclass
class World:
    """One station, one collector, the lines between them."""

    station: Station
    collector: TinyCollector
    proxy: FaultyProxy
    hub: MemoryBroker
    bus: MemoryBus

    @asynccontextmanager
    async def uplink(self, *, broker: bool = True) -> AsyncIterator[Uplink]:
        """The uplink as long as the block lasts, then killed like a process: cancelled wherever it is."""
        settings = UplinkSettings(
            station=STATION,
            log_key=self.collector.log.log_key.verifier,
            collector_key=ed25519.public_from_seed(COLLECTOR_SEED),
            evidence=self.station.folder / "evidence",
            backoff=QUICK,
        )
        limits = Timeouts(connect_s=2, answer_s=5, stall_s=1)
        async with CollectorClient(self.proxy.origin, timeouts=limits) as client:
            uplink = Uplink(
                settings,
                journal=self.station.journal,
                collector=client,
                broker=self.bus if broker else None,
                bells=self.station.bells,
                now=lambda: self.station.now,
                random=lambda: 0.5,
            )
            running = asyncio.create_task(uplink.run(), name="uplink")
            try:
                yield uplink
                if running.done():
                    running.result()
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
                self.hub.cut(
                    STATION
                )  # a dead process holds no line: what it had not acknowledged comes again
                self.hub.restore(STATION)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    spool = DirectorySpool(tmp_path / "spool")
    journal = Journal(tmp_path / "journal.sqlite", spool)
    yield Station(tmp_path, journal, spool)
    journal.close()


@pytest.fixture
async def world(station: Station, tmp_path: Path) -> AsyncIterator[World]:
    hub = MemoryBroker()
    topic = str(Topic(agency=AGENCY, station=STATION, channel=Channel.STATUS))
    bus = hub.station(STATION, Presence(topic=topic, online=b"on", offline=b"off"))
    collector = TinyCollector(bus=hub.collector())
    assert collector.bus is not None
    await collector.bus.start()
    await bus.start()
    listening = asyncio.create_task(collector.listen(), name="collector")
    async with collector.serve(tmp_path / "staging") as port, FaultyProxy("127.0.0.1", port) as proxy:
        yield World(station, collector, proxy, hub, bus)
    listening.cancel()


def some(count: int, size: int = 3000) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


@pytest.mark.parametrize("broker", [True, False], ids=["with broker", "without broker"])
async def test_everything_promised_ends_with_a_receipt_that_verifies(world: World, broker: bool) -> None:
    world.station.take_in([*some(20), os.urandom(9_000_000)])
    async with world.uplink(broker=broker):
        await until(world.station.all_receipted)
    for statement in [world.station.inventory, *world.station.manifests]:
        verify_receipt(world.station.receipt(statement), world.collector.log.log_key.verifier)
    assert world.station.journal.unsettled_statements(1) == []
    assert (world.collector.uploads, world.collector.bundles) == (2, 1), "small files travel together"


async def test_inventory_is_announced_before_its_manifests(world: World) -> None:
    world.station.take_in(some(20))
    async with world.uplink():
        await until(world.station.all_receipted)
    assert world.collector.offers[0] == world.station.inventory


async def test_journal_remembers_a_checkpoint_that_covers_all_receipts(world: World) -> None:
    world.station.take_in(some(5))
    async with world.uplink():
        await until(world.station.all_receipted)
    note = world.station.journal.last_checkpoint()
    assert note is not None
    seen = open_checkpoint(note, world.collector.log.log_key.verifier)
    proven = [world.station.receipt(manifest) for manifest in world.station.manifests]
    checkpoints = [
        verify_receipt(receipt, world.collector.log.log_key.verifier).checkpoint for receipt in proven
    ]
    assert seen.size >= max(checkpoint.size for checkpoint in checkpoints)


async def test_bytes_the_collector_already_has_are_not_sent(world: World) -> None:
    clip = os.urandom(9_000_000)
    world.station.take_in([clip])
    world.collector.blobs |= {Digest.of(clip), Digest.of(LISTING)}
    world.collector.push = False
    for row in world.station.journal.unsettled_statements(9):
        world.collector.admit([row.envelope])
        world.station.journal.settle_admitted({row.statement: 1}, NOW)
    async with world.uplink():
        await until(world.station.all_receipted)
    assert world.collector.uploads <= 1, "at most the listing, which is too small to ask about"


async def test_statements_lost_by_the_broker_go_by_http(world: World) -> None:
    world.station.take_in(some(2))
    world.hub.lose_next(3)
    async with world.uplink():
        await until(lambda: all(row.sent_at for row in world.station.journal.unsettled_statements(9)))
        world.station.wait_for_nothing()
        await until(world.station.all_receipted)


async def test_receipts_lost_by_the_broker_are_fetched(world: World) -> None:
    world.station.take_in(some(2))
    world.collector.push = False
    async with world.uplink():
        await until(world.station.all_receipted)


async def test_messages_twice_change_nothing(world: World) -> None:
    world.station.take_in(some(3))
    world.hub.duplicate_next(100)
    async with world.uplink():
        await until(world.station.all_receipted)
    assert len(set(world.collector.indices.values())) == 4


async def test_collector_away_for_long_is_met_with_patience(world: World) -> None:
    world.proxy.refusing = True
    world.hub.cut(STATION)
    world.station.take_in(some(3))
    async with world.uplink() as uplink:
        await until(lambda: uplink.state.collector_answers is False)
        assert not world.station.all_receipted()
        world.proxy.refusing = False
        world.hub.restore(STATION)
        await until(world.station.all_receipted)
        assert uplink.state.collector_answers


@pytest.mark.parametrize("how", [How.CLOSE, How.RESET, How.MUTE])
async def test_line_that_keeps_breaking_only_delays(world: World, how: How) -> None:
    world.station.take_in([os.urandom(9_000_000), *some(5)])
    world.proxy.plan(*(Fault(how, 200_000 * n) for n in range(1, 15)))
    async with world.uplink(broker=False):
        await until(world.station.all_receipted, within_s=40)


async def test_killed_anywhere_it_goes_on_from_the_journal(world: World) -> None:
    world.station.take_in([os.urandom(5_000_000), *some(10)])
    lives = 0
    while not world.station.all_receipted():
        async with world.uplink():
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02 * (lives + 1)):
                    await until(world.station.all_receipted)
        lives += 1
    assert lives > 1
    for statement in world.station.manifests:
        verify_receipt(world.station.receipt(statement), world.collector.log.log_key.verifier)


async def test_final_refusal_is_reported_and_not_delivered(world: World) -> None:
    world.station.take_in(some(2))
    world.collector.refuse["0.mp4"] = ("agency-not-allowed", False)
    async with world.uplink() as uplink:
        await until(lambda: world.station.journal.backlog().statements_refused == 1)
        await until(world.station.all_receipted)
        assert [finding.code for finding in uplink.state.findings] == ["agency-not-allowed"]
    assert world.station.journal.statement(world.station.manifests[0]) is not None, "kept for whoever looks"


async def test_refusal_that_time_may_heal_stays_in_the_outbox(world: World) -> None:
    world.station.take_in(some(1))
    world.collector.refuse["0.mp4"] = ("collector-busy", True)
    async with world.uplink():
        await until(lambda: "0.mp4" not in world.collector.refuse)
        await until(lambda: all(row.sent_at for row in world.station.journal.unsettled_statements(9)))
        assert not world.station.all_receipted()
        world.station.wait_for_nothing()
        await until(world.station.all_receipted)


async def test_statement_the_collector_chokes_on_does_not_hold_up_its_neighbours(world: World) -> None:
    world.station.take_in(some(20))
    world.collector.poison = "7.mp4"
    async with world.uplink(broker=False) as uplink:
        await until(lambda: len(world.station.journal.open_deliveries(30)) == 1)
        assert [found.statement for found in uplink.state.findings] == [world.station.manifests[7]]
    (left,) = world.station.journal.unsettled_statements(30)
    assert left.statement == world.station.manifests[7], "nobody signed a refusal, so it stays"


async def test_hostile_messages_are_acknowledged_and_reported(world: World) -> None:
    world.station.take_in(some(1))
    async with world.uplink() as uplink:
        for channel in (Channel.ADMISSIONS, Channel.RECEIPTS, Channel.COMMANDS):
            topic = str(Topic(agency=AGENCY, station=STATION, channel=channel))
            for payload in (b"", b"{}", b"\xff" * 1000, world.collector.log.note, b"[" * 50_000):
                await _publish_as_collector(world, topic, payload)
        await until(world.station.all_receipted)
        codes = {finding.code for finding in uplink.state.findings}
        assert codes == {"admission-invalid", "receipt-invalid"}
        await until(lambda: not world.hub._sessions[STATION].unacknowledged)


async def _publish_as_collector(world: World, topic: str, payload: bytes) -> None:
    assert world.collector.bus is not None
    await world.collector.bus.publish(topic, payload)


async def test_admission_by_another_key_settles_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.tiny_log.COLLECTOR_SEED", OTHER_SEED)
    world.station.take_in(some(1))
    async with world.uplink() as uplink:
        await until(lambda: any(found.code == "admission-invalid" for found in uplink.state.findings))
        assert len(world.station.journal.unsettled_statements(9)) == 2


async def test_receipt_for_other_bytes_settles_nothing(world: World) -> None:
    """The collector stored something else under our statement and even signed it."""
    world.station.take_in(some(1))
    world.collector.push = False
    async with world.uplink() as uplink:
        await until(lambda: world.station.manifests[0] in world.collector.stored_at)
        good = Receipt.from_bytes(world.collector.receipt(world.station.manifests[0]))
        topic = str(Topic(agency=AGENCY, station=STATION, channel=Channel.RECEIPTS))
        await _publish_as_collector(world, topic, replace(good, size_bytes=good.size_bytes + 1).to_bytes())
        await until(lambda: any(found.code == "receipt-mismatch" for found in uplink.state.findings))


async def test_contradiction_stops_deliveries_and_keeps_both_notes(world: World) -> None:
    world.station.take_in(some(2))
    log = world.collector.log
    other = Checkpoint(origin=log.checkpoint.origin, size=log.checkpoint.size, root=bytes(32))
    world.station.journal.note_checkpoint(sign_checkpoint(other, log.log_key))
    async with world.uplink() as uplink:
        await until(lambda: uplink.state.fork_evidence is not None)
        folder = uplink.state.fork_evidence
    assert folder is not None
    seen, offered = (folder / "seen.note").read_bytes(), (folder / "offered.note").read_bytes()
    assert open_checkpoint(seen, log.log_key.verifier) == other
    assert open_checkpoint(offered, log.log_key.verifier).root != other.root
    assert not world.station.all_receipted()

    async with world.uplink() as again:
        assert again.state.fork_evidence == folder, "a restart does not forget it"
        await asyncio.sleep(0.1)
        assert not world.station.all_receipted()


async def test_two_roots_for_one_size_are_a_contradiction_without_any_proof(world: World) -> None:
    world.station.take_in(some(1))
    world.collector.push = False
    async with world.uplink(broker=False) as uplink:
        await until(world.station.all_receipted)
        log = world.collector.log
        other = Checkpoint(origin=log.checkpoint.origin, size=log.checkpoint.size, root=bytes(32))
        world.collector.proofs = 0
        with pytest.raises(Exception, match="two roots"):
            await uplink.watch.check(sign_checkpoint(other, log.log_key))
        assert world.collector.proofs == 0


async def test_older_checkpoint_is_fine_when_it_is_proven(world: World) -> None:
    early = world.collector.log.note
    world.station.take_in(some(2))
    async with world.uplink() as uplink:
        await until(world.station.all_receipted)
        before = uplink.watch.newest_note()
        assert await uplink.watch.check(early) is False
        assert uplink.watch.newest_note() == before


async def test_spooled_file_that_rotted_is_reported_as_the_stations_own_damage(world: World) -> None:
    world.station.take_in([os.urandom(5000)])
    delivery = world.station.journal.delivery(world.station.manifests[0])
    assert delivery is not None
    delivery.path.chmod(0o600)
    with delivery.path.open("r+b") as file:
        file.write(b"rot")
    async with world.uplink() as uplink:
        await until(lambda: any(found.code == "spool-damaged" for found in uplink.state.findings))
    assert world.station.journal.delivery(world.station.manifests[0]) is not None


async def test_bundle_with_a_rotten_member_is_taken_apart_and_the_right_file_is_blamed(world: World) -> None:
    world.station.take_in(some(5))
    rotten = world.station.journal.delivery(world.station.manifests[3])
    assert rotten is not None
    rotten.path.write_bytes(os.urandom(rotten.size_bytes))
    async with world.uplink(broker=False) as uplink:
        await until(lambda: len(world.station.journal.open_deliveries(9)) == 1)
        await until(lambda: any(found.code == "spool-damaged" for found in uplink.state.findings))
        assert {found.statement for found in uplink.state.findings} == {rotten.statement}
    (left,) = world.station.journal.open_deliveries(9)
    assert left.statement == rotten.statement, "kept for whoever looks"
    assert (world.collector.bundles, len(world.collector.blobs)) == (0, 5), "the listing and four originals"


async def test_line_too_frail_for_a_bundles_member_brings_it_alone(world: World) -> None:
    """Of a bundle whole members count, and no connection lives as long as one of these takes."""
    world.station.take_in(some(3, 5_000_000))
    world.proxy.plan(*([Fault(How.CLOSE, 1_500_000)] * 200))
    async with world.uplink(broker=False) as uplink:
        await until(world.station.all_receipted, within_s=60)
        assert not uplink.state.findings
    assert world.collector.bundles == 0
    assert not world.collector.incomplete(), "nothing of the bundle is left behind"


async def test_upload_the_collector_lost_is_sent_again(world: World) -> None:
    world.station.take_in([os.urandom(5000)])
    manifest = world.station.manifests[0]
    world.station.journal.note_upload_url(manifest, "/api/v1/uploads/" + "0" * 32)
    world.station.journal.note_uploaded(manifest, NOW)
    async with world.uplink(broker=False) as uplink:
        await until(world.station.all_receipted)
        assert [finding.code for finding in uplink.state.findings] == ["upload-lost"]
    assert world.collector.uploads == 2


async def test_statement_the_collector_forgot_is_announced_again(world: World) -> None:
    world.station.take_in(some(1))
    for row in world.station.journal.unsettled_statements(9):
        world.station.journal.settle_admitted({row.statement: 7}, NOW)
    async with world.uplink(broker=False) as uplink:
        await until(world.station.all_receipted)
        assert {finding.code for finding in uplink.state.findings} == {"statement-unknown"}


async def test_early_bytes_are_taken_over_and_not_sent_again(world: World) -> None:
    clip = os.urandom(20_000_000)
    world.station.take_stock([clip])
    partial = world.station.folder / "partial"
    partial.write_bytes(clip[:12_000_000])
    urls: list[str | None] = []

    async def remember(url: str | None) -> None:
        urls.append(url)

    async with world.uplink() as uplink:
        await until(world.station.all_receipted)
        growing = GrowingFile(partial, len(clip), available_bytes=12_000_000)
        uplink.early.offer(growing, agency=AGENCY, upload_url=None, remember_url=remember)
        await until(lambda: bool(urls))
        with partial.open("ab") as file:
            file.write(clip[12_000_000:])
        growing.grow_from_thread(len(clip))
        await until(lambda: world.collector.uploads == 2)
        world.station.read(0, clip)
        world.station.journal.note_upload_url(world.station.manifests[0], urls[-1])
        growing.end(Digest.of(clip))
        world.station.bells.statements.ring()
        world.station.bells.deliveries.ring()
        await until(world.station.all_receipted)
    assert world.collector.uploads == 2, "the listing and the clip, each once"


async def test_early_delivery_of_a_read_that_failed_leaves_no_trouble(world: World) -> None:
    world.station.take_in(some(1))
    partial = world.station.folder / "partial"
    partial.write_bytes(bytes(9_000_000))

    async def remember(_url: str | None) -> None:
        remembered.set()

    remembered = asyncio.Event()
    async with world.uplink() as uplink:
        await until(world.station.all_receipted)
        growing = GrowingFile(partial, 20_000_000, available_bytes=9_000_000)
        uplink.early.offer(growing, agency=AGENCY, upload_url=None, remember_url=remember)
        await remembered.wait()
        growing.end(None)
        await until(lambda: not uplink.early.active)
        assert not uplink.state.findings
