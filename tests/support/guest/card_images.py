"""Images of cards as recorders format them, made with the file systems' own tools."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
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
    "exfat": ("mkfs.exfat", "-q", "-L", "ZFY"),
    # No lazy initialisation: a mount for writing would go on formatting in the background.
    "ext4": ("mkfs.ext4", "-q", "-F", "-L", "ZFY", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatted:
    """An image, and where in it the file system begins. ``partition`` is 0 for a medium without a table."""

    image: Path
    fs_type: str
    partition: int

    @property
    def offset_bytes(self) -> int:
        return _FIRST_SECTOR * _SECTOR if self.partition else 0


def format_card(image: Path, fs_type: str, *, partitioned: bool, size_bytes: int = CARD_BYTES) -> Formatted:
    """An empty file system, on a partition or on the bare medium."""
    bare = image.with_suffix(".fs")
    with bare.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run([*_MAKERS[fs_type], str(bare)], check=True, capture_output=True, timeout=120)
    formatted = Formatted(image=image, fs_type=fs_type, partition=1 if partitioned else 0)
    with image.open("wb") as file:
        if partitioned:
            file.write(partition_table(_TYPES[fs_type], _FIRST_SECTOR, size_bytes // _SECTOR))
        file.seek(formatted.offset_bytes)
        file.write(bare.read_bytes())
    bare.unlink()
    return formatted


def partition_table(kind: int, first_sector: int, sectors: int) -> bytes:
    """A master boot record with one partition."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", kind, b"\xfe\xff\xff", first_sector, sectors)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"
