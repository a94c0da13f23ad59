"""Does a volume over a directory withstand what a hostile recorder can hold?"""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.ports import Obstacle, ScannedEntry
from agent.volumes.errors import (
    FileUnreadableError,
    PathUnsafeError,
    TooManyFilesError,
    VolumeUnreadableError,
    VolumeVanishedError,
)
from agent.volumes.mounts import boot_id, fs_type, parse_fs_type
from agent.volumes.tree import MAX_DEPTH, TreeVolume

NOBODY = 65_534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "recorder"
    made.mkdir()
    return made


def volume_at(root: Path) -> TreeVolume:
    return TreeVolume.at(os.fsencode(root), dock="folder", bay="bay-1", label="REC")


def scan(root: Path) -> dict[bytes, ScannedEntry]:
    return {entry.raw_path: entry for entry in volume_at(root).scan()}


def obstacles(root: Path) -> dict[bytes, Obstacle | None]:
    return {path: entry.obstacle for path, entry in scan(root).items()}


@contextmanager
def ordinary_user(folder: Path, mode: int = 0o755) -> Iterator[None]:
    """Root may read everything; these questions are about users who may not."""
    os.chmod(folder, mode)
    os.chmod(folder.parent, 0o711)
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_names_are_bytes_whatever_they_hold(root: Path) -> None:
    names = [
        b"\xff\xfe.mp4",
        "执法.mp4".encode("gbk"),
        b"a\nb",
        b"\x01\x1b[2J",
        b"-rf",
        b"...",
        b" ",
        b"a\\b",
        b"A",
        b"a",
    ]
    for name in names:
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(name)
    assert set(scan(root)) == set(names)
    for name in names:
        with volume_at(root).open_file(name) as reader:
            buffer = bytearray(100)
            assert buffer[: reader.readinto(buffer)] == name


def test_nothing_but_regular_files_is_a_file(root: Path) -> None:
    (root / "clip.mp4").write_bytes(b"x")
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder-link").symlink_to("/etc")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        assert obstacles(root) == {
            b"clip.mp4": None,
            b"link": Obstacle.SYMBOLIC_LINK,
            b"folder-link": Obstacle.SYMBOLIC_LINK,
            b"dangling": Obstacle.SYMBOLIC_LINK,
            b"loop": Obstacle.SYMBOLIC_LINK,
            b"fifo": Obstacle.NOT_A_REGULAR_FILE,
            b"socket": Obstacle.NOT_A_REGULAR_FILE,
        }
        for path in (b"link", b"folder-link/passwd", b"loop", b"dangling", b"fifo", b"socket", b"fifo/x"):
            with pytest.raises(PathUnsafeError):
                volume_at(root).open_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device files")
