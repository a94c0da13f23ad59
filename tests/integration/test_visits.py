"""Do whole stations of recorders get through: real folders, the real dock, several bays, and one bad recorder?"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import agent.visits as visits_module
from agent.core.bay import BayState, BayStatus
from agent.ports import (
    BayBusy,
    BayTroubled,
    DeviceFacts,
    DockStage,
    ScannedEntry,
    VolumeAppeared,
    VolumeVanished,
)
from agent.spool.directory import DirectorySpool
from agent.spool.errors import SpoolError
from agent.spool.files import Publication
from agent.spool.journal import Journal
from agent.spool.records import Purpose
from agent.visits import Visits
from agent.volumes.folder import FolderDock
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.statements import RecorderClock
from tests.support.memory_volume import MemoryVolume
from tests.support.visit_lab import ScriptedDock, inventories, make_tools, manifests

PATIENCE_S = 30
MIB = 1024 * 1024


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", DirectorySpool(tmp_path / "spool"))
    yield journal
    journal.close()


@asynccontextmanager
async def running(visits: Visits) -> AsyncIterator[None]:
    task = asyncio.create_task(visits.run(), name="visits")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def shown(visits: Visits, wanted: Callable[[dict[str, BayStatus]], bool]) -> dict[str, BayStatus]:
    """The tiles by bay, once they are as wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            tiles = {status.bay: status for status in await visits.statuses()}
            if wanted(tiles):
                return tiles
            await asyncio.sleep(0.01)


def all_in(state: BayState, bays: int) -> Callable[[dict[str, BayStatus]], bool]:
    return lambda tiles: len(tiles) == bays and all(tile.state is state for tile in tiles.values())


def make_recorder(base: Path, name: str, files: dict[str, bytes]) -> Path:
    """Put a recorder's folder together out of sight, then dock it with one rename."""
    hidden = base / f".{name}"
    for path, data in files.items():
        target = hidden / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return hidden.rename(base / name)


def check_originals(journal: Journal, recorders: dict[str, dict[str, bytes]]) -> None:
    expected = sorted((path, data) for files in recorders.values() for path, data in files.items())
    found = [
        (manifest.path, journal.files.path(Purpose.ORIGINAL, manifest.digest).read_bytes())
        for manifest in manifests(journal)
    ]
    assert sorted(found) == expected
    assert all(
        Digest.of(journal.files.path(Purpose.ORIGINAL, manifest.digest).read_bytes()) == manifest.digest
        for manifest in manifests(journal)
    )


async def test_recorders_in_folders_are_offloaded_side_by_side(tmp_path: Path, journal: Journal) -> None:
    base = tmp_path / "bays"
    base.mkdir()
    recorders = {
        f"CAM-{number}": {
            "DCIM/100MEDIA/IMAG0001.JPG": os.urandom(200_000),
            "DCIM/100MEDIA/IMAG0002.MP4": os.urandom(5 * MIB + number),
            "DCIM/100MEDIA/IMAG0003.JPG": b"",
        }
        for number in range(3)
    }
    visits = Visits([FolderDock(base, settle_s=0.05, rescan_s=0.2)], make_tools(journal))
    async with running(visits):
        for name, files in recorders.items():
            make_recorder(base, name, files)
        tiles = await shown(visits, all_in(BayState.DELIVERING, 3))
        assert all(tile.may_be_taken and tile.files == tile.files_read == 3 for tile in tiles.values())
        assert sum(tile.bytes_read for tile in tiles.values()) == sum(
            len(data) for files in recorders.values() for data in files.values()
        )
        shutil.rmtree(base / "CAM-0")
        await shown(visits, lambda tiles: tiles["CAM-0"].state is BayState.EMPTY)
    check_originals(journal, recorders)
    assert len({inventory.visit for inventory in inventories(journal)}) == 3


