"""Does the media type follow the bytes, and only then the name?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.media_types import HEAD_BYTES, UNKNOWN, media_type_of

_TS = b"".join(b"\x47" + bytes(187) for _ in range(5))
_M2TS = b"".join(b"\x00\x01\x02\x03\x47" + bytes(187) for _ in range(5))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00", "video/quicktime"),
        (b"\x00\x00\x00\x08wide\x00\x00\x10\x00mdat", "video/quicktime"),
        (b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "image/heic"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"\xff\xd8\xff\xe1\x00\x10Exif", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", "video/x-matroska"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "video/webm"),
        (_TS, "video/mp2t"),
        (_M2TS, "video/mp2t"),
        (b"\x00\x00\x01\xba\x44\x00", "video/mpeg"),
        (b"ID3\x04\x00", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"#!AMR\n", "audio/amr"),
    ],
)
def test_magic_decides_whatever_the_name_says(head: bytes, expected: str) -> None:
    assert media_type_of("REC0001.TXT", head[:HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("REC0001.MP4", "video/mp4"),
        ("a.b.jpeg", "image/jpeg"),
        ("mp4", UNKNOWN),
        ("file.", UNKNOWN),
        ("notes.xyz", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_name_decides_where_the_bytes_say_nothing(name: str, expected: str) -> None:
    assert media_type_of(name, b"") == expected
    assert media_type_of(name, b"hello, this is text") == expected


def test_one_stray_sync_byte_is_not_a_transport_stream() -> None:
    assert media_type_of("x", b"\x47" + bytes(600)) == UNKNOWN


@settings(deadline=None)
@given(name=st.text(), head=st.binary(max_size=600))
def test_any_name_and_bytes_have_a_type(name: str, head: bytes) -> None:
    assert "/" in media_type_of(name, head)