def test_a_device_file_is_not_opened(root: Path) -> None:
    os.mknod(root / "clip.mp4", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    assert obstacles(root) == {b"clip.mp4": Obstacle.NOT_A_REGULAR_FILE}
    with pytest.raises(PathUnsafeError):
        volume_at(root).open_file(b"clip.mp4")


def test_a_link_put_in_place_after_listing_leads_nowhere(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "100").mkdir(parents=True)
    (outside / "100" / "a.mp4").write_bytes(b"secret")
    (root / "DCIM" / "100").mkdir(parents=True)
    (root / "DCIM" / "100" / "a.mp4").write_bytes(b"clip")
    volume = volume_at(root)
    assert [entry.raw_path for entry in volume.scan()] == [b"DCIM/100/a.mp4"]
    for level in (root / "DCIM" / "100" / "a.mp4", root / "DCIM" / "100", root / "DCIM"):
        kept = level.rename(level.with_name("kept"))
        level.symlink_to(outside / level.relative_to(root / "DCIM"))
        assert level.exists()
        with pytest.raises(PathUnsafeError):
            volume.open_file(b"DCIM/100/a.mp4")
        level.unlink()
        kept.rename(level)


def test_folders_too_deep_are_one_row_and_the_rest_is_listed(root: Path) -> None:
    folder = os.open(root, os.O_DIRECTORY)
    for _ in range(MAX_DEPTH + 20):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    (root / "clip.mp4").write_bytes(b"x")
    assert obstacles(root) == {b"clip.mp4": None, b"/".join([b"d"] * (MAX_DEPTH + 1)): Obstacle.TOO_DEEP}


def test_a_path_too_long_for_the_listing_is_a_row_of_its_folder(root: Path) -> None:
    name = "n" * 250
    folder = os.open(root, os.O_DIRECTORY)
    for _ in range(16):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("x" * 200, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(os.open("y", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    inner = b"/".join([name.encode()] * 16)
    assert obstacles(root) == {inner + b"/y": None, inner: Obstacle.PATH_TOO_LONG}


def test_more_files_or_folders_than_the_limit_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "f").touch()
    assert len(scan(root)) == 4
    with monkeypatch.context() as patch:
        patch.setattr("agent.volumes.tree.MAX_LISTING_ROWS", 3)
        with pytest.raises(TooManyFilesError):
            scan(root)
    with monkeypatch.context() as patch:
        patch.setattr("agent.volumes.tree.MAX_FOLDERS", 3)
        with pytest.raises(TooManyFilesError):
            scan(root)


def test_a_folder_that_may_not_be_listed_is_a_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "open").mkdir()
    (root / "open" / "a").touch()
    (root / "closed").mkdir(mode=0)
    (root / "secret.mp4").touch(mode=0)
    monkeypatch.chdir(root.parent)
    with ordinary_user(root):
        found = obstacles(Path("recorder"))
        with pytest.raises(FileUnreadableError) as caught:
            volume_at(Path("recorder")).open_file(b"secret.mp4")
    os.chmod(root / "closed", 0o700)
    assert found == {b"open/a": None, b"secret.mp4": None, b"closed": Obstacle.UNREADABLE_FOLDER}
    assert caught.value.errno == 13


def test_a_root_that_may_not_be_listed_is_an_error_of_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    with ordinary_user(root, mode=0), pytest.raises(VolumeUnreadableError):
        list(volume_at(Path("recorder")).scan())
    os.chmod(root, 0o700)


def test_a_volume_replaced_at_the_same_place_is_noticed(root: Path) -> None:
    (root / "a.mp4").write_bytes(b"old")
    volume = volume_at(root)
    before = volume.identify()
    root.rename(root.with_name("kept"))
    root.mkdir()
    (root / "a.mp4").write_bytes(b"new")
    for ask in (volume.identify, lambda: volume.open_file(b"a.mp4"), lambda: list(volume.scan())):
        with pytest.raises(VolumeVanishedError, match="another volume"):
            ask()
    assert volume_at(root).identify().generation != before.generation


def test_a_volume_removed_during_a_scan_is_not_a_short_listing(root: Path) -> None:
    for number in range(3):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "f").touch()
    scanning = volume_at(root).scan()
    next(scanning)
    shutil.rmtree(root)
    with pytest.raises(VolumeVanishedError):
        list(scanning)


@pytest.mark.parametrize(
    "make", [lambda path: path.touch(), lambda path: path.symlink_to("/etc"), lambda path: None]
)
def test_what_is_no_directory_is_no_volume(tmp_path: Path, make: object) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(VolumeVanishedError):
        volume_at(tmp_path / "x")


def test_nothing_stays_open_afterwards(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "a").write_bytes(b"x")
    volume = volume_at(root)
    before = set(os.listdir("/proc/self/fd"))
    list(volume.scan())
    started = volume.scan()
    next(started)
    started.close()  # type: ignore[attr-defined]
    volume.identify()
    volume.open_file(b"d/a").close()
    for path in (b"d", b"none", b"d/a/b"):
        with pytest.raises((PathUnsafeError, FileUnreadableError)):
            volume.open_file(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_volume_says_what_it_knows_of_itself(root: Path) -> None:
    identity = volume_at(root).identify()
    assert (identity.dock, identity.bay, identity.label) == ("folder", "bay-1", "REC")
    assert identity.generation.startswith(boot_id())
    assert identity.total_bytes is not None
    assert identity.free_bytes is not None
    assert identity.total_bytes >= identity.free_bytes > 0


MOUNTS = b"""\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
35 22 8:17 / /media/REC\\0401 ro,nosuid shared:9 master:2 - exfat /dev/sdb1 ro,uid=1000
36 22 0:5 / /dev rw - devtmpfs udev rw
"""


@pytest.mark.parametrize(
    ("device", "expected"), [("8:17", "exfat"), ("259:1", "ext4"), ("0:5", "devtmpfs"), ("8:1", None)]
)
def test_the_type_of_a_mount_is_found_by_its_device(device: str, expected: str | None) -> None:
    assert parse_fs_type(MOUNTS, device) == expected


def test_the_kernels_own_listing_is_understood() -> None:
    assert fs_type(os.stat("/proc").st_dev) == "proc"