async def test_an_agent_started_again_goes_on_with_the_visit_of_a_recorder_that_stayed(
    tmp_path: Path, journal: Journal
) -> None:
    base = tmp_path / "bays"
    base.mkdir()
    first = {"DCIM/100MEDIA/IMAG0001.MP4": os.urandom(3 * MIB)}
    make_recorder(base, "CAM-1", first)
    dock = FolderDock(base, settle_s=0.05, rescan_s=0.2)
    visits = Visits([dock], make_tools(journal))
    async with running(visits):
        await shown(visits, all_in(BayState.DELIVERING, 1))
    later = {"DCIM/100MEDIA/IMAG0002.JPG": b"written while the agent was away"}
    make_recorder(base / "CAM-1", "more", later)
    visits = Visits([FolderDock(base, settle_s=0.05, rescan_s=0.2)], make_tools(journal, ids="again"))
    async with running(visits):
        await shown(visits, all_in(BayState.DELIVERING, 1))
    signed = inventories(journal)
    assert [inventory.sequence for inventory in signed] == [1, 2]
    assert len({inventory.visit for inventory in signed}) == 1
    assert [manifest.path for manifest in manifests(journal)] == [*first, f"more/{next(iter(later))}"]


async def test_one_bad_recorder_stops_no_other(journal: Journal) -> None:
    class Broken(MemoryVolume):
        def scan(self) -> Iterator[ScannedEntry]:
            raise ZeroDivisionError("a mistake of ours")

    good = MemoryVolume({b"DCIM/100MEDIA/IMAG0001.JPG": b"photo"}, bay="good")
    dock = ScriptedDock()
    visits = Visits([dock], make_tools(journal))
    async with running(visits):
        dock.queue.put_nowait(VolumeAppeared("bad", Broken({}, bay="bad")))
        dock.queue.put_nowait(VolumeAppeared("good", good))
        tiles = await shown(
            visits,
            lambda tiles: (
                len(tiles) == 2
                and tiles["good"].state is BayState.DELIVERING
                and tiles["bad"].state is BayState.REFUSED
            ),
        )
    assert tiles["bad"].problem_code == "internal-error"
    assert tiles["bad"].needs_person


async def test_a_recorder_pulled_out_says_so_and_is_finished_when_it_is_back(journal: Journal) -> None:
    files = {b"DCIM/100MEDIA/IMAG0001.MP4": os.urandom(4 * MIB)}
    pulled = MemoryVolume(files)
    pulled.vanish_after(2 * MIB)
    dock = ScriptedDock()
    visits = Visits([dock], make_tools(journal))
    async with running(visits):
        dock.queue.put_nowait(VolumeAppeared("bay-1", pulled))
        tiles = await shown(visits, all_in(BayState.LOST_CONTACT, 1))
        assert tiles["bay-1"].needs_person
        assert not tiles["bay-1"].may_be_taken
        dock.queue.put_nowait(VolumeVanished("bay-1"))
        await shown(visits, lambda tiles: tiles["bay-1"].problem_code == "recorder-left")
        dock.queue.put_nowait(VolumeAppeared("bay-1", MemoryVolume(files)))
        await shown(visits, all_in(BayState.DELIVERING, 1))
    assert [manifest.digest for manifest in manifests(journal)] == [Digest.of(*files.values())]


async def test_what_happens_before_a_recorder_can_be_read_is_shown_and_what_it_said_is_signed(
    journal: Journal,
) -> None:
    dock = ScriptedDock()
    visits = Visits([dock], make_tools(journal))
    clock = RecorderClock(offset_ms=-1500, uncertainty_ms=520, method="asked")
    facts = DeviceFacts(family="ambarella", recorder="ZFY0007", battery_percent=81, clock=clock)
    async with running(visits):
        for stage in (DockStage.IDENTIFYING, DockStage.SWITCHING, DockStage.MOUNTING):
            dock.queue.put_nowait(BayBusy("bay-1", stage))
            await shown(visits, all_in(BayState(stage.value), 1))
        volume = MemoryVolume({b"DCIM/100MEDIA/IMAG0001.JPG": b"photo"})
        dock.queue.put_nowait(VolumeAppeared("bay-1", volume, facts))
        await shown(visits, all_in(BayState.DELIVERING, 1))
    (inventory,) = inventories(journal)
    assert (inventory.battery_percent, inventory.clock) == (81, clock)
    assert inventory.profile.startswith("ambarella@")
    assert inventory.recorder == Claim("ZFY0007", "device")


