"""May a file be erased? Only if everything speaks for it; and does what is said afterwards follow from the listing?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.release import (
    ERASED,
    ERASURE_LOST,
    FILE_CHANGED,
    INTERRUPTED,
    Check,
    FoundAfter,
    Hold,
    ListedFile,
    RecorderTraits,
    ReleaseSettings,
    VisitFacts,
    decide_check,
    decide_hold,
    decide_kept,
    is_same_recorder,
    is_same_volume,
    may_release,
)
from agent.ports import FileIdentity, VolumeIdentity

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
READY = VisitFacts(unread=0, pending=0, unreadable=0, inventory_receipted=True, last_receipt_at=NOW - HOUR)
FILE = FileIdentity(size_bytes=10, modified_ns=7, inode=3)
LISTED = ListedFile(size_bytes=10, modified_ns=7, read_as=FILE)


@pytest.mark.parametrize(
    ("facts", "settings", "hold"),
    [
        ({}, {}, None),
        ({"unread": 1}, {}, Hold.UNREAD),
        ({"unread": 1}, {"whole_visits": False}, Hold.UNREAD),
        ({"pending": 1}, {}, Hold.PENDING),
        ({"pending": 1}, {"whole_visits": False}, Hold.PENDING),
        ({"unreadable": 1}, {}, Hold.UNREADABLE),
        ({"unreadable": 1}, {"whole_visits": False}, None),
        ({"inventory_receipted": False}, {}, Hold.INVENTORY),
        ({"last_receipt_at": None}, {}, Hold.NOTHING),
        ({"last_receipt_at": None, "inventory_receipted": False}, {}, Hold.NOTHING),
        ({}, {"minimum_age": HOUR}, None),
        ({}, {"minimum_age": 2 * HOUR}, Hold.YOUNG),
        ({}, {"minimum_age": 2 * HOUR, "whole_visits": False}, None),
        ({"last_receipt_at": NOW + HOUR}, {}, None),
        ({"last_receipt_at": NOW + HOUR}, {"minimum_age": HOUR}, Hold.YOUNG),
    ],
)
def test_a_visit_is_held_back_for_a_reason(
    facts: dict[str, object], settings: dict[str, object], hold: Hold | None
) -> None:
    changed = replace(READY, **facts)  # type: ignore[arg-type]
    assert decide_hold(changed, ReleaseSettings(**settings), NOW) is hold  # type: ignore[arg-type]


@given(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1), st.booleans(), st.none() | st.just(NOW))
def test_nothing_ever_goes_from_a_family_that_is_not_released(
    unread: int, pending: int, unreadable: int, receipted: bool, last_receipt_at: datetime | None
) -> None:
    facts = VisitFacts(
        unread=unread,
        pending=pending,
        unreadable=unreadable,
        inventory_receipted=receipted,
        last_receipt_at=last_receipt_at,
    )
    hold = decide_hold(facts, ReleaseSettings(), NOW, family_allows=False)
    assert hold is not None
    assert (hold is Hold.FAMILY) == (not (unread or pending or unreadable) and receipted)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans())
def test_nothing_goes_while_anything_is_only_on_the_recorder(
    unread: int, pending: int, unreadable: int, receipted: bool, whole: bool
) -> None:
    facts = VisitFacts(
        unread=unread,
        pending=pending,
        unreadable=unreadable,
        inventory_receipted=receipted,
        last_receipt_at=NOW,
    )
    if decide_hold(facts, ReleaseSettings(whole_visits=whole), NOW) is None:
        assert (unread, pending, receipted) == (0, 0, True)
        assert not (unreadable and whole)


@pytest.mark.parametrize(
    ("age", "marked", "settings", "may"),
    [
        (HOUR, False, ReleaseSettings(), True),
        (HOUR, True, ReleaseSettings(), True),
        (HOUR, True, ReleaseSettings(keep_marked=True), False),
        (HOUR, False, ReleaseSettings(keep_marked=True), True),
        (HOUR, False, ReleaseSettings(minimum_age=2 * HOUR), False),
        (2 * HOUR, False, ReleaseSettings(minimum_age=2 * HOUR), True),
    ],
)
def test_one_file_goes_by_age_and_mark(
    age: timedelta, marked: bool, settings: ReleaseSettings, may: bool
) -> None:
    assert may_release(receipted_at=NOW - age, marked=marked, settings=settings, now=NOW) is may


@pytest.mark.parametrize(
    ("listed", "found", "check"),
    [
        ({}, {}, Check.NOTHING),
        ({"read_as": None}, {}, Check.READ_AGAIN),
        ({}, {"inode": 4}, Check.READ_AGAIN),
        ({}, {"size_bytes": 11}, Check.KEEP),
        ({}, {"modified_ns": 8}, Check.KEEP),
        ({"modified_ns": None, "read_as": None}, {}, Check.READ_AGAIN),
        ({"modified_ns": None, "read_as": None}, {"size_bytes": 11}, Check.KEEP),
    ],
)
def test_doubt_means_reading_again(listed: dict[str, object], found: dict[str, int], check: Check) -> None:
    file = replace(LISTED, **listed)  # type: ignore[arg-type]
    assert decide_check(file, replace(FILE, **found)) is check


@given(
    st.builds(
        FileIdentity, size_bytes=st.integers(0, 2), modified_ns=st.integers(0, 2), inode=st.integers(0, 2)
    )
)
def test_without_reading_only_the_very_same_file_is_erased(found: FileIdentity) -> None:
    read_as = FileIdentity(size_bytes=1, modified_ns=1, inode=1)
    listed = ListedFile(size_bytes=1, modified_ns=1, read_as=read_as)
    assert (decide_check(listed, found) is Check.NOTHING) == (found == read_as)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"generation": "another mount"}, True),
        ({"free_bytes": 3}, True),
        ({"label": "OTHER"}, False),
        ({"fs_type": "ext4"}, False),
        ({"total_bytes": 65}, False),
        ({"bay": "bay-2"}, False),
    ],
)
def test_the_volume_opened_for_release_must_look_like_the_one_that_was_read(
    change: dict[str, object], same: bool
) -> None:
    listed = VolumeIdentity(
        dock="folder", bay="bay-1", label="REC", generation="g", fs_type="exfat", total_bytes=64, free_bytes=1
    )
    assert is_same_volume(listed, replace(listed, **change)) is same  # type: ignore[arg-type]


NUMBERED = RecorderTraits(key="recorder:7", label="REC", total_bytes=64)
EMPTIED = RecorderTraits(key="label:REC", label="REC", total_bytes=64)


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (NUMBERED, NUMBERED, True),
        (NUMBERED, replace(NUMBERED, label="NEW", total_bytes=128), True),
        (NUMBERED, replace(NUMBERED, key="recorder:8"), False),
        (NUMBERED, EMPTIED, True),
        (EMPTIED, EMPTIED, True),
        (EMPTIED, NUMBERED, False),
        (NUMBERED, replace(EMPTIED, label="OTHER"), False),
        (NUMBERED, replace(EMPTIED, total_bytes=65), False),
        (replace(NUMBERED, label=None), replace(EMPTIED, label=None, key="bay:folder/bay-1"), False),
        (replace(NUMBERED, total_bytes=None), replace(EMPTIED, total_bytes=None), False),
    ],
)
def test_only_the_same_recorder_closes_an_interrupted_intent(
    before: RecorderTraits, now: RecorderTraits, same: bool
) -> None:
    assert is_same_recorder(before, now) is same


@pytest.mark.parametrize(
    ("attempt", "found", "kept"),
    [
        (ERASED, FoundAfter.NOTHING, None),
        (ERASED, FoundAfter.SAME, ERASURE_LOST),
        (ERASED, FoundAfter.OTHER, None),
        ("file-not-erased", FoundAfter.NOTHING, None),
        ("file-not-erased", FoundAfter.SAME, "file-not-erased"),
        (FILE_CHANGED, FoundAfter.OTHER, FILE_CHANGED),
        (None, FoundAfter.NOTHING, None),
        (None, FoundAfter.SAME, INTERRUPTED),
        (None, FoundAfter.OTHER, FILE_CHANGED),
    ],
)
def test_the_listing_decides_what_is_gone(attempt: str | None, found: FoundAfter, kept: str | None) -> None:
    assert decide_kept(attempt, found) == kept
