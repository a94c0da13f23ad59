"""The options a file system is mounted with; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.mounting.filesystems import FileSystem

FAT_OPTIONS: Final[Mapping[str, str | None]] = {
    # Long names are UTF-16. Short ones are bytes of a code page nobody records (GBK, mostly): 437 gives each byte a
    # character of its own, so no two names become one and the bytes can be had back.
    "utf8": "1",
    "codepage": "437",
    # A card's times have no zone. They shall not depend on how this machine's clock is set up.
    "tz": "UTC",
    "errors": "remount-ro",
}
EXFAT_OPTIONS: Final[Mapping[str, str | None]] = {"iocharset": "utf8", "errors": "remount-ro"}
EXT4_OPTIONS: Final[Mapping[str, str | None]] = {
    # Written on the card may be "panic" instead, which would stop the station.
    "errors": "remount-ro",
}
_READ_MASK: Final = "0277"
_WRITE_MASK: Final = "0077"


def mount_options(
    file_system: FileSystem, *, writable: bool, user_id: int, group_id: int
) -> dict[str, str | None]:
    """Names and values; None for an option without one. What has no owners on the medium belongs to the agent."""
    owned = {
        "uid": str(user_id),
        "gid": str(group_id),
        "umask": _WRITE_MASK if writable else _READ_MASK,
    }
    # A dirty ext4 has its journal replayed even when it is mounted for reading only.
    ext4: dict[str, str | None] = {} if writable else {"noload": None}
    options: dict[FileSystem, dict[str, str | None]] = {
        FileSystem.VFAT: {**FAT_OPTIONS, **owned},
        FileSystem.EXFAT: {**EXFAT_OPTIONS, **owned},
        FileSystem.EXT4: {**EXT4_OPTIONS, **ext4},
    }
    return options[file_system]