async def test_sources_that_disagree_on_whose_files_these_are_are_shown(journal: Journal) -> None:
    dock = ScriptedDock()
    visits = Visits([dock], make_tools(journal))
    async with running(visits):
        volume = MemoryVolume(
            {b"ZFY0001_031415_20260131081530.mp4": b"a", b"ZFY0002_031415_20260131081530.mp4": b"b"}
        )
        dock.queue.put_nowait(VolumeAppeared("bay-1", volume))
        tiles = await shown(visits, all_in(BayState.DELIVERING, 1))
    (doubt,) = tiles["bay-1"].doubts
    assert "ZFY0001" in doubt
    assert "ZFY0002" in doubt
    assert tiles["bay-1"].recorder is None
    (inventory,) = inventories(journal)
    assert inventory.recorder is None


async def test_a_recorder_that_cannot_be_read_says_why_and_what_to_do_until_it_leaves(
    journal: Journal,
) -> None:
    dock = ScriptedDock()
    visits = Visits([dock], make_tools(journal))
    async with running(visits):
        dock.queue.put_nowait(BayBusy("bay-1", DockStage.IDENTIFYING))
        dock.queue.put_nowait(BayTroubled("bay-1", "wrong-password", "example_hid_unlock: switch unlock"))
        tiles = await shown(visits, all_in(BayState.WRONG_PASSWORD, 1))
        assert tiles["bay-1"].needs_person
        assert tiles["bay-1"].advice is not None
        assert "密码" in tiles["bay-1"].advice.zh
        dock.queue.put_nowait(VolumeVanished("bay-1"))
        await shown(visits, all_in(BayState.EMPTY, 1))
        dock.queue.put_nowait(BayTroubled("bay-1", "device-unknown", "device 1234:0001"))
        await shown(visits, all_in(BayState.REFUSED, 1))


async def test_receipts_show_as_done(journal: Journal) -> None:
    dock = ScriptedDock()
    tools = make_tools(journal)
    visits = Visits([dock], tools)
    async with running(visits):
        dock.queue.put_nowait(
            VolumeAppeared("bay-1", MemoryVolume({b"DCIM/100MEDIA/IMAG0001.JPG": b"photo"}))
        )
        await shown(visits, all_in(BayState.DELIVERING, 1))
        for delivery in journal.open_deliveries(10):
            journal.settle_receipt(delivery.statement, b"receipt", b"note", tools.clock())
        tools.doorbells.receipts.ring()
        tiles = await shown(visits, all_in(BayState.DONE, 1))
    assert tiles["bay-1"].files_receipted == 1


async def test_a_station_disk_that_failed_once_does_not_leave_the_recorder_unlisted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailsOnce(DirectorySpool):
        failures = 1

        def publish(self, publications: Sequence[Publication]) -> None:
            if self.failures:
                self.failures -= 1
                raise SpoolError("the disk failed once")
            super().publish(publications)

    monkeypatch.setattr(visits_module, "_RETRY_S", 0.01)
    journal = Journal(tmp_path / "journal.db", FailsOnce(tmp_path / "spool"))
    dock = ScriptedDock()
    visits = Visits([dock], make_tools(journal))
    async with running(visits):
        dock.queue.put_nowait(
            VolumeAppeared("bay-1", MemoryVolume({b"DCIM/100MEDIA/IMAG0001.JPG": b"photo"}))
        )
        await shown(visits, all_in(BayState.DELIVERING, 1))
    assert [inventory.sequence for inventory in inventories(journal)] == [1]
    journal.close()


async def test_leftovers_of_a_crash_are_cleared_away(journal: Journal) -> None:
    journal.files.open_partial("nobody-knows-me", 0).close()
    visits = Visits([ScriptedDock()], make_tools(journal))
    async with running(visits), asyncio.timeout(PATIENCE_S):
        while journal.files.partials():
            await asyncio.sleep(0.01)
