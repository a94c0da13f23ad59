"""Which bytes does a Range header ask for? (RFC 9110 §14)"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.byte_ranges import ByteRange, RangeUnsatisfiableError, decide_range


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 10),
        ("bytes=3-6", 3, 4),
        ("bytes=3-99", 3, 7),
        ("bytes=9-", 9, 1),
        ("bytes=-1", 9, 1),
        ("bytes=-4", 6, 4),
        ("bytes=-99", 0, 10),
        ("Bytes=2-2", 2, 1),
        (" bytes=2-2 ", 2, 1),
        ("bytes=0-9223372036854775807", 0, 10),
    ],
)
def test_one_range_is_cut_to_the_file(header: str, start: int, length: int) -> None:
    assert decide_range(header, 10) == ByteRange(start=start, length=length)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=0-1,3-4",
        "lines=1-2",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes= 1-2",
        "bytes=1--2",
        "bytes=" + "9" * 40 + "-",
        "bytes=１-２",
    ],
)
def test_what_is_no_single_range_of_bytes_is_ignored(header: str | None) -> None:
    assert decide_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size_bytes"),
    [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_bytes_that_do_not_exist_are_refused(header: str, size_bytes: int) -> None:
    with pytest.raises(RangeUnsatisfiableError):
        decide_range(header, size_bytes)


@given(
    st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 999)
)
def test_a_range_lies_within_the_file_whatever_is_asked(header: str, size_bytes: int) -> None:
    try:
        found = decide_range(header, size_bytes)
    except RangeUnsatisfiableError:
        return
    if found is not None:
        assert 0 <= found.start < found.start + found.length <= size_bytes
