"""Do the volume in memory and the volume over a directory behave alike?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.ports import FileIdentity, RecorderVolume
from agent.volumes.errors import (
    FileChangedError,
    FileGoneError,
    FileReplacedError,
    FileUnreadableError,
    PathUnsafeError,
    VolumeVanishedError,
)
from agent.volumes.tree import TreeVolume
from tests.support.memory_volume import MemoryVolume

CLIP = b"DCIM/100MEDIA/a.mp4"
FILES = {CLIP: bytes(range(256)) * 40, b"empty.log": b"", "日志/执法.txt".encode("gbk"): b"log"}


@dataclass
class Bench:
    """A volume under test and the hands that change it from outside."""

    volume: RecorderVolume
    append: Callable[[bytes, bytes], None]
    replace: Callable[[bytes, bytes], None]
    remove: Callable[[], None]


def memory_bench(_: Path) -> Bench:
    volume = MemoryVolume(FILES)

    def replace(raw_path: bytes, data: bytes) -> None:
        """By another file of the same time."""
        modified_ns = volume.files[raw_path].modified_ns
        volume.put(raw_path, data).modified_ns = modified_ns

    return Bench(volume, volume.append, replace, volume.vanish)


def tree_bench(folder: Path) -> Bench:
    root = os.fsencode(folder / "recorder")
    for raw_path, data in FILES.items():
        path = os.path.join(root, raw_path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def append(raw_path: bytes, data: bytes) -> None:
        with open(os.path.join(root, raw_path), "ab") as file:
            file.write(data)

    def replace(raw_path: bytes, data: bytes) -> None:
        """By another file of the same time."""
        path = os.path.join(root, raw_path)
        before = os.stat(path)
        with open(path + b".new", "wb") as file:
            file.write(data)
        os.utime(path + b".new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(path + b".new", path)

    volume = TreeVolume.at(root, dock="folder", bay="bay-1", label=None)
    return Bench(volume, append, replace, lambda: shutil.rmtree(root, ignore_errors=True))


@pytest.fixture(params=[memory_bench, tree_bench], ids=["memory", "tree"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    made: Bench = request.param(tmp_path)
    return made


def read_all(volume: RecorderVolume, raw_path: bytes, offset_bytes: int = 0) -> bytes:
    buffer = bytearray(1000)
    data = b""
    with volume.open_file(raw_path, offset_bytes=offset_bytes) as reader:
        while count := reader.readinto(buffer):
            data += buffer[:count]
        reader.verify_unchanged()
    return data


def test_a_scan_finds_every_file_once_with_its_size(bench: Bench) -> None:
    found = [(entry.raw_path, entry.size_bytes, entry.obstacle) for entry in bench.volume.scan()]
    assert sorted(found) == sorted((path, len(data), None) for path, data in FILES.items())


def test_the_scan_and_the_reader_agree_on_size_and_time(bench: Bench) -> None:
    for entry in bench.volume.scan():
        with bench.volume.open_file(entry.raw_path) as reader:
            assert (reader.opened_as.size_bytes, reader.opened_as.modified_ns) == (
                entry.size_bytes,
                entry.modified_ns,
            )


@pytest.mark.parametrize("raw_path", FILES)
def test_the_bytes_come_back_as_they_are(bench: Bench, raw_path: bytes) -> None:
    assert read_all(bench.volume, raw_path) == FILES[raw_path]


@pytest.mark.parametrize("offset", [0, 1, 4096, len(FILES[CLIP]), len(FILES[CLIP]) + 5])
def test_a_read_can_begin_at_an_offset(bench: Bench, offset: int) -> None:
    assert read_all(bench.volume, CLIP, offset) == FILES[CLIP][offset:]


@pytest.mark.parametrize(
    "raw_path", [b"", b"/etc/passwd", b"../outside", b"DCIM//a", b"DCIM/./a", b"DCIM/", b"a\0b", b"x" * 5000]
)
def test_a_path_that_is_no_path_inside_the_volume_is_refused(bench: Bench, raw_path: bytes) -> None:
    with pytest.raises(PathUnsafeError):
        bench.volume.open_file(raw_path)


@pytest.mark.parametrize("raw_path", [b"DCIM", b"DCIM/100MEDIA", CLIP + b"/more"])
def test_a_path_that_ends_at_no_regular_file_is_refused(bench: Bench, raw_path: bytes) -> None:
    with pytest.raises(PathUnsafeError):
        bench.volume.open_file(raw_path)


def test_a_missing_file_says_which_error_the_system_gave(bench: Bench) -> None:
    with pytest.raises(FileUnreadableError) as caught:
        bench.volume.open_file(b"DCIM/100MEDIA/none.mp4")
    assert caught.value.errno == 2
    assert caught.value.code == "file-unreadable"


def test_a_file_that_grows_while_it_is_read_is_noticed(bench: Bench) -> None:
    with bench.volume.open_file(CLIP) as reader:
        reader.readinto(bytearray(100))
        reader.verify_unchanged()
        bench.append(CLIP, b"more")
        with pytest.raises(FileChangedError):
            reader.verify_unchanged()


def test_closing_twice_is_harmless(bench: Bench) -> None:
    reader = bench.volume.open_file(CLIP)
    reader.close()
    reader.close()


def test_a_volume_keeps_its_generation_while_it_is_there(bench: Bench) -> None:
    before = bench.volume.identify()
    bench.append(CLIP, b"more")
    assert bench.volume.identify().generation == before.generation
    assert before.total_bytes is not None
    assert before.free_bytes is not None


def test_everything_asked_of_a_volume_that_is_gone_says_that_it_vanished(bench: Bench) -> None:
    bench.remove()
    for ask in (
        bench.volume.identify,
        lambda: list(bench.volume.scan()),
        lambda: bench.volume.open_file(CLIP),
    ):
        with pytest.raises(VolumeVanishedError):
            ask()


def identity_of(volume: RecorderVolume, raw_path: bytes) -> FileIdentity:
    with volume.open_file(raw_path) as reader:
        return reader.opened_as


def paths_of(volume: RecorderVolume) -> set[bytes]:
    return {entry.raw_path for entry in volume.scan()}


def test_a_file_is_erased_and_nothing_else(bench: Bench) -> None:
    expected = identity_of(bench.volume, CLIP)
    with bench.volume.open_for_release() as opened:
        opened.erase(CLIP, expected)
        assert paths_of(bench.volume) == set(FILES) - {CLIP}
        with pytest.raises(FileGoneError):
            opened.erase(CLIP, expected)
    assert paths_of(bench.volume) == set(FILES) - {CLIP}
    assert read_all(bench.volume, b"empty.log") == b""


def test_the_volume_opened_for_release_is_the_one_that_was_listed(bench: Bench) -> None:
    before = bench.volume.identify()
    with bench.volume.open_for_release() as opened:
        now = opened.identify()
        assert (now.label, now.fs_type, now.total_bytes) == (before.label, before.fs_type, before.total_bytes)
        with opened.open_file(CLIP) as reader:
            assert reader.opened_as == identity_of(bench.volume, CLIP)


def test_a_file_that_grew_is_not_erased(bench: Bench) -> None:
    expected = identity_of(bench.volume, CLIP)
    bench.append(CLIP, b"more")
    with bench.volume.open_for_release() as opened, pytest.raises(FileReplacedError):
        opened.erase(CLIP, expected)
    assert read_all(bench.volume, CLIP) == FILES[CLIP] + b"more"


def test_another_file_of_the_same_name_size_and_time_is_not_erased(bench: Bench) -> None:
    expected = identity_of(bench.volume, CLIP)
    other = FILES[CLIP][::-1]
    bench.replace(CLIP, other)
    with bench.volume.open_for_release() as opened, pytest.raises(FileReplacedError):
        opened.erase(CLIP, expected)
    assert read_all(bench.volume, CLIP) == other


@pytest.mark.parametrize("raw_path", [b"DCIM", CLIP + b"/more", b"../outside", b"", b"/etc/passwd"])
def test_what_is_no_file_of_the_volume_is_not_erased(bench: Bench, raw_path: bytes) -> None:
    expected = identity_of(bench.volume, CLIP)
    with bench.volume.open_for_release() as opened, pytest.raises(PathUnsafeError):
        opened.erase(raw_path, expected)
    assert paths_of(bench.volume) == set(FILES)


def test_a_volume_that_is_gone_cannot_be_released(bench: Bench) -> None:
    expected = identity_of(bench.volume, CLIP)

    def pulled_while_open() -> None:
        with bench.volume.open_for_release() as opened:
            bench.remove()
            opened.erase(CLIP, expected)

    for _ in range(2):
        with pytest.raises(VolumeVanishedError):
            pulled_while_open()
