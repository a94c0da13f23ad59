"""Are sizes and EXIF found in picture headers, and is everything else refused?"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import MediaUnreadableError
from agent.media.picture import PictureHeader, Size, read_picture_header


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def _frame(marker: int, width: int, height: int) -> bytes:
    return _segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2])
def test_the_frame_is_found_behind_other_segments(marker: int) -> None:
    tables = _segment(0xDB, bytes(65)) + b"\xff" + _segment(0xC4, bytes(20))
    head = b"\xff\xd8" + _segment(0xE2, bytes(60_000)) + _segment(0xE1, b"Exif\x00\x00TIFF") + tables
    assert read_picture_header(head + _frame(marker, 640, 480)) == PictureHeader(
        size=Size(width=640, height=480), exif=b"TIFF"
    )


def test_a_head_that_ends_early_has_no_size() -> None:
    head = b"\xff\xd8" + _segment(0xE0, b"JFIF\x00") + _frame(0xC0, 640, 480)
    assert read_picture_header(head[:-5]).size is None


def test_png_size_comes_from_its_first_chunk() -> None:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 30_000, 20_000) + b"\x08\x02"
    assert read_picture_header(head).size == Size(width=30_000, height=20_000)


def test_a_picture_without_extent_has_no_size() -> None:
    assert read_picture_header(b"\xff\xd8" + _frame(0xC0, 640, 0)).size is None


@settings(deadline=None)
@given(rest=st.binary(max_size=300), start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_any_bytes_are_a_header_or_unreadable(start: bytes, rest: bytes) -> None:
    try:
        header = read_picture_header(start + rest)
    except MediaUnreadableError:
        return
    assert header.size is None or header.size.pixels > 0
