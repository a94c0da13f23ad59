"""Rules of the catalogue that need no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.catalogue import Position, encode_cursor, parse_cursor
from collector.catalogue.errors import CursorError
from collector.catalogue.facts import Evidence, FileState, best_start, settle_row
from protocol.claims import SOURCES, TimeClaim
from protocol.listing import RowState

MORNING = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(min_value=-(62 * 10**12), max_value=253 * 10**12).map(
    lambda ms: EPOCH + timedelta(milliseconds=ms)
)
positions = st.builds(
    Position, started_at=st.none() | moments, log_index=st.integers(min_value=0, max_value=2**53 - 1)
)


def at(source: str, hour: int = 0) -> TimeClaim:
    return TimeClaim(MORNING + timedelta(hours=hour), source)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("name", "exif"),
        ("exif", "container"),
        ("container", "config"),
        ("config", "device"),
        ("device", "file time"),
    ],
)
def test_a_more_trusted_source_tells_the_start(better: str, worse: str) -> None:
    assert best_start([at(worse), None, at(better, 1)]) == at(better, 1)


def test_among_equal_sources_the_first_claim_stands() -> None:
    assert best_start([at("exif"), at("exif", 1)]) == at("exif")


def test_without_claims_the_start_is_unknown() -> None:
    assert best_start([None]) is None


def test_every_source_has_a_rank() -> None:
    assert all(best_start([at(source)]) == at(source) for source in SOURCES)


@pytest.mark.parametrize("state", list(RowState))
@pytest.mark.parametrize("marked", [False, True])
def test_stored_bytes_outweigh_whatever_was_said_before(state: RowState, marked: bool) -> None:
    assert settle_row(state, Evidence.STORED, marked_unreadable=marked) is FileState.STORED
    assert settle_row(state, Evidence.READ, marked_unreadable=marked) is FileState.PENDING


@pytest.mark.parametrize(
    ("state", "marked", "expected"),
    [
        (RowState.TO_READ, False, FileState.PENDING),
        (RowState.KNOWN, False, FileState.PENDING),
        (RowState.TO_READ, True, FileState.UNREADABLE),
        (RowState.UNREADABLE, False, FileState.UNREADABLE),
        (RowState.EXCLUDED, True, FileState.EXCLUDED),
    ],
)
def test_a_file_without_bytes_is_what_was_said_of_it(
    state: RowState, marked: bool, expected: FileState
) -> None:
    assert settle_row(state, Evidence.NONE, marked_unreadable=marked) is expected


@given(positions, st.text(max_size=20))
def test_a_cursor_leads_back_to_its_place(position: Position, query: str) -> None:
    assert parse_cursor(encode_cursor(position, query), query) == position


@given(positions, st.text(max_size=5), st.text(max_size=5))
def test_a_cursor_of_another_query_is_refused(position: Position, query: str, other: str) -> None:
    if query != other:
        with pytest.raises(CursorError):
            parse_cursor(encode_cursor(position, query), other)


@given(st.text())
def test_any_other_text_is_refused_as_a_cursor(text: str) -> None:
    with pytest.raises(CursorError):
        parse_cursor(text, "query")


@given(positions, st.integers(min_value=0, max_value=31), st.sampled_from("AZaz09-_"))
def test_a_changed_cursor_is_refused(position: Position, place: int, character: str) -> None:
    text = encode_cursor(position, "query")
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        with pytest.raises(CursorError):
            parse_cursor(changed, "query")
