"""Is each file system recognised, and is one that was not left in order always noticed, from whatever bytes?"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mounting.filesystems import Examined, FileSystem, ReadAt, examine
from agent.usb.errors import MountFailedError

_MIB: Final = 1024 * 1024
_MAKERS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "fat12": (2 * _MIB, ("mkfs.vfat", "-F12")),
    "fat16": (16 * _MIB, ("mkfs.vfat", "-F16")),
    "fat32": (40 * _MIB, ("mkfs.vfat", "-F32", "-s1")),
    "exfat": (8 * _MIB, ("mkfs.exfat",)),
    "ext4": (8 * _MIB, ("mkfs.ext4", "-q", "-F")),
    "ext4-without-journal": (8 * _MIB, ("mkfs.ext4", "-q", "-F", "-O", "^has_journal")),
}


def read_from(data: bytes) -> ReadAt:
    return lambda offset, length: data[offset : offset + length]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    missing = [command[0] for _, command in _MAKERS.values() if shutil.which(_with_sbin(command[0])) is None]
    if missing:
        pytest.skip(f"not installed: {missing} (apt-get install dosfstools exfatprogs e2fsprogs)")
    folder = tmp_path_factory.mktemp("images")
    return {name: _made(folder / name, size, command) for name, (size, command) in _MAKERS.items()}


def _with_sbin(command: str) -> str:
    return next(
        (f"{folder}/{command}" for folder in ("/sbin", "/usr/sbin") if Path(folder, command).exists()),
        command,
    )


def _made(path: Path, size_bytes: int, command: tuple[str, ...]) -> bytes:
    with path.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run([_with_sbin(command[0]), *command[1:], str(path)], check=True, capture_output=True)
    return path.read_bytes()


@pytest.mark.parametrize("name", _MAKERS)
def test_what_the_tools_have_just_made_is_recognised_and_in_order(
    images: dict[str, bytes], name: str
) -> None:
    kind = FileSystem.VFAT if name.startswith("fat") else FileSystem(name.split("-")[0])
    assert examine(read_from(images[name])) == Examined(file_system=kind, disorder=None)


def _altered(image: bytes, offset: int, form: str, change: int, *, clear: bool = False) -> bytes:
    data = bytearray(image)
    (value,) = struct.unpack_from(form, data, offset)
    struct.pack_into(form, data, offset, value & ~change if clear else value | change)
    return bytes(data)


def _second_entry(image: bytes, width: int) -> int:
    sector_bytes, _, reserved = struct.unpack_from("<HBH", image, 11)
    return int(reserved * sector_bytes + width)


@pytest.mark.parametrize(
    ("name", "offset", "form", "bit", "clear"),
    [
        pytest.param("fat12", 0x25, "<B", 0x01, False, id="fat12, dirty as Linux says it"),
        pytest.param("fat16", 0x25, "<B", 0x01, False, id="fat16, dirty as Linux says it"),
        pytest.param("fat32", 0x41, "<B", 0x01, False, id="fat32, dirty as Linux says it"),
        pytest.param("fat32", 0x41, "<B", 0x02, False, id="fat32, failing as Linux says it"),
        pytest.param("fat16", -2, "<H", 0x8000, True, id="fat16, dirty as Windows says it"),
        pytest.param("fat16", -2, "<H", 0x4000, True, id="fat16, failing as Windows says it"),
        pytest.param("fat32", -4, "<I", 0x08000000, True, id="fat32, dirty as Windows says it"),
        pytest.param("fat32", -4, "<I", 0x04000000, True, id="fat32, failing as Windows says it"),
        pytest.param("exfat", 106, "<H", 0x0002, False, id="exfat, dirty"),
        pytest.param("exfat", 106, "<H", 0x0004, False, id="exfat, failing"),
        pytest.param("ext4", 1024 + 0x60, "<I", 0x0004, False, id="ext4, journal not replayed"),
        pytest.param("ext4", 1024 + 0x3A, "<H", 0x0001, True, id="ext4, not unmounted"),
        pytest.param("ext4", 1024 + 0x3A, "<H", 0x0002, False, id="ext4, errors"),
        pytest.param("ext4", 1024 + 0x3A, "<H", 0x0004, False, id="ext4, orphans being recovered"),
        pytest.param("ext4", 1024 + 0xE8, "<I", 0x000C, False, id="ext4, orphans"),
        pytest.param("ext4", 1024 + 0x64, "<I", 0x10000, False, id="ext4, orphan file in use"),
        pytest.param("ext4-without-journal", 1024 + 0x3A, "<H", 0x0001, True, id="ext2, not unmounted"),
    ],
)
def test_every_mark_of_disorder_is_noticed(
    images: dict[str, bytes], name: str, offset: int, form: str, bit: int, clear: bool
) -> None:
    image = images[name]
    at = _second_entry(image, -offset) if offset < 0 else offset
    assert examine(read_from(_altered(image, at, form, bit, clear=clear))).disorder is not None


def test_two_file_systems_in_one_place_are_none(images: dict[str, bytes]) -> None:
    both = bytearray(images["fat32"])
    both[1024:2048] = images["ext4"][1024:2048]
    with pytest.raises(MountFailedError, match="vfat and ext4"):
        examine(read_from(bytes(both)))


def test_what_is_mounted_nowhere_here_is_refused(images: dict[str, bytes]) -> None:
    with pytest.raises(MountFailedError, match="none"):
        examine(read_from(bytes(4096)))
    partitioned = bytearray(4096)
    partitioned[510:512] = b"\x55\xaa"
    with pytest.raises(MountFailedError, match="none"):
        examine(read_from(bytes(partitioned)))


@pytest.mark.parametrize("name", _MAKERS)
@pytest.mark.parametrize("length", [0, 1, 511, 512, 1024, 2047])
def test_a_medium_that_ends_too_early_is_refused(images: dict[str, bytes], name: str, length: int) -> None:
    with pytest.raises(MountFailedError):
        examine(read_from(images[name][:length]))


def test_a_table_beyond_the_end_of_the_medium_is_refused(images: dict[str, bytes]) -> None:
    with pytest.raises(MountFailedError, match="before its allocation table"):
        examine(read_from(images["fat32"][:2048]))


@given(st.binary(max_size=4096))
def test_any_bytes_are_examined_or_refused(data: bytes) -> None:
    try:
        examine(read_from(data))
    except MountFailedError:
        return


@given(st.data())
def test_any_boot_sector_that_is_nearly_right_is_examined_or_refused(data: st.DataObject) -> None:
    head = bytearray(data.draw(st.binary(min_size=2048, max_size=2048)))
    head[510:512] = b"\x55\xaa"
    if data.draw(st.booleans()):
        struct.pack_into("<HBHB", head, 11, 512, 1, data.draw(st.integers(1, 0xFFFF)), 2)
        head[21] = 0xF8
    if data.draw(st.booleans()):
        head[3:11] = b"EXFAT   "
    if data.draw(st.booleans()):
        struct.pack_into("<H", head, 1024 + 0x38, 0xEF53)
    table = data.draw(st.binary(max_size=8))
    try:
        examine(lambda offset, length: bytes(head) if offset == 0 else table[:length])
    except MountFailedError:
        return
