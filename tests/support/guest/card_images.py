"""Images of cards as recorders format them, made with the file systems' own tools."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
CARD_BYTES: Final = 48 * MIB
"""The least that a FAT32 of 512-byte clusters needs is 33 MB."""

_SECTOR: Final = 512
_FIRST_SECTOR: Final = 2048
_TYPES: Final[Mapping[str, int]] = {"vfat": 0x0C, "exfat": 0x07, "ext4": 0x83}
_MAKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "vfat": ("mkfs.vfat", "-F32", "-s1", "-n", "ZFY"),
    "exfat": ("mkfs.exfat", "-L", "ZFY"),
    # No lazy initialisation: a mount for writing would go on formatting in the background.
    "ext4": ("mkfs.ext4", "-q", "-F", "-L", "ZFY", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
}


def format_card(image: Path, fs_type: str, *, size_bytes: int = CARD_BYTES) -> None:
    """An empty file system on a medium without partitions."""
    with image.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run([*_MAKERS[fs_type], str(image)], check=True, capture_output=True, timeout=120)


def partitioned(content: bytes, fs_type: str) -> bytes:
    """The same file system on the first partition of a larger medium."""
    table = partition_table(_TYPES[fs_type], _FIRST_SECTOR, len(content) // _SECTOR)
    return table.ljust(_FIRST_SECTOR * _SECTOR, b"\0") + content


def partition_table(kind: int, first_sector: int, sectors: int) -> bytes:
    """A master boot record with one partition."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", kind, b"\xfe\xff\xff", first_sector, sectors)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"
