"""What becomes of the files of a recorder, whatever it does while it is read?"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.core.bay import BayEvent, BayState
from agent.offload import reader
from agent.offload.growing import GrowingFile
from agent.ports import Obstacle
from agent.spool.errors import SpoolError
from agent.spool.files import Publication
from agent.spool.journal import Journal
from agent.spool.records import Purpose
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.listing import RowState, parse_listing
from tests.support.lossy_spool import LossySpool
from tests.support.memory_volume import MemoryVolume
from tests.support.visit_lab import (
    AGENCY,
    FAST,
    RESTING,
    STATION,
    HonestSigner,
    inventories,
    make_tools,
    manifests,
    run_visit,
    statements,
    unreadables,
    visiting,
)

MIB = 1024 * 1024
PHOTO = b"DCIM/100MEDIA/IMAG0001.JPG"
CLIP = b"DCIM/100MEDIA/IMAG0002.MP4"
CLIP_BYTES = bytes(range(256)) * 4096 * 5 + b"end"
FILES = {PHOTO: b"photo" * 1000, CLIP: CLIP_BYTES}


@pytest.fixture(autouse=True)
def sync_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "DURABLE_EVERY_BYTES", MIB)


@pytest.fixture
def spool() -> LossySpool:
    return LossySpool()


@pytest.fixture
def journal(tmp_path: Path, spool: LossySpool) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", spool)
    yield journal
    journal.close()


def originals(journal: Journal, spool: LossySpool) -> dict[bytes, bytes]:
    """What the spool holds for each manifest's path; each digest is checked."""
    found = {}
    for manifest in manifests(journal):
        data = spool.blob(Purpose.ORIGINAL, manifest.digest)
        assert data is not None
        assert Digest.of(data) == manifest.digest
        found[manifest.path_bytes] = data
    return found


async def test_every_file_is_read_signed_and_to_be_delivered(journal: Journal, spool: LossySpool) -> None:
    tile = await run_visit(MemoryVolume(FILES), make_tools(journal))
    assert tile.state is BayState.DELIVERING
    assert originals(journal, spool) == FILES
    kinds = [type(statement).kind for _, statement in statements(journal)]
    assert kinds == ["inventory", "manifest", "manifest"]
    purposes = [delivery.purpose for delivery in journal.open_deliveries(10)]
    assert purposes == [Purpose.LISTING, Purpose.ORIGINAL, Purpose.ORIGINAL]
    assert {job.media_type for job in journal.open_media_jobs(10)} == {"image/jpeg", "video/mp4"}


async def test_the_signed_inventory_says_what_its_listing_says(journal: Journal, spool: LossySpool) -> None:
    volume = MemoryVolume(FILES, obstacles={b"link": Obstacle.SYMBOLIC_LINK}, label="CAM 7")
    await run_visit(volume, make_tools(journal))
    (inventory,) = inventories(journal)
    listing = spool.blob(Purpose.LISTING, inventory.listing)
    assert listing is not None
    rows = list(parse_listing([listing]))
    assert (inventory.rows, inventory.listing_size_bytes) == (3, len(listing))
    assert inventory.listed_bytes == sum(map(len, FILES.values()))
    assert [row.state for row in rows] == [RowState.TO_READ, RowState.TO_READ, RowState.EXCLUDED]
    assert (inventory.sequence, inventory.bay, inventory.volume_label) == (1, "bay-1", "CAM 7")
    assert inventory.profile.startswith("dcf@")
    for manifest in manifests(journal):
        assert rows[manifest.row].raw_path == manifest.path_bytes


