"""What the kernel says about mounts: the type of the file system behind a device number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The kernel's random id of this boot: device and inode numbers mean nothing across boots."""
    return _BOOT.read_text("ascii").strip()


def fs_type(device: int) -> str | None:
    """Type of the mounted file system with this ``st_dev``; None where the kernel gives no answer (btrfs shows other
    device numbers to files than to mounts)."""
    try:
        return parse_fs_type(_MOUNTS.read_bytes(), f"{os.major(device)}:{os.minor(device)}")
    except OSError:
        return None


def parse_fs_type(mountinfo: bytes, device: str) -> str | None:
    """From the text of proc(5) mountinfo: third field is major:minor, the type follows the lone hyphen."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        if fields.split(b" ")[2:3] == [device.encode("ascii")] and rest:
            return rest.split(b" ")[0].decode("ascii", errors="replace")
    return None
