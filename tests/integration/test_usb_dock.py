"""Does the USB dock tell what happens at its ports, whatever happens, in the order its readers rely on?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.core.docking import QUIET_S, Answer, Ready, Switched, Trouble
from agent.ports import (
    BayBusy,
    BayTroubled,
    DeviceFacts,
    DockEvent,
    DockStage,
    VolumeAppeared,
    VolumeVanished,
)
from agent.usb.dock import UsbDock
from agent.usb.ports import DeviceSeen
from agent.volumes.errors import VolumeDirtyError, VolumeVanishedError
from agent.volumes.mounts import boot_id
from tests.support.memory_mounter import MemoryCard, MemoryMounter
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import Disk, Recorder

FACTS = DeviceFacts(family="some", battery_percent=70)
BAYS = {"1-2": "A01", "1-3": "A02"}


@dataclass
class Answers:
    """``Introductions`` that say what the test wants."""

    answer: Answer = field(default_factory=lambda: Ready(FACTS))
    talked: list[DeviceSeen] = field(default_factory=list)

    def talk(self, device: DeviceSeen) -> Answer:
        self.talked.append(device)
        return self.answer


@dataclass
class Bench:
    bus: MemoryUsbBus
    mounter: MemoryMounter
    answers: Answers
    folder: Path
    events: AsyncIterator[DockEvent]

    def card(self, name: str = "card", *, fs_type: str | None = "vfat", dirty: bool = False) -> MemoryCard:
        folder = self.folder / name
        (folder / "DCIM").mkdir(parents=True)
        (folder / "DCIM" / f"{name}.mp4").write_bytes(b"footage")
        return MemoryCard(folder, fs_type=fs_type, dirty=dirty)

    def plug(self, port_path: str, *cards: MemoryCard, recorder: Recorder | None = None) -> None:
        self.bus.plug(recorder or Disk(), port_path)
        self.insert(port_path, *cards)

    def insert(self, port_path: str, *cards: MemoryCard) -> None:
        self.mounter.pull(port_path)
        self.bus.show_volumes(port_path, *self.mounter.plug(port_path, *cards))

    def pull(self, port_path: str) -> None:
        self.mounter.pull(port_path)
        self.bus.unplug(port_path)

    async def next(self) -> DockEvent:
        async with asyncio.timeout(30):
            return await anext(self.events)

    async def appeared(self) -> VolumeAppeared:
        while not isinstance(event := await self.next(), VolumeAppeared):
            assert isinstance(event, BayBusy)
        return event


class _Hurried:
    """A clock on which every look is one quiet wait later."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += QUIET_S
        return self.now_s


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    bus, answers = MemoryUsbBus(), Answers()
    mounter = MemoryMounter(folder / "mounts", *BAYS)
    dock = UsbDock(bus, mounter, answers, bays=BAYS, rescan_s=0.05, clock=_Hurried())
    async with dock.watch() as events:
        yield Bench(bus, mounter, answers, folder, events)