async def test_sources_that_disagree_are_logged_without_anybodys_number(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    names = [b"ZFY0001_000123_20260131081530.mp4", b"ZFY0001_000124_20260131091530.mp4"]
    await run_visit(MemoryVolume(dict.fromkeys(names, b"x")), make_tools(journal))
    (inventory,) = inventories(journal)
    assert (inventory.recorder, inventory.officer) == (Claim("ZFY0001", "name"), None)
    (line,) = [record for record in caplog.records if record.message == "sources disagree"]
    assert vars(line)["about"] == "officer"
    assert "000123" not in str(vars(line))


async def test_newest_files_are_read_first(journal: Journal) -> None:
    await run_visit(MemoryVolume(FILES), make_tools(journal))
    assert [manifest.path_bytes for manifest in manifests(journal)] == [CLIP, PHOTO]


async def test_an_empty_recorder_is_done_at_once(journal: Journal) -> None:
    tile = await run_visit(MemoryVolume({}), make_tools(journal))
    assert tile.state is BayState.DELIVERING
    assert [inventory.rows for inventory in inventories(journal)] == [0]


async def test_a_file_of_no_bytes_is_an_original(journal: Journal, spool: LossySpool) -> None:
    await run_visit(MemoryVolume({PHOTO: b""}), make_tools(journal))
    assert originals(journal, spool) == {PHOTO: b""}


async def test_short_reads_change_nothing(journal: Journal, spool: LossySpool) -> None:
    await run_visit(MemoryVolume(FILES, max_read_bytes=70_001), make_tools(journal))
    assert originals(journal, spool) == FILES


async def test_two_files_of_the_same_bytes_are_two_manifests_and_one_blob(
    journal: Journal, spool: LossySpool
) -> None:
    other = b"DCIM/100MEDIA/IMAG0003.JPG"
    await run_visit(MemoryVolume({PHOTO: b"same", other: b"same"}), make_tools(journal))
    assert originals(journal, spool) == {PHOTO: b"same", other: b"same"}
    assert len({manifest.digest for manifest in manifests(journal)}) == 1


async def test_a_recorder_that_leaves_is_resumed_where_it_was(journal: Journal, spool: LossySpool) -> None:
    volume = MemoryVolume({CLIP: CLIP_BYTES})
    volume.vanish_after(3 * MIB + 12345)
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.REFUSED
    assert manifests(journal) == []
    back = MemoryVolume({CLIP: CLIP_BYTES})
    tile = await run_visit(back, make_tools(journal, ids="second"))
    assert tile.state is BayState.DELIVERING
    assert originals(journal, spool) == {CLIP: CLIP_BYTES}
    (manifest,) = manifests(journal)
    assert (manifest.resumed, manifest.attempts) == (True, 2)
    assert back.bytes_read < 3 * MIB, "only the rest is read"
    assert len({inventory.visit for inventory in inventories(journal)}) == 2


@pytest.mark.parametrize("step", [4095, MIB - 1, MIB, 2 * MIB + 7], ids=["4K-1", "1M-1", "1M", "2M+7"])
async def test_a_loose_plug_costs_visits_but_no_byte(journal: Journal, spool: LossySpool, step: int) -> None:
    """Each visit lasts a little longer than the one before, and once long enough for the rest."""
    state = BayState.LOST_CONTACT
    for visits in range(1, 9):
        volume = MemoryVolume(FILES)
        volume.vanish_after(step * visits)
        state = (await run_visit(volume, make_tools(journal, ids=str(visits)))).state
    if state is not BayState.DELIVERING:
        state = (await run_visit(MemoryVolume(FILES), make_tools(journal, ids="last"))).state
    assert state is BayState.DELIVERING
    assert originals(journal, spool) == FILES
    assert len(manifests(journal)) == len(FILES)
    assert unreadables(journal) == []


async def test_another_file_of_the_same_name_size_and_time_is_not_continued(
    journal: Journal, spool: LossySpool
) -> None:
    volume = MemoryVolume({CLIP: CLIP_BYTES})
    volume.vanish_after(3 * MIB)
    await run_visit(volume, make_tools(journal))
    other = b"another recorder's" + CLIP_BYTES[18:]
    await run_visit(MemoryVolume({CLIP: other}), make_tools(journal, ids="second"))
    assert originals(journal, spool) == {CLIP: other}
    assert [manifest.resumed for manifest in manifests(journal)] == [False]


async def test_the_same_name_with_other_bytes_is_another_original(
    journal: Journal, spool: LossySpool
) -> None:
    await run_visit(MemoryVolume({PHOTO: b"first recorder"}), make_tools(journal))
    await run_visit(MemoryVolume({PHOTO: b"the second one"[:9]}), make_tools(journal, ids="second"))
    digests = [manifest.digest for manifest in manifests(journal)]
    assert digests == [Digest.of(b"first recorder"), Digest.of(b"the secon")]


async def test_a_file_read_at_an_earlier_visit_is_known_and_not_read_again(journal: Journal) -> None:
    await run_visit(MemoryVolume(FILES), make_tools(journal))
    again = MemoryVolume(FILES)
    tile = await run_visit(again, make_tools(journal, ids="second"))
    assert tile.state is BayState.DELIVERING
    assert again.bytes_read == 0
    assert len(manifests(journal)) == 2
    assert tile.visit is not None
    account = journal.accounting(tile.visit)
    assert (account.listed, account.known, account.pending, account.unread) == (2, 2, 2, 0)


async def test_a_bad_sector_becomes_a_signed_fact_and_the_rest_is_read(
    journal: Journal, spool: LossySpool
) -> None:
    volume = MemoryVolume(FILES)
    volume.files[CLIP].fails_at[2 * MIB + 4096] = errno.EIO
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.UNREADABLE, tile.status(journal).problem
    assert not tile.status(journal).may_be_taken
    assert originals(journal, spool) == {PHOTO: FILES[PHOTO]}
    (fact,) = unreadables(journal)
    (inventory_id, _), *_ = statements(journal)
    assert (fact.event, fact.item, fact.actor, fact.header.agency) == (
        "unreadable",
        inventory_id,
        STATION,
        AGENCY,
    )
    assert fact.details["code"] == "file-unreadable"
    assert fact.details["errno"] == "EIO"
    assert fact.details["bytes_read"] == 2 * MIB
    assert fact.details["attempts"] == 1 + FAST.read_limits.max_attempts - 1
    assert spool.partials() == []


async def test_a_small_file_that_cannot_be_read_does_not_spoil_its_batch(
    journal: Journal, spool: LossySpool
) -> None:
    photos = {b"DCIM/100MEDIA/IMAG%04d.JPG" % number: b"%d" % number * 500 for number in range(1, 8)}
    volume = MemoryVolume(photos)
    bad = b"DCIM/100MEDIA/IMAG0004.JPG"
    volume.files[bad].fails_at[0] = errno.EIO
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.UNREADABLE
    del photos[bad]
    assert originals(journal, spool) == photos
    assert [fact.item_name for fact in unreadables(journal)] == [bad.decode()]


class SpoolThatNamesLate(LossySpool):
    """The first originals cannot be named, and one of them is not what was written."""

    refuses = 1

    def publish(self, publications: Sequence[Publication]) -> None:
        if self.refuses and any(one.purpose is Purpose.ORIGINAL for one in publications):
            self.refuses -= 1
            raise SpoolError("cannot name")
        super().publish(publications)
        self.damages_next_sync = self.refuses == 1  # behind the listing: the first file of the batch


async def test_two_troubles_of_one_batch_are_met_once_for_each_file(tmp_path: Path) -> None:
    spool = SpoolThatNamesLate()
    journal = Journal(tmp_path / "late.db", spool)
    photos = {b"DCIM/100MEDIA/IMAG%04d.JPG" % number: b"%d" % number * 500 for number in range(1, 5)}
    tile = await run_visit(MemoryVolume(photos), make_tools(journal))
    assert tile.state is BayState.DELIVERING
    assert sorted(manifest.path_bytes for manifest in manifests(journal)) == sorted(photos)
    assert originals(journal, spool) == photos
    journal.close()


async def test_a_sector_that_recovers_costs_attempts_and_nothing_else(
    journal: Journal, spool: LossySpool
) -> None:
    volume = MemoryVolume({CLIP: CLIP_BYTES})
    broken = volume.files[CLIP].fails_at
    broken[3 * MIB + 1] = errno.EIO
    heal_on_open(volume, CLIP, opens=3)
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.DELIVERING
    assert originals(journal, spool) == {CLIP: CLIP_BYTES}
    (manifest,) = manifests(journal)
    assert manifest.resumed
    assert manifest.attempts == 2


def heal_on_open(volume: MemoryVolume, raw_path: bytes, *, opens: int) -> None:
    """The file can be read from its ``opens``-th opening on."""
    count = 0
    open_file = volume.open_file

    def counting(path: bytes, *, offset_bytes: int = 0) -> object:
        nonlocal count
        count += path == raw_path
        if count >= opens:
            volume.files[raw_path].fails_at.clear()
        return open_file(path, offset_bytes=offset_bytes)

    volume.open_file = counting  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("raw_path", [PHOTO, CLIP], ids=["small", "big"])
async def test_a_file_that_grows_while_it_is_read_waits_for_a_later_inventory(
    journal: Journal, spool: LossySpool, raw_path: bytes
) -> None:
    volume = MemoryVolume(FILES)
    volume.files[raw_path].grows_at[2000 if raw_path == PHOTO else MIB] = b"more"
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.DELIVERING
    assert originals(journal, spool) == FILES | {raw_path: FILES[raw_path] + b"more"}
    first, second = inventories(journal)
    assert (first.visit, first.sequence, second.sequence) == (second.visit, 1, 2)
    account = journal.accounting(second.visit)
    assert account.listed == account.pending + account.excluded
    assert (account.unread, account.excluded) == (0, 1)


async def test_new_files_get_the_next_inventory_of_the_same_visit(
    journal: Journal, spool: LossySpool
) -> None:
    volume = MemoryVolume(FILES)
    more = b"DCIM/100MEDIA/IMAG0009.JPG"
    async with visiting(volume, make_tools(journal)) as (visit, tile):
        await tile.reached(RESTING)
        steps = len(tile.steps)
        volume.put(more, b"arrived later")
        visit.note_changed()
        await tile.reached(RESTING, after_steps=steps)
    assert originals(journal, spool) == FILES | {more: b"arrived later"}
    first, second = inventories(journal)
    assert (first.visit, second.sequence, second.rows) == (second.visit, 2, 3)
    account = journal.accounting(first.visit)
    assert (account.listed, account.known, account.pending) == (3, 2, 3)


async def test_a_change_that_changes_no_file_needs_no_inventory(journal: Journal) -> None:
    volume = MemoryVolume(FILES)
    async with visiting(volume, make_tools(journal)) as (visit, tile):
        await tile.reached(RESTING)
        steps = len(tile.steps)
        visit.note_changed()
        await tile.reached(RESTING, after_steps=steps)
    assert len(inventories(journal)) == 1


async def test_a_file_that_went_away_before_it_was_read_is_signed_off(journal: Journal) -> None:
    volume = MemoryVolume(FILES)
    open_file = volume.open_file

    def losing(path: bytes, *, offset_bytes: int = 0) -> object:
        volume.files.pop(PHOTO, None)
        return open_file(path, offset_bytes=offset_bytes)

    volume.open_file = losing  # type: ignore[method-assign,assignment]
    tile = await run_visit(volume, make_tools(journal))
    assert tile.state is BayState.UNREADABLE
    (fact,) = unreadables(journal)
    assert (fact.details["code"], fact.item_name) == ("file-vanished", PHOTO.decode())
    first, second = inventories(journal)
    assert [journal.accounting(second.visit).unreadable, first.rows, second.rows] == [1, 2, 1]


async def test_after_a_restart_the_same_volume_goes_on_with_its_inventory(
    journal: Journal, spool: LossySpool
) -> None:
    volume = MemoryVolume(FILES)
    async with visiting(volume, make_tools(journal)) as (_, tile):
        await tile.reached({BayState.OFFLOADING})
    await run_visit(volume, make_tools(journal, ids="second"))
    assert len(inventories(journal)) == 1
    assert originals(journal, spool) == FILES


async def test_a_recorder_of_nobody_is_refused_before_anything_is_read(journal: Journal) -> None:
    volume = MemoryVolume(FILES)
    tile = await run_visit(volume, make_tools(journal, signer=HonestSigner(agency=None)))
    assert tile.state is BayState.REFUSED
    assert volume.bytes_read == 0
    assert statements(journal) == []


async def test_a_full_spool_makes_the_recorder_wait_and_loses_nothing(tmp_path: Path) -> None:
    spool = LossySpool(capacity_bytes=6 * MIB)
    journal = Journal(tmp_path / "journal.db", spool)
    settings = replace(FAST, watermark_bytes=2 * MIB, evict_below_bytes=2 * MIB)
    async with visiting(MemoryVolume(FILES), make_tools(journal, settings=settings)) as (_, tile):
        await tile.reached({BayState.FULL})
        status = tile.status(journal)
        assert (status.needs_person, status.may_be_taken, status.problem_code) == (True, False, "spool-full")
        spool.capacity_bytes = 20 * MIB
        await tile.reached(RESTING)
    assert tile.state is BayState.DELIVERING
    assert originals(journal, spool) == FILES
    journal.close()


async def test_what_waits_for_renditions_alone_gives_way_to_what_is_on_a_recorder(tmp_path: Path) -> None:
    spool = LossySpool(capacity_bytes=8 * MIB)
    journal = Journal(tmp_path / "journal.db", spool)
    settings = replace(FAST, watermark_bytes=MIB, evict_below_bytes=MIB, evict_after=timedelta())
    tools = make_tools(journal, settings=settings)
    await run_visit(MemoryVolume(FILES), tools)
    for delivery in journal.open_deliveries(10):
        journal.settle_receipt(delivery.statement, b"receipt", b"note", tools.clock())
    newer = {CLIP: CLIP_BYTES[::-1]}
    tile = await run_visit(MemoryVolume(newer, bay="bay-2"), tools)
    assert tile.state is BayState.DELIVERING
    assert spool.blob(Purpose.ORIGINAL, Digest.of(newer[CLIP])) == newer[CLIP]
    assert spool.blob(Purpose.ORIGINAL, Digest.of(CLIP_BYTES)) is None
    assert len(journal.open_media_jobs(10)) == 3, "their end is stated by the media desk"
    journal.close()


async def test_a_disk_that_keeps_other_bytes_is_noticed_and_the_file_read_again(
    journal: Journal, spool: LossySpool
) -> None:
    spool.damages_next_sync = True  # the listing is the first thing written
    tile = await run_visit(MemoryVolume(FILES), make_tools(journal))
    assert tile.state is BayState.REFUSED, "the listing was not kept as written"
    volume = MemoryVolume({CLIP: CLIP_BYTES})

    def damage_once(path: bytes, *, offset_bytes: int = 0) -> object:
        spool.damages_next_sync = not manifests(journal) and offset_bytes == 0 and not damaged
        damaged.append(path)
        return open_file(path, offset_bytes=offset_bytes)

    damaged: list[bytes] = []
    open_file = volume.open_file
    volume.open_file = damage_once  # type: ignore[method-assign,assignment]
    tile = await run_visit(volume, make_tools(journal, ids="second"))
    assert tile.state is BayState.DELIVERING
    assert originals(journal, spool) == {CLIP: CLIP_BYTES}


async def test_the_stations_own_fault_never_makes_a_file_unreadable(
    journal: Journal, spool: LossySpool
) -> None:
    async with visiting(MemoryVolume(FILES), make_tools(journal)) as (_, tile):
        await tile.reached({BayState.OFFLOADING})
        spool.fails_to_sync = True
        await tile.reached(RESTING)
    assert tile.state is BayState.REFUSED
    assert unreadables(journal) == []
    spool.fails_to_sync = False
    assert (await run_visit(MemoryVolume(FILES), make_tools(journal, ids="2"))).state is BayState.DELIVERING
    assert originals(journal, spool) == FILES


class PatientEarly:
    """Takes every growing file and follows it to its end."""

    def __init__(self) -> None:
        self.offered: list[GrowingFile] = []
        self.tasks: list[asyncio.Task[Digest | None]] = []

    def offer(
        self,
        growing: GrowingFile,
        *,
        agency: str,
        upload_url: str | None,
        remember_url: Callable[[str | None], object],
    ) -> None:
        self.offered.append(growing)
        self.tasks.append(asyncio.create_task(self._follow(growing, remember_url)))

    async def _follow(
        self, growing: GrowingFile, remember_url: Callable[[str | None], object]
    ) -> Digest | None:
        await remember_url("https://collector/uploads/1")  # type: ignore[misc]
        offset = 0
        while offset < growing.expected_bytes:
            available = await growing.wait_beyond(offset)
            if available <= offset:
                break
            offset = available
        return await growing.wait_ended()


async def test_a_big_file_is_offered_early_and_its_delivery_takes_the_address_over(journal: Journal) -> None:
    early = PatientEarly()
    big = bytes(9 * MIB)
    await run_visit(MemoryVolume({CLIP: big, PHOTO: b"small"}), make_tools(journal, early=early))
    assert [growing.expected_bytes for growing in early.offered] == [len(big)]
    assert await early.tasks[0] == Digest.of(big)
    urls = {delivery.digest: delivery.upload_url for delivery in journal.open_deliveries(10)}
    assert urls[Digest.of(big)] == "https://collector/uploads/1"


async def test_an_early_delivery_learns_of_a_failed_read(journal: Journal) -> None:
    early = PatientEarly()
    volume = MemoryVolume({CLIP: bytes(9 * MIB)})
    volume.vanish_after(5 * MIB)
    await run_visit(volume, make_tools(journal, early=early))
    assert await early.tasks[0] is None
    assert early.offered[0].has_failed


async def test_receipts_turn_a_tile_from_delivering_to_done(journal: Journal) -> None:
    tile = await run_visit(MemoryVolume(FILES), make_tools(journal))
    before = tile.status(journal)
    assert (before.may_be_taken, before.files_read, before.files_receipted) == (True, 2, 0)
    for delivery in journal.open_deliveries(10):
        journal.settle_receipt(delivery.statement, b"receipt", b"note", tile._clock())
    after = tile.status(journal)
    assert (after.files, after.files_receipted) == (2, 2)
    tile.step(BayEvent.RECEIPTED_ALL)
    assert tile.status(journal).may_be_taken
