"""May an upload begin, as far as the disk is concerned? Decided before the first byte, so that a disk that is nearly
full refuses early and the log, the catalogue and what is under way still have room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collector.errors import StagingShareError, StorageFullError

FLOOR_BYTES: Final = 1 << 30
"""Left free for log, catalogue, registers and broker: a day of them on the largest sites."""

_FLOOR_PART: Final = 20
"""Of a small file system at most a twentieth is left free."""

_SHARE: Final = 0.75
"""Of what can be staged at all, one sender's: a station with a long backlog must not shut the others out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingRoom:
    """The staging disk at one moment. ``coming_bytes`` are announced by open uploads and not here yet,
    ``claimed_bytes`` one sender's whole uploads in staging, ``staged_bytes`` what all have there."""

    free_bytes: int
    total_bytes: int
    coming_bytes: int
    staged_bytes: int
    claimed_bytes: int


def require_room(room: StagingRoom, size_bytes: int) -> None:
    """Raises StorageFullError (no sender may begin an upload of this size now) or StagingShareError (this one may
    not). Both pass as staging empties."""
    usable = room.free_bytes - min(FLOOR_BYTES, room.total_bytes // _FLOOR_PART)
    if size_bytes > usable - room.coming_bytes:
        raise StorageFullError(f"no room for an upload of {size_bytes} bytes")
    if room.claimed_bytes + size_bytes > _SHARE * (usable + room.staged_bytes):
        raise StagingShareError(f"{room.claimed_bytes} bytes of this sender wait to be stored already")
