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
from agent.usb.errors import MountFailedError
from agent.usb.ports import DeviceSeen
from agent.volumes.errors import VolumeDirtyError, VolumeVanishedError
from tests.support.memory_usb import Medium, MemoryBus, MemoryMounter, a_device

FACTS = DeviceFacts(family="some", battery_percent=70)


@dataclass
class Answers:
    """``Introductions`` that say what the test wants; the last answer stands."""

    answers: list[Answer] = field(default_factory=lambda: [Ready(FACTS)])
    talked: list[DeviceSeen] = field(default_factory=list)

    def talk(self, device: DeviceSeen) -> Answer:
        self.talked.append(device)
        return self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)


@dataclass
class Bench:
    bus: MemoryBus
    mounter: MemoryMounter
    answers: Answers
    folder: Path
    events: AsyncIterator[DockEvent]

    def card(self, name: str = "card", **traits: object) -> Medium:
        folder = self.folder / name
        (folder / "DCIM").mkdir(parents=True)
        (folder / "DCIM" / f"{name}.mp4").write_bytes(b"footage")
        return Medium(folder, **traits)  # type: ignore[arg-type]

    async def next(self) -> DockEvent:
        async with asyncio.timeout(30):
            return await anext(self.events)

    async def appeared(self) -> VolumeAppeared:
        while not isinstance(event := await self.next(), VolumeAppeared):
            assert isinstance(event, BayBusy)
        return event


@asynccontextmanager
async def bench(
    folder: Path, *, hinting: bool = True, bays: dict[str, str] | None = None
) -> AsyncIterator[Bench]:
    bus, answers = MemoryBus(hinting=hinting), Answers()
    mounter = MemoryMounter(bus, folder / "mounts")
    now = _Hurried()
    dock = UsbDock(bus, mounter, answers, bays=bays or {"1-2": "A01", "1-3": "A02"}, rescan_s=0.05, clock=now)
    async with dock.watch() as events:
        yield Bench(bus, mounter, answers, folder, events)


class _Hurried:
    """A clock on which every look is the longest wait later."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += QUIET_S
        return self.now_s


async def test_a_recorder_is_announced_with_what_it_said_and_can_be_read(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-2"), at.card(label="ZFY0001"))
        assert [await at.next(), await at.next()] == [
            BayBusy("A01", DockStage.IDENTIFYING),
            BayBusy("A01", DockStage.MOUNTING),
        ]
        event = await at.appeared()
        assert (event.bay, event.facts) == ("A01", FACTS)
        assert [entry.raw_path for entry in event.volume.scan()] == [b"DCIM/card.mp4"]
        assert event.volume.identify().label == "ZFY0001"
        at.bus.pull("1-2")
        assert await at.next() == VolumeVanished("A01")


async def test_a_recorder_whose_event_was_lost_is_found_by_looking(tmp_path: Path) -> None:
    async with bench(tmp_path, hinting=False) as at:
        at.bus.plug(a_device("1-3"), at.card())
        assert (await at.appeared()).bay == "A02"


async def test_what_is_plugged_in_elsewhere_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-9"), at.card("elsewhere"))
        at.bus.plug(a_device("1-2"), at.card())
        assert (await at.appeared()).bay == "A01"
        assert [device.port_path for device in at.answers.talked] == ["1-2"]


async def test_a_recorder_that_switches_is_one_visit(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.answers.answers = [Switched(FACTS, within_s=1e6)]
        at.bus.plug(a_device("1-2"))
        assert await at.next() == BayBusy("A01", DockStage.IDENTIFYING)
        assert await at.next() == BayBusy("A01", DockStage.SWITCHING)
        at.bus.pull("1-2")
        at.bus.plug(a_device("1-2", product_id=2), at.card())
        event = await at.appeared()
        assert event.facts == FACTS
        assert len(at.answers.talked) == 1


async def test_a_refused_recorder_is_shown_until_it_leaves(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.answers.answers = [Trouble(code="wrong-password", detail="refused")]
        at.bus.plug(a_device("1-2"), at.card())
        assert await at.next() == BayBusy("A01", DockStage.IDENTIFYING)
        assert await at.next() == BayTroubled("A01", "wrong-password", "refused")
        at.bus.pull("1-2")
        assert await at.next() == VolumeVanished("A01")
        assert at.mounter.asked == ["unmount 1-2"]


async def test_two_cards_of_one_recorder_are_two_volumes_and_one_may_fail(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-2"), at.card("one"), at.card("two"), at.card("three", fs_type="ntfs"))
        first, second, third = await at.appeared(), await at.next(), await at.next()
        assert isinstance(second, VolumeAppeared)
        assert isinstance(third, BayTroubled)
        assert (first.bay, second.bay, third.bay) == ("A01", "A01-2", "A01-3")
        at.bus.pull("1-2")
        assert {await at.next(), await at.next(), await at.next()} == {
            VolumeVanished("A01"),
            VolumeVanished("A01-2"),
            VolumeVanished("A01-3"),
        }


async def test_a_card_swapped_in_its_reader_is_another_volume_and_the_old_one_is_gone(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-2"), at.card("one"))
        first = await at.appeared()
        generation = first.volume.identify().generation
        at.bus.eject("1-2")
        at.bus.insert("1-2", at.card("two"))
        assert await at.next() == VolumeVanished("A01")
        second = await at.appeared()
        assert second.volume.identify().generation != generation
        with pytest.raises(VolumeVanishedError):
            list(first.volume.scan())


async def test_a_file_system_that_cannot_be_mounted_is_the_bays_trouble(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-2"), at.card(refuses_mount=MountFailedError("bad superblock")))
        while isinstance(event := await at.next(), BayBusy):
            pass
        assert event == BayTroubled("A01", "mount-failed", "bad superblock")


async def test_release_mounts_for_writing_only_meanwhile_and_lists_what_the_medium_holds(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as at:
        card = at.card()
        at.bus.plug(a_device("1-2"), card)
        volume = (await at.appeared()).volume
        before = volume.identify()
        with volume.open_for_release() as opened:
            assert opened.identify().generation == before.generation
            with opened.open_file(b"DCIM/card.mp4") as source:
                found = source.opened_as
            opened.erase(b"DCIM/card.mp4", found)
        assert [kind.split()[-1] for kind in at.mounter.asked] == ["ro", "rw", "ro"]
        assert list(volume.scan()) == []
        assert volume.identify().generation == before.generation
        assert not list((card.folder / "DCIM").iterdir())


async def test_a_dirty_card_is_not_released_and_stays_readable(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-2"), at.card(refuses_release=VolumeDirtyError("the dirty bit is set")))
        volume = (await at.appeared()).volume
        with pytest.raises(VolumeDirtyError), volume.open_for_release():
            pass
        assert len(list(volume.scan())) == 1


async def test_a_card_exchanged_during_release_is_not_written(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        at.bus.plug(a_device("1-2"), at.card("one"))
        volume = (await at.appeared()).volume
        at.bus.eject("1-2")
        other = at.card("two")
        at.bus.insert("1-2", other)
        with pytest.raises(VolumeVanishedError), volume.open_for_release():
            pass
        assert [path.name for path in (other.folder / "DCIM").iterdir()] == ["two.mp4"]
