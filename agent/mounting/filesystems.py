"""What file system a medium carries and whether its recorder left it in order, read from its first blocks.

Pure: whoever calls gives the bytes. Nothing a mount would have to repair is opened for writing, so the marks are read
before it: afterwards they say what this machine did. Sources: Microsoft's FAT specification 1.03 and exFAT
specification 1.00, and Linux' description of ext4 (``Documentation/filesystems/ext4``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from agent.usb.errors import MountFailedError

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Bytes of the medium from an offset, as many as asked for unless it ends before."""

_HEAD_BYTES: Final = 2048
_SECTOR_SIZES: Final = (512, 1024, 2048, 4096)
_BOOT_SIGNATURE: Final = b"\x55\xaa"

_FAT_STATE_DIRTY: Final = 0x01
_FAT_STATE_DAMAGED: Final = 0x02
_FAT12_MOST_CLUSTERS: Final = 4084

_EXFAT_NAME: Final = b"EXFAT   "
_EXFAT_DIRTY: Final = 0x0002
_EXFAT_FAILING: Final = 0x0004

_EXT4_AT: Final = 1024
_EXT4_MAGIC: Final = 0xEF53
_EXT4_CLEAN: Final = 0x0001
_EXT4_ERRORS: Final = 0x0002
_EXT4_ORPHANS: Final = 0x0004
_EXT4_NEEDS_RECOVERY: Final = 0x0004
_EXT4_ORPHAN_FILE: Final = 0x00010000


class FileSystem(StrEnum):
    """The file systems that are mounted; the value is the kernel's name.

    vfat: cards up to 32 GB; exfat: larger ones (SD specification); ext4: recorders that run Linux or Android and
    show their own disk. NTFS, HFS+, UDF and the rest are not found on recorders, and each more is another parser in
    the kernel that a hostile card reaches.
    """

    VFAT = "vfat"
    EXFAT = "exfat"
    EXT4 = "ext4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A file system and, unless it was left in order, what speaks against that."""

    file_system: FileSystem
    disorder: str | None


def examine(read_at: ReadAt) -> Examined:
    """Raises MountFailedError for no known file system, and for more than one in the same place."""
    head = read_at(0, _HEAD_BYTES)
    if len(head) < _HEAD_BYTES:
        raise MountFailedError(f"the medium ends after {len(head)} bytes")
    found = [
        Examined(file_system=kind, disorder=disorder_of(head, read_at))
        for kind, is_it, disorder_of in _KINDS
        if is_it(head)
    ]
    if len(found) != 1:
        names = " and ".join(each.file_system for each in found) or "none that is mounted here"
        raise MountFailedError(f"expected one file system, found {names}")
    return found[0]


def _is_fat(head: bytes) -> bool:
    sector_bytes, cluster_sectors, reserved, tables = struct.unpack_from("<HBHB", head, 11)
    return (
        head[510:512] == _BOOT_SIGNATURE
        and sector_bytes in _SECTOR_SIZES
        and cluster_sectors.bit_count() == 1
        and reserved > 0
        and tables > 0
        and (head[21] == 0xF0 or head[21] >= 0xF8)
    )


def _fat_disorder(head: bytes, read_at: ReadAt) -> str | None:
    """Linux marks the boot sector, Windows and cameras the table's second entry; either counts."""
    sector_bytes, cluster_sectors, reserved, tables, root_entries, sectors16 = struct.unpack_from(
        "<HBHBHH", head, 11
    )
    table16, sectors32, table32 = struct.unpack_from("<H8xII", head, 22)
    state = head[0x25] if table16 else head[0x41]
    if state & (_FAT_STATE_DIRTY | _FAT_STATE_DAMAGED):
        return f"the boot sector's state is {state:#04x}"
    root_sectors = -(-root_entries * 32 // sector_bytes)
    data_sectors = (sectors16 or sectors32) - reserved - tables * (table16 or table32) - root_sectors
    if table16 and data_sectors // cluster_sectors <= _FAT12_MOST_CLUSTERS:
        return None  # entries of 12 bits have no room for marks
    width = 2 if table16 else 4
    entry = read_at(reserved * sector_bytes + width, width)
    if len(entry) < width:
        raise MountFailedError("the medium ends before its allocation table")
    clean = 0xC000 if table16 else 0x0C000000
    value = int.from_bytes(entry, "little")
    return None if value & clean == clean else f"the table's second entry is {value:#x}"


def _is_exfat(head: bytes) -> bool:
    return head[3:11] == _EXFAT_NAME and head[510:512] == _BOOT_SIGNATURE


def _exfat_disorder(head: bytes, _: ReadAt) -> str | None:
    (flags,) = struct.unpack_from("<H", head, 106)
    return f"the volume flags are {flags:#06x}" if flags & (_EXFAT_DIRTY | _EXFAT_FAILING) else None


def _is_ext4(head: bytes) -> bool:
    (magic,) = struct.unpack_from("<H", head, _EXT4_AT + 0x38)
    return bool(magic == _EXT4_MAGIC)


def _ext4_disorder(head: bytes, _: ReadAt) -> str | None:
    (state,) = struct.unpack_from("<H", head, _EXT4_AT + 0x3A)
    incompatible, read_only = struct.unpack_from("<II", head, _EXT4_AT + 0x60)
    (orphan,) = struct.unpack_from("<I", head, _EXT4_AT + 0xE8)
    if incompatible & _EXT4_NEEDS_RECOVERY:
        return "its journal is not replayed"
    if not state & _EXT4_CLEAN or state & (_EXT4_ERRORS | _EXT4_ORPHANS):
        return f"the superblock's state is {state:#06x}"
    if orphan or read_only & _EXT4_ORPHAN_FILE:
        return "files were erased while they were open"
    return None


_KINDS: Final = (
    (FileSystem.VFAT, _is_fat, _fat_disorder),
    (FileSystem.EXFAT, _is_exfat, _exfat_disorder),
    (FileSystem.EXT4, _is_ext4, _ext4_disorder),
)
