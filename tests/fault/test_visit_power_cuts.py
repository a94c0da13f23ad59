"""Is every original in the spool exactly once, with the right bytes, wherever the power goes during a visit?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.core.bay import BayState
from agent.offload import reader
from agent.spool.records import Purpose
from protocol.digest import Digest
from tests.support.lossy_spool import LossySpool, PowerSwitch
from tests.support.memory_volume import MemoryVolume
from tests.support.visit_lab import (
    SwitchedJournal,
    inventories,
    make_tools,
    manifests,
    run_visit,
    statements,
    unreadables,
)

MIB = 1024 * 1024
FILES = {
    b"DCIM/100MEDIA/IMAG0001.JPG": b"first photo" * 100,
    b"DCIM/100MEDIA/IMAG0002.JPG": b"second photo" * 5000,
    b"DCIM/100MEDIA/IMAG0003.JPG": b"",
    b"DCIM/100MEDIA/IMAG0004.MP4": bytes(range(256)) * 4096 * 3 + b"the end",
}


def station(folder: Path, spool: LossySpool, switch: PowerSwitch) -> SwitchedJournal:
    return SwitchedJournal(folder / "journal.db", spool, switch)


async def visit_until_cut(journal: SwitchedJournal, volume: MemoryVolume, ids: str) -> BayState:
    tile = await run_visit(volume, make_tools(journal, ids=ids))
    return tile.state


def check(journal: SwitchedJournal, spool: LossySpool) -> None:
    """What an auditor would ask."""
    spool.cut_power()
    found = manifests(journal)
    assert sorted(manifest.path_bytes for manifest in found) == sorted(FILES)
    signed = {statement for statement, _ in statements(journal)}
    for manifest in found:
        data = FILES[manifest.path_bytes]
        assert manifest.digest == Digest.of(data)
        assert spool.blob(Purpose.ORIGINAL, manifest.digest) == data
        assert manifest.inventory in signed
    for inventory in inventories(journal):
        assert spool.blob(Purpose.LISTING, inventory.listing) is not None
    assert unreadables(journal) == []
    (visit,) = journal.open_visits()
    account = journal.accounting(visit.visit)
    assert (account.listed, account.pending, account.unread) == (len(FILES), len(FILES), 0)
    assert len(journal.open_deliveries(100)) == len(found) + len(inventories(journal))
    assert len(journal.open_media_jobs(100)) == len(found)
    assert journal.partial_names() == set()


@pytest.fixture(autouse=True)
def sync_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "DURABLE_EVERY_BYTES", MIB)


async def cut_at(folder: Path, place: int) -> tuple[bool, bool]:
    """Cut the power at one place, start again, finish, check. Whether the visit was not over before that place, and
    whether its big file's read was resumed."""
    spool = LossySpool()
    volume = MemoryVolume(FILES)
    switch = PowerSwitch(off_at=place)
    journal = station(folder, spool, switch)
    spool.switch = switch
    await visit_until_cut(journal, volume, "before")
    was_cut = switch.is_off
    journal.close()
    spool.cut_power()
    journal = station(folder, spool, spool.switch)
    assert await visit_until_cut(journal, volume, "after") is BayState.DELIVERING
    await asyncio.to_thread(check, journal, spool)
    resumed = any(manifest.resumed for manifest in manifests(journal))
    journal.close()
    return was_cut, resumed


async def test_a_visit_without_a_cut_passes_the_check(tmp_path: Path) -> None:
    assert await cut_at(tmp_path, 10**9) == (False, False)


async def test_power_may_go_at_any_place(tmp_path: Path) -> None:
    place = times_resumed = 0
    was_cut = True
    while was_cut:
        place += 1
        folder = tmp_path / str(place)
        folder.mkdir()
        was_cut, resumed = await cut_at(folder, place)
        times_resumed += resumed
    assert place > 60, "a visit passes the switch many times"
    assert times_resumed > 5, "and a big file is resumed where it was cut"
