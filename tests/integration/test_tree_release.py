"""Does a directory opened for release lose what was to be erased, and nothing else, whatever lies on it?"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from agent.ports import FileIdentity
from agent.volumes import erasing
from agent.volumes.errors import (
    ErasureUnsureError,
    FileNotErasedError,
    FileReplacedError,
    PathUnsafeError,
    VolumeReadOnlyError,
    VolumeVanishedError,
)
from agent.volumes.tree import TreeVolume


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "recorder"
    (made / "DCIM").mkdir(parents=True)
    (made / "DCIM" / "clip.mp4").write_bytes(b"moving pictures")
    return made


@pytest.fixture
def volume(root: Path) -> TreeVolume:
    return TreeVolume.at(os.fsencode(root), dock="folder", bay="bay-1", label="REC")


def identity_of(path: Path) -> FileIdentity:
    found = path.stat(follow_symlinks=False)
    return FileIdentity(size_bytes=found.st_size, modified_ns=found.st_mtime_ns, inode=found.st_ino)


def erase(volume: TreeVolume, raw_path: bytes, expected: FileIdentity) -> None:
    with volume.open_for_release() as opened:
        opened.erase(raw_path, expected)


def fail_with(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


def test_a_link_in_the_files_place_is_not_followed_and_not_erased(
    root: Path, volume: TreeVolume, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.mp4"
    (root / "DCIM" / "clip.mp4").rename(outside)
    (root / "DCIM" / "clip.mp4").symlink_to(outside)
    for expected in (identity_of(outside), identity_of(root / "DCIM" / "clip.mp4")):
        with pytest.raises(PathUnsafeError):
            erase(volume, b"DCIM/clip.mp4", expected)
    assert outside.read_bytes() == b"moving pictures"
    assert (root / "DCIM" / "clip.mp4").is_symlink()


def test_a_link_in_a_folders_place_is_not_followed(root: Path, volume: TreeVolume, tmp_path: Path) -> None:
    expected = identity_of(root / "DCIM" / "clip.mp4")
    (root / "DCIM").rename(tmp_path / "elsewhere")
    (root / "DCIM").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PathUnsafeError):
        erase(volume, b"DCIM/clip.mp4", expected)
    assert (tmp_path / "elsewhere" / "clip.mp4").exists()


def test_a_fifo_in_the_files_place_holds_nothing_up(root: Path, volume: TreeVolume) -> None:
    (root / "DCIM" / "clip.mp4").unlink()
    os.mkfifo(root / "DCIM" / "clip.mp4")
    with pytest.raises(PathUnsafeError):
        erase(volume, b"DCIM/clip.mp4", identity_of(root / "DCIM" / "clip.mp4"))


def test_another_directory_in_the_volumes_place_loses_nothing(
    root: Path, volume: TreeVolume, tmp_path: Path
) -> None:
    expected = identity_of(root / "DCIM" / "clip.mp4")
    root.rename(tmp_path / "earlier")
    (root / "DCIM").mkdir(parents=True)
    os.link(tmp_path / "earlier" / "DCIM" / "clip.mp4", root / "DCIM" / "clip.mp4")
    with pytest.raises(VolumeVanishedError):
        erase(volume, b"DCIM/clip.mp4", expected)
    assert (root / "DCIM" / "clip.mp4").exists()


def test_the_folder_of_an_erased_file_stays(root: Path, volume: TreeVolume) -> None:
    erase(volume, b"DCIM/clip.mp4", identity_of(root / "DCIM" / "clip.mp4"))
    assert [path.name for path in root.rglob("*")] == ["DCIM"]


def test_nothing_stays_open(root: Path, volume: TreeVolume) -> None:
    before = set(os.listdir("/proc/self/fd"))
    expected = identity_of(root / "DCIM" / "clip.mp4")
    with pytest.raises(FileReplacedError):
        erase(volume, b"DCIM/clip.mp4", FileIdentity(size_bytes=1, modified_ns=2, inode=3))
    erase(volume, b"DCIM/clip.mp4", expected)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EPERM, FileNotErasedError),
        (errno.EIO, FileNotErasedError),
        (errno.EROFS, VolumeReadOnlyError),
        (errno.ENODEV, VolumeVanishedError),
    ],
)
def test_what_the_system_says_about_an_erasure_has_a_name(
    root: Path, volume: TreeVolume, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    monkeypatch.setattr("agent.volumes.erasing.os.unlink", lambda *_, **__: fail_with(number))
    with pytest.raises(error):
        erase(volume, b"DCIM/clip.mp4", identity_of(root / "DCIM" / "clip.mp4"))


@pytest.mark.parametrize("call", ["_flush_folder", "_sync_file_system"])
@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, ErasureUnsureError), (errno.ENODEV, VolumeVanishedError)]
)
def test_an_erasure_that_was_not_flushed_is_unsure(
    root: Path,
    volume: TreeVolume,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[Exception],
) -> None:
    monkeypatch.setattr(erasing, call, lambda _: fail_with(number))
    with pytest.raises(error):
        erase(volume, b"DCIM/clip.mp4", identity_of(root / "DCIM" / "clip.mp4"))


def test_a_folder_that_cannot_be_flushed_alone_is_flushed_with_its_file_system(
    root: Path, volume: TreeVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.volumes.erasing.os.fsync", lambda _: fail_with(errno.EINVAL))
    erase(volume, b"DCIM/clip.mp4", identity_of(root / "DCIM" / "clip.mp4"))


def test_the_flush_of_a_file_system_tells_its_errors() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        erasing._sync_file_system(-1)


def test_a_volume_mounted_read_only_is_not_opened(
    volume: TreeVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Facts:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr("agent.volumes.tree.os.fstatvfs", lambda _: Facts())
    with pytest.raises(VolumeReadOnlyError), volume.open_for_release():
        pass
