"""Where volumes are mounted, and what is mounted anywhere.

``<base>/<bay>/<lun>-<partition>-<medium>``: root's directories, which the agent's group may look into and nobody
else; a name of its own for each medium, so that whoever still works with one before meets no other in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.mounting import kernel
from agent.mounting.sysfs import BlockSeen

_MODE: Final = 0o750
_MOUNTS: Final = Path("/proc/self/mountinfo")
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")


def volume_directory(base: Path, block: BlockSeen) -> Path:
    return base / block.port_path / f"{block.lun}-{block.partition}-{block.disk_sequence}"


def make_directory(base: Path, directory: Path) -> None:
    """The directory and, when they are missing, those above it below ``base``. Raises OSError."""
    for path in (base, directory.parent, directory):
        with suppress(FileExistsError):
            path.mkdir(_MODE)
            path.chmod(_MODE)


def remove_directory(directory: Path) -> None:
    """If nothing is mounted on it."""
    with suppress(OSError):
        directory.rmdir()
        directory.parent.rmdir()


def clear(base: Path) -> None:
    """Let go of everything mounted below ``base``: what a helper before this one has left."""
    inside = os.fsencode(base) + b"/"
    for _, place in reversed(list(parse_mounts(_MOUNTS.read_bytes()))):
        if place.startswith(inside):
            with suppress(OSError):
                kernel.unmount(place, lazily=True)
    for directory in base.glob("*/*"):
        remove_directory(directory)


def mounted_devices() -> list[tuple[str, bytes]]:
    """Device and place of every mount this process can see. Raises OSError."""
    return list(parse_mounts(_MOUNTS.read_bytes()))


def parse_mounts(mountinfo: bytes) -> Iterator[tuple[str, bytes]]:
    """From the text of proc(5) mountinfo; lines that are none are passed over."""
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        if len(fields) > 4:
            place = _ESCAPE.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), fields[4])
            yield fields[2].decode("ascii", "replace"), place