async def test_a_recorder_is_announced_with_what_it_said_and_can_be_read(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-2", at.card())
        assert [await at.next(), await at.next()] == [
            BayBusy("A01", DockStage.IDENTIFYING),
            BayBusy("A01", DockStage.MOUNTING),
        ]
        event = await at.appeared()
        assert (event.bay, event.facts) == ("A01", FACTS)
        assert [entry.raw_path for entry in event.volume.scan()] == [b"DCIM/card.mp4"]
        assert event.volume.identify().label == "ZFY"
        assert event.volume.identify().generation.startswith(f"{boot_id()}:")
        at.pull("1-2")
        assert await at.next() == VolumeVanished("A01")


async def test_a_recorder_whose_event_was_lost_is_found_by_looking(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.gives_hints = False
        at.plug("1-3", at.card())
        assert (await at.appeared()).bay == "A02"


async def test_what_is_plugged_in_elsewhere_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-9", at.card("elsewhere"))
        at.plug("1-2", at.card())
        assert (await at.appeared()).bay == "A01"
        assert [device.port_path for device in at.answers.talked] == ["1-2"]


async def test_a_recorder_that_switches_is_one_visit(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.answers.answer = Switched(FACTS, within_s=1e6)
        at.plug("1-2", recorder=Recorder())
        assert await at.next() == BayBusy("A01", DockStage.IDENTIFYING)
        assert await at.next() == BayBusy("A01", DockStage.SWITCHING)
        at.pull("1-2")
        at.plug("1-2", at.card())
        event = await at.appeared()
        assert event.facts == FACTS
        assert len(at.answers.talked) == 1


async def test_a_refused_recorder_is_shown_until_it_leaves(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.answers.answer = Trouble(code="wrong-password", detail="refused")
        card = at.card()
        at.plug("1-2", card)
        assert await at.next() == BayBusy("A01", DockStage.IDENTIFYING)
        assert await at.next() == BayTroubled("A01", "wrong-password", "refused")
        assert at.mounter.where(card) == card.folder
        at.pull("1-2")
        assert await at.next() == VolumeVanished("A01")


async def test_two_cards_of_one_recorder_are_two_volumes_and_one_may_fail(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-2", at.card("one"), at.card("two"), at.card("three", fs_type=None))
        first, second, third = await at.appeared(), await at.next(), await at.next()
        assert isinstance(second, VolumeAppeared)
        assert isinstance(third, BayTroubled)
        assert (first.bay, second.bay, third.bay) == ("A01", "A01-2", "A01-3")
        at.pull("1-2")
        assert {await at.next(), await at.next(), await at.next()} == {
            VolumeVanished("A01"),
            VolumeVanished("A01-2"),
            VolumeVanished("A01-3"),
        }


async def test_a_card_swapped_in_its_reader_is_another_volume_and_the_old_one_is_gone(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-2", at.card("one"))
        first = await at.appeared()
        generation = first.volume.identify().generation
        at.insert("1-2", at.card("two"))
        assert await at.next() == VolumeVanished("A01")
        second = await at.appeared()
        assert second.volume.identify().generation != generation
        with pytest.raises(VolumeVanishedError):
            list(first.volume.scan())


async def test_a_file_system_that_cannot_be_mounted_is_the_bays_trouble(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-2", at.card(fs_type=None))
        while isinstance(event := await at.next(), BayBusy):
            pass
        assert isinstance(event, BayTroubled)
        assert (event.bay, event.code) == ("A01", "mount-failed")


async def test_a_mounter_that_was_away_is_asked_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.mounter.away = True
        at.plug("1-2", at.card())
        while isinstance(event := await at.next(), BayBusy):
            pass
        assert isinstance(event, BayTroubled)
        assert event.code == "mounter-away"
        at.mounter.away = False
        assert (await at.appeared()).bay == "A01"


async def test_a_mistake_of_ours_at_one_bay_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as at:
        talk = at.answers.talk

        def stumble(device: DeviceSeen) -> Answer:
            if device.port_path == "1-2":
                raise ZeroDivisionError("a mistake of ours")
            return talk(device)

        monkeypatch.setattr(at.answers, "talk", stumble)
        at.plug("1-2", at.card("one"))
        assert await at.next() == BayBusy("A01", DockStage.IDENTIFYING)
        event = await at.next()
        assert isinstance(event, BayTroubled)
        assert (event.bay, event.code) == ("A01", "internal-error")
        at.plug("1-3", at.card("two"))
        while not isinstance(event := await at.next(), VolumeAppeared):
            assert isinstance(event, BayBusy | BayTroubled)  # the first bay tries again now and then
        assert event.bay == "A02"


async def test_release_writes_and_then_lists_what_the_medium_holds(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        card = at.card()
        at.plug("1-2", card)
        volume = (await at.appeared()).volume
        before = volume.identify()
        with volume.open_for_release() as opened:
            assert opened.identify().generation == before.generation
            with opened.open_file(b"DCIM/card.mp4") as source:
                found = source.opened_as
            opened.erase(b"DCIM/card.mp4", found)
        assert list(volume.scan()) == []
        assert volume.identify().generation == before.generation
        at.pull("1-2")
        assert not list((card.folder / "DCIM").iterdir())


async def test_a_dirty_card_is_not_released_and_stays_readable(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-2", at.card(dirty=True))
        volume = (await at.appeared()).volume
        with pytest.raises(VolumeDirtyError), volume.open_for_release():
            pass
        assert len(list(volume.scan())) == 1


async def test_a_card_exchanged_before_its_release_is_not_written(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.plug("1-2", at.card("one"))
        volume = (await at.appeared()).volume
        other = at.card("two")
        at.insert("1-2", other)
        with pytest.raises(VolumeVanishedError), volume.open_for_release():
            pass
        assert [path.name for path in (at.mounter.where(other) / "DCIM").iterdir()] == ["two.mp4"]
