"""Rules of release (清除放行): what may be erased from a recorder, what is read again before, how an intent ends. Pure.

A file is erased only against a verified receipt, under an admitted intent, and only if it certainly is the file that
was read. One doubt, and it stays: a file too many on a recorder is a nuisance, one too few is a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Final

from agent.ports import FileIdentity, VolumeIdentity

NUMBERED: Final = "recorder:"
"""How the key of a recorder begins that is known by its own number."""

FILE_CHANGED: Final = "file-changed"
"""Another file, or another version of it, has the path: it is listed and read as a new one."""

DIGEST_DIFFERS: Final = "digest-differs"
"""Same path, size and time, other bytes: a new clip that looked like the one that was read."""

INTERRUPTED: Final = "interrupted"
"""The recorder was pulled, or the station stopped, before it was this file's turn."""

ERASURE_LOST: Final = "erasure-lost"
"""The file was erased, and the listing after it has it again."""

NOT_BEGUN: Final = "not-begun"
"""The recorder left before anything was erased under this intent."""

READ_ANEW: Final = frozenset({FILE_CHANGED, DIGEST_DIFFERS})
"""What was kept because it is another file than the one that was read: it is read in its turn."""

PASSING: Final = READ_ANEW | {INTERRUPTED, NOT_BEGUN}
"""Reasons that no person has to look after: a new intent may name the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """The release policy of a station. Nothing is erased from a recorder before everything that could be read of it is
    receipted; with ``whole_visits`` neither while anything on it could not be read. ``minimum_age`` counts from the
    receipt. ``keep_marked`` leaves files that the officer marked as important on the recorder. ``bays`` narrows release
    to these; None: all."""

    minimum_age: timedelta = timedelta()
    whole_visits: bool = True
    keep_marked: bool = False
    bays: frozenset[str] | None = None

    def applies_to(self, bay: str) -> bool:
        return self.bays is None or bay in self.bays

    def is_due(self, receipted_at: datetime, now: datetime) -> bool:
        """Whether a receipt is old enough. Without a minimum age no clock is asked: it may have been set back."""
        return not self.minimum_age or now - receipted_at >= self.minimum_age


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitFacts:
    """What release needs to know of a visit: files of all its inventories that wait for reading or a receipt, files
    that cannot be read, whether its newest inventory and the listing of it are receipted, and when the last of that
    inventory's files was."""

    unread: int
    pending: int
    unreadable: int
    inventory_receipted: bool
    last_receipt_at: datetime | None


class Hold(StrEnum):
    """Why nothing of a visit is released now."""

    UNREAD = "files-unread"
    PENDING = "files-pending"
    UNREADABLE = "files-unreadable"
    INVENTORY = "inventory-pending"
    NOTHING = "nothing-to-release"
    YOUNG = "receipts-too-young"
    FAMILY = "family-is-not-released"


HOLDS_ANNOUNCED: Final = frozenset({Hold.UNREAD, Hold.PENDING, Hold.UNREADABLE, Hold.INVENTORY})
"""What also holds files that were announced before: of a visit that is kept whole, something new is not yet safe."""


def decide_hold(
    facts: VisitFacts, settings: ReleaseSettings, now: datetime, *, family_allows: bool = True
) -> Hold | None:
    """None when files of this visit may be released now. Files that are still to be read always come first.
    ``family_allows``: whether the recorder's firmware profile lets anything be erased."""
    if facts.unread:
        return Hold.UNREAD
    if facts.pending:
        return Hold.PENDING
    if facts.unreadable and settings.whole_visits:
        return Hold.UNREADABLE
    if not family_allows:
        return Hold.FAMILY if facts.inventory_receipted else Hold.INVENTORY
    if facts.last_receipt_at is None:
        return Hold.NOTHING
    if not facts.inventory_receipted:
        return Hold.INVENTORY
    if not settings.whole_visits:
        return None
    return None if settings.is_due(facts.last_receipt_at, now) else Hold.YOUNG


def may_release(*, receipted_at: datetime, marked: bool, settings: ReleaseSettings, now: datetime) -> bool:
    """Whether this one receipted file may be erased, once the visit is not held."""
    return settings.is_due(receipted_at, now) and not (marked and settings.keep_marked)


class Check(Enum):
    """What has to be done before a file may be erased."""

    KEEP = auto()
    READ_AGAIN = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file as its inventory lists it. ``read_as`` is what it was when this very visit read the whole of it, while
    the station watched the volume without interruption; None for what an earlier visit read, and after a restart."""

    size_bytes: int
    modified_ns: int | None
    read_as: FileIdentity | None


def decide_check(listed: ListedFile, found: FileIdentity) -> Check:
    """Same size, time and inode as read in this visit: the same file. Same as listed only: its bytes decide."""
    if found.size_bytes != listed.size_bytes or listed.modified_ns not in (None, found.modified_ns):
        return Check.KEEP
    return Check.NOTHING if found == listed.read_as else Check.READ_AGAIN


def is_same_volume(listed: VolumeIdentity, opened: VolumeIdentity) -> bool:
    """Whether the volume opened for release can be the one that was read. Its mount may be another one."""
    return (listed.bay, listed.label, listed.fs_type, listed.total_bytes) == (
        opened.bay,
        opened.label,
        opened.fs_type,
        opened.total_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderTraits:
    """By what a recorder is known again at a later visit: the key its files give, and its volume."""

    key: str
    label: str | None
    total_bytes: int | None


def is_same_recorder(before: RecorderTraits, now: RecorderTraits) -> bool:
    """Whether an intent that was interrupted may be closed by what is listed now.

    A recorder that was emptied shows no number any more: then label and capacity of its volume stand in. What cannot
    be told apart from another recorder closes nothing.
    """
    if now.key.startswith(NUMBERED):
        return before.key == now.key
    known = now.label is not None and now.total_bytes is not None
    return known and (before.label, before.total_bytes) == (now.label, now.total_bytes)


class FoundAfter(Enum):
    """What the listing after the erasing has at the path of a file that was to be erased."""

    NOTHING = auto()
    SAME = auto()
    OTHER = auto()


ERASED: Final = "erased"


def decide_kept(attempt: str | None, found: FoundAfter) -> str | None:
    """Why a file counts as kept; None when it is gone. ``attempt`` is ``ERASED``, or the code of what prevented it;
    None when nothing is known of one. The listing decides, not what the erasing seemed to do."""
    if found is FoundAfter.NOTHING:
        return None
    if attempt == ERASED:
        return None if found is FoundAfter.OTHER else ERASURE_LOST
    if attempt is not None:
        return attempt
    return FILE_CHANGED if found is FoundAfter.OTHER else INTERRUPTED
