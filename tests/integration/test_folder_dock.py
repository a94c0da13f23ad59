"""Does the folder dock tell of every volume, once it is quiet, with watchdog's help and without it?

Real directories, real watchdog, real threads. Short settle times keep the tests fast; how long quiet must last is
asked of ``settling`` alone, where time is a number.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from agent.ports import Dock, DockEvent, VolumeAppeared, VolumeChanged, VolumeVanished
from agent.volumes import folder, hints
from agent.volumes.folder import FolderDock, bay_name
from agent.volumes.tree import TreeVolume

T = TypeVar("T")
NEVER_S = 3600.0
"""A rescan interval that cannot pass during a test: whatever is noticed was noticed by watchdog's hint."""


async def soon(awaitable: Awaitable[T]) -> T:
    async with asyncio.timeout(30):
        return await awaitable


@asynccontextmanager
async def watching(
    base: Path, *, settle_s: float = 0.05, rescan_s: float = NEVER_S
) -> AsyncIterator[AsyncIterator[DockEvent]]:
    dock: Dock = FolderDock(base, settle_s=settle_s, rescan_s=rescan_s)
    async with dock.watch() as events:
        yield events


async def there(path: Path) -> None:
    while not path.is_dir():
        await asyncio.sleep(0)


def fill(volume: Path, *names: str) -> Path:
    for name in names:
        path = volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return volume


def paths(event: DockEvent) -> set[bytes]:
    assert isinstance(event, VolumeAppeared | VolumeChanged)
    return {entry.raw_path for entry in event.volume.scan()}


async def appeared(events: AsyncIterator[DockEvent], bay: str) -> VolumeAppeared:
    event = await soon(anext(events))
    assert isinstance(event, VolumeAppeared)
    assert event.bay == bay
    return event


async def test_volumes_already_there_are_told_of(tmp_path: Path) -> None:
    fill(tmp_path / "REC1", "DCIM/a.mp4")
    fill(tmp_path / "REC2", "b.mp4")
    async with watching(tmp_path) as events:
        found = {event.bay: paths(event) for event in [await soon(anext(events)), await soon(anext(events))]}
    assert found == {"REC1": {b"DCIM/a.mp4"}, "REC2": {b"b.mp4"}}


