"""Is text from files harmless, and does progress only grow?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.media.progress import ProgressMeter, parse_position_s
from agent.media.text import clean_text, last_lines


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("  ACME \x00", "ACME"),
        ("red\x1b[31m", "red[31m"),
        ("a\u202eb\ud800c", "abc"),
        (b"\xff\xfeDSJ", "DSJ"),
        ("执法记录仪", "执法记录仪"),
        ("\n", None),
        (7, None),
        (None, None),
    ],
)
def test_only_printable_text_remains(value: object, expected: str | None) -> None:
    assert clean_text(value) == expected


@settings(deadline=None)
@given(value=st.text(max_size=200), limit=st.integers(1, 80))
def test_text_is_bounded_printable_and_encodable(value: str, limit: int) -> None:
    text = clean_text(value, limit_chars=limit)
    assert text is None or (0 < len(text) <= limit and text.isprintable() and text.encode())


def test_the_same_failure_reads_the_same_twice() -> None:
    assert last_lines(b"[mov @ 0x5591b4770340] moov atom not found\n") == "[mov] moov atom not found"
    assert last_lines(b"") == "no message"


@pytest.mark.parametrize(
    ("line", "position_s"),
    [
        (b"out_time_us=1500000", 1.5),
        (b"out_time_us=N/A", None),
        (b"out_time_us=-1", None),
        (b"progress=end", None),
    ],
)
def test_only_position_lines_count(line: bytes, position_s: float | None) -> None:
    assert parse_position_s(line) == position_s


@settings(deadline=None)
@given(positions_us=st.lists(st.integers(0, 10**8), max_size=30))
def test_progress_grows_from_zero_to_one(positions_us: list[int]) -> None:
    shares: list[float] = []
    meter = ProgressMeter(60.0, shares.append)
    for position_us in positions_us:
        meter.take_line(b"out_time_us=%d" % position_us)
    assert shares == sorted(set(shares))
    assert all(0 < share <= 1 for share in shares)


def test_without_a_known_duration_nothing_is_reported() -> None:
    shares: list[float] = []
    ProgressMeter(None, shares.append).take_line(b"out_time_us=5000000")
    assert shares == []
