"""Is nothing ever erased that is not stored and announced, wherever power, process or recorder go during a release?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.bay import BayState
from agent.ports import FileIdentity
from protocol.digest import Digest
from protocol.statements import Released, ReleaseIntent
from tests.support.lossy_spool import LossySpool, PowerCutError, PowerSwitch
from tests.support.memory_volume import MemoryVolume
from tests.support.release_lab import AT_REST, Centre, release_tools, released_by
from tests.support.visit_lab import SwitchedJournal, manifests, statements

FILES = {
    b"DCIM/ZFY0001_000123_20260131081530.JPG": b"first photo" * 100,
    b"DCIM/ZFY0001_000123_20260131081600.JPG": b"second photo" * 5000,
    b"DCIM/ZFY0001_000123_20260131081630.MP4": bytes(range(256)) * 4096 * 2 + b"the end",
}


class GuardedVolume(MemoryVolume):
    """Knows what the collector holds, and lets nothing be erased that is not stored and announced there."""

    def __init__(self, centre: Centre) -> None:
        super().__init__(FILES, label="ZFY0001")
        self.centre = centre

    def erase(self, raw_path: bytes, expected: FileIdentity) -> None:
        before = self.files.get(raw_path)
        super().erase(raw_path, expected)
        if before is not None and raw_path not in self.files:
            self._check_allowed(Digest.of(before.data))

    def _check_allowed(self, digest: Digest) -> None:
        collector = self.centre.collector
        assert digest in self.centre.stored(), "erased, and stored nowhere"
        intents = [said for said in collector.statements.values() if isinstance(said, ReleaseIntent)]
        for item in (item for intent in intents for item in intent.items if item.digest == digest):
            assert collector.stored_at[item.manifest] == item.stored_index
            return
        raise AssertionError("erased, and not announced")


class Machine:
    """A station that is switched off at one place of its release and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = LossySpool()
        self.centre = Centre()
        self.volume = GuardedVolume(self.centre)
        self.boots = 0
        self.modified_ns = {path: file.modified_ns for path, file in self.volume.files.items()}

    async def run(self, place: int | None, on_release: Callable[[str], None] | None = None) -> bool:
        """One stay of the agent until the recorder is released; counting of places begins when all is read. Whether it
        was cut off before."""
        self.boots += 1
        switch = PowerSwitch()
        journal = SwitchedJournal(self.folder / "journal.db", self.spool, switch)
        tools = release_tools(journal, self.centre, ids=str(self.boots))
        self.centre.withholds_receipts = True
        self.volume.on_release = lambda _: switch.pass_through()
        with contextlib.suppress(PowerCutError):
            async with released_by(self.volume, tools, self.centre, self.spool) as (_, tile):
                await tile.reached({BayState.DELIVERING, BayState.RELEASED, BayState.RELEASABLE})
                self.spool.switch = switch
                if place is not None:
                    switch.go_off_at(switch.count + place)
                if on_release is not None:
                    self.volume.on_release = on_release
                self.centre.withholds_receipts = False
                await tile.reached(AT_REST)
        self.volume.on_release = lambda _: None
        self.spool.cut_power()
        was_cut = switch.is_off
        if not was_cut:
            switch.go_off_at(None)
            await asyncio.to_thread(self.centre.answer, journal, self.spool)
        journal.close()
        return was_cut

    async def check(self) -> None:
        """What an auditor would ask when all is over."""
        journal = SwitchedJournal(self.folder / "journal.db", self.spool, PowerSwitch())
        try:
            await asyncio.to_thread(self.centre.answer, journal, self.spool)
            assert journal.open_intents() == []
            assert journal.unsettled_statements(10) == []
            said = [statement for _, statement in statements(journal)]
            intents = {name for name, body in statements(journal) if isinstance(body, ReleaseIntent)}
            closed = [body.intent for body in said if isinstance(body, Released)]
            assert sorted(map(str, closed)) == sorted(map(str, intents)), "each intent has one outcome"
            assert {Digest.of(data) for data in FILES.values()} <= self.centre.stored()
            assert {manifest.digest for manifest in manifests(journal)} <= self.centre.stored()
            assert self.volume.files == {}
        finally:
            journal.close()


async def cut_at(machine: Machine, place: int, between: Callable[[MemoryVolume], None]) -> bool:
    was_cut = await machine.run(place)
    between(machine.volume)
    if was_cut:
        assert not await machine.run(None)
    await machine.check()
    return was_cut


@pytest.mark.parametrize("lost", [False, True], ids=["flushed by luck", "unflushed lost"])
async def test_power_may_go_at_any_place_of_a_release(tmp_path: Path, lost: bool) -> None:
    await every_place(tmp_path, lambda volume: volume.plug_in(lost_unflushed=lost))


async def test_the_agent_may_be_killed_at_any_place_of_a_release(tmp_path: Path) -> None:
    """The mount stays, and with it whatever was not flushed."""
    await every_place(tmp_path, lambda _: None)


async def every_place(folder: Path, between: Callable[[MemoryVolume], None]) -> None:
    place, was_cut = 0, True
    while was_cut:
        place += 1
        below = folder / str(place)
        below.mkdir()
        was_cut = await cut_at(Machine(below), place, between)
    assert place > 20, "a release passes the switch many times"


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("lost", [False, True])
async def test_the_recorder_may_be_pulled_at_any_moment_of_its_clearing(
    tmp_path: Path, number: int, lost: bool
) -> None:
    machine = Machine(tmp_path)
    moments: list[str] = []

    def pull(moment: str) -> None:
        moments.append(moment)
        if len(moments) == number:
            machine.volume.vanish()

    await machine.run(None, pull)
    assert len(moments) >= min(number, 8)
    machine.volume.plug_in(lost_unflushed=lost)
    await machine.run(None)
    await machine.check()


@pytest.mark.parametrize("number", range(1, 8))
async def test_a_new_clip_may_take_the_name_at_any_moment_of_the_clearing(
    tmp_path: Path, number: int
) -> None:
    """It looks like the old one in everything but its bytes and its inode."""
    machine = Machine(tmp_path)
    path, old = next(iter(FILES.items()))
    new = old[::-1]
    moments: list[str] = []

    def replace_file(moment: str) -> None:
        moments.append(moment)
        if len(moments) == number:
            modified_ns = machine.modified_ns[path]
            machine.volume.put(path, new).modified_ns = modified_ns

    await machine.run(None, replace_file)
    await machine.run(None)
    await machine.check()
    assert Digest.of(new) in machine.centre.stored()