@pytest.mark.parametrize("rescan_s", [NEVER_S, 0.05], ids=["by hint", "by rescan"])
async def test_a_visit_from_plugging_to_unplugging(
    tmp_path: Path, rescan_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rescan_s != NEVER_S:
        monkeypatch.setattr(hints.Hints, "start", lambda self: None)
    async with watching(tmp_path, rescan_s=rescan_s) as events:
        fill(tmp_path / ".incoming", "a.mp4").rename(tmp_path / "REC1")
        event = await appeared(events, "REC1")
        assert paths(event) == {b"a.mp4"}
        assert event.volume.identify().bay == "REC1"
        assert event.volume.identify().label == "REC1"

        fill(tmp_path / "REC1", "b.mp4")
        changed = await soon(anext(events))
        assert isinstance(changed, VolumeChanged)
        assert paths(changed) == {b"a.mp4", b"b.mp4"}
        assert changed.volume.identify().generation == event.volume.identify().generation

        shutil.rmtree(tmp_path / "REC1")
        while isinstance(last := await soon(anext(events)), VolumeChanged):
            pass  # the removal may be seen half done
        assert last == VolumeVanished("REC1")

        fill(tmp_path / ".incoming", "c.mp4").rename(tmp_path / "REC1")
        assert paths(await appeared(events, "REC1")) == {b"c.mp4"}


async def test_files_deep_in_a_volume_are_found_by_rescan(tmp_path: Path) -> None:
    fill(tmp_path / "REC1", "DCIM/100/a.mp4")
    async with watching(tmp_path, rescan_s=0.05) as events:
        await appeared(events, "REC1")
        fill(tmp_path / "REC1", "DCIM/100/b.mp4")
        assert isinstance(event := await soon(anext(events)), VolumeChanged)
        assert paths(event) == {b"DCIM/100/a.mp4", b"DCIM/100/b.mp4"}


async def test_a_name_with_a_dot_in_front_waits_until_it_is_renamed(tmp_path: Path) -> None:
    fill(tmp_path / ".REC1", "a.mp4")
    async with watching(tmp_path) as events:
        fill(tmp_path / "REC2", "b.mp4")
        await appeared(events, "REC2")
        (tmp_path / ".REC1").rename(tmp_path / "REC1")
        await appeared(events, "REC1")


async def test_files_and_links_in_the_base_are_no_volumes(tmp_path: Path) -> None:
    base = tmp_path / "base"
    fill(base, "notes.txt")
    (base / "link").symlink_to(fill(tmp_path / "outside", "a.mp4"))
    async with watching(base) as events:
        fill(base / "REC1", "a.mp4")
        await appeared(events, "REC1")


async def test_a_directory_swapped_for_another_is_another_visit(tmp_path: Path) -> None:
    fill(tmp_path / "REC1", "a.mp4")
    async with watching(tmp_path) as events:
        first = await appeared(events, "REC1")
        (tmp_path / "REC1").rename(tmp_path / ".old")
        fill(tmp_path / ".new", "b.mp4").rename(tmp_path / "REC1")
        assert await soon(anext(events)) == VolumeVanished("REC1")
        second = await appeared(events, "REC1")
        assert paths(second) == {b"b.mp4"}
        assert second.volume.generation != first.volume.generation  # type: ignore[attr-defined]


async def test_a_directory_made_again_between_two_looks_is_another_visit(tmp_path: Path) -> None:
    """Its inode number may be the old one's, and its content may look the same; only the hint tells."""
    fill(tmp_path / "REC1", "a.mp4")
    times = (tmp_path / "REC1" / "a.mp4").stat().st_mtime_ns
    async with watching(tmp_path) as events:
        await appeared(events, "REC1")
        shutil.rmtree(tmp_path / "REC1")
        fill(tmp_path / "REC1", "a.mp4")
        os.utime(tmp_path / "REC1" / "a.mp4", ns=(times, times))
        assert await soon(anext(events)) == VolumeVanished("REC1")
        await appeared(events, "REC1")


async def test_a_base_that_is_missing_or_removed_is_made(tmp_path: Path) -> None:
    base = tmp_path / "a" / "docks"
    async with watching(base, rescan_s=0.2) as events:
        await soon(there(base))
        fill(base / ".x", "a.mp4").rename(base / "REC1")
        await appeared(events, "REC1")
        shutil.rmtree(base)
        while isinstance(event := await soon(anext(events)), VolumeChanged):
            pass
        assert event == VolumeVanished("REC1")
        await soon(there(base))
        fill(base / ".x", "b.mp4").rename(base / "REC2")
        await appeared(events, "REC2")


async def test_a_volume_that_keeps_changing_is_told_of_when_it_stops(tmp_path: Path) -> None:
    volume = fill(tmp_path / "REC1", "a.mp4")
    async with watching(tmp_path, settle_s=0.3, rescan_s=0.05) as events:
        for number in range(50):
            with (volume / "a.mp4").open("ab") as file:
                file.write(b"x" * number)
            await asyncio.sleep(0)
        size = (volume / "a.mp4").stat().st_size
        event = await appeared(events, "REC1")
        assert [entry.size_bytes for entry in event.volume.scan()] == [size]


async def test_a_burst_of_changes_is_a_handful_of_events(tmp_path: Path) -> None:
    volume = fill(tmp_path / "REC1", "a.mp4")
    async with watching(tmp_path) as events:
        await appeared(events, "REC1")
        for number in range(500):
            (volume / f"{number}.jpg").touch()
        told = 0
        while isinstance(event := await soon(anext(events)), VolumeChanged):
            told += 1
            if len(paths(event)) == 501:
                break
        assert 1 <= told <= 20


async def test_bays_do_not_wait_for_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    look = folder.fingerprint

    def hanging(volume: TreeVolume) -> int:
        if volume.bay == "HANGS":
            released.wait(30)
        return look(volume)

    monkeypatch.setattr(folder, "fingerprint", hanging)
    fill(tmp_path / "HANGS", "a.mp4")
    fill(tmp_path / "REC1", "a.mp4")
    async with watching(tmp_path) as events:
        await appeared(events, "REC1")
        released.set()
        await appeared(events, "HANGS")


async def test_a_volume_that_cannot_be_listed_is_told_of_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.volumes.tree.MAX_LISTING_ROWS", 1)
    fill(tmp_path / "REC1", "a.mp4", "b.mp4")
    async with watching(tmp_path) as events:
        await appeared(events, "REC1")


async def test_a_failure_inside_reaches_whoever_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: TreeVolume) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(folder, "fingerprint", broken)
    fill(tmp_path / "REC1", "a.mp4")
    async with watching(tmp_path) as events:
        with pytest.raises(ExceptionGroup) as caught:
            await soon(anext(events))
    assert caught.group_contains(ZeroDivisionError)


async def test_leaving_ends_every_thread(tmp_path: Path) -> None:
    fill(tmp_path / "REC1", "a.mp4")
    before = set(threading.enumerate())
    async with watching(tmp_path) as events:
        await appeared(events, "REC1")
        during = set(threading.enumerate()) - before
    for thread in during:
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


async def test_without_inotify_the_dock_still_finds_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_watches_left() -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(hints, "Observer", no_watches_left)
    async with watching(tmp_path, rescan_s=0.05) as events:
        fill(tmp_path / "REC1", "a.mp4")
        await appeared(events, "REC1")
    assert "dock.hints_unavailable" in caplog.text


@pytest.mark.parametrize(
    ("raw_name", "bay"),
    [
        (b"REC-1_a.b", "REC-1_a.b"),
        ("张三的记录仪".encode(), "张三的记录仪"),
        (b"a b", "a-b-c8687a08"),
        (b"a/../b"[2:], "..-b-"),
        (b"\xff", "--"),
        ("执法".encode("gbk"), "执法-"),
        (b"x" * 200, "x" * 55 + "-"),
        (b"\x1b[2J", "--2J-"),
    ],
)
def test_a_bay_name_is_safe_text(raw_name: bytes, bay: str) -> None:
    made = bay_name(raw_name)
    assert made.startswith(bay)
    assert len(made) <= 64
    assert all(char.isalnum() or char in "-_." for char in made)


def test_directories_that_look_alike_have_bays_of_their_own() -> None:
    names = [b"a b", b"a-b", b"a?b", "执法".encode(), "执法".encode("gbk"), b"x" * 64, b"x" * 65, b"x" * 66]
    assert len({bay_name(name) for name in names}) == len(names)


async def test_a_volume_of_any_bytes_has_a_bay(tmp_path: Path) -> None:
    name = "执法1".encode("gbk")
    os.makedirs(os.path.join(os.fsencode(tmp_path), name))
    async with watching(tmp_path) as events:
        event = await appeared(events, bay_name(name))
        assert event.volume.identify().label == "执法1"
