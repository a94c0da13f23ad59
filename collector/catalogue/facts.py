"""Rules on what a clip is said to be, where several statements say something (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from protocol.claims import TimeClaim
from protocol.listing import RowState

_BEST_FIRST: Final = ("name", "exif", "container", "config")
_WORST: Final = "file time"


def best_start(claims: Iterable[TimeClaim | None]) -> TimeClaim | None:
    """When the recording began, from the most trusted source; among equals the first claim.

    The name of the file comes first: the recorder writes it when it begins. EXIF is written with the picture.
    Containers are often stamped at their end or with a wrong zone. A file's time tells when it was last written.
    """
    known = [claim for claim in claims if claim is not None]
    return min(known, key=lambda claim: _start_rank(claim.source), default=None)


def _start_rank(source: str) -> int:
    if source in _BEST_FIRST:
        return _BEST_FIRST.index(source)
    return len(_BEST_FIRST) + (source == _WORST)


class Evidence(StrEnum):
    """What the catalogue knows of a listed file's bytes."""

    NONE = "none"
    READ = "read"
    STORED = "stored"


class FileState(StrEnum):
    """The four states of conservation: every row of an inventory is in exactly one (清点守恒)."""

    STORED = "stored"
    PENDING = "pending"
    UNREADABLE = "unreadable"
    EXCLUDED = "excluded"


def settle_row(state: RowState, evidence: Evidence, *, marked_unreadable: bool) -> FileState:
    """The state of a listed file. Bytes that exist count more than what was said before they were read: a file
    that could be read at the second attempt is not unreadable any more."""
    if evidence is Evidence.STORED:
        return FileState.STORED
    if evidence is Evidence.READ:
        return FileState.PENDING
    if state is RowState.EXCLUDED:
        return FileState.EXCLUDED
    if state is RowState.UNREADABLE or marked_unreadable:
        return FileState.UNREADABLE
    return FileState.PENDING
