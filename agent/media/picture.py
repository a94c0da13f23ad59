"""Reads the headers of JPEG and PNG: size and EXIF block. Pure, bounded by the bytes it is given."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.errors import MediaUnreadableError

READABLE_TYPES: Final = frozenset({"image/jpeg", "image/png"})
"""Pictures whose header is read here. Others (HEIC, WebP) are stored like any original, without facts or thumbnail."""

_PNG_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_EXIF_START: Final = b"Exif\x00\x00"
_APP1: Final = 0xE1
_SCAN: Final = 0xDA
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0-SOF15 without DHT, JPG and DAC, which share their range (ITU-T T.81 table B.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHeader:
    """What the header of a picture says. ``size`` is None when the head ends before it; ``exif`` is a TIFF block."""

    size: Size | None
    exif: bytes | None


def read_picture_header(head: bytes) -> PictureHeader:
    """Header of a JPEG or PNG from the start of its bytes. Raises MediaUnreadableError when it is neither."""
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg_header(head)
    if head.startswith(_PNG_START) and len(head) >= 24:
        return PictureHeader(size=_size(*struct.unpack_from(">II", head, 16)), exif=None)
    raise MediaUnreadableError("the bytes are neither a JPEG nor a PNG picture")


def jpeg_segments(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and payload of each segment up to the scan; ends quietly where the head does (ITU-T T.81 B.1.1)."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        payload = head[at + 4 : at + 2 + length]
        if marker == _SCAN or length < 2 or len(payload) < length - 2:
            return
        yield marker, payload
        at += 2 + length


def _jpeg_header(head: bytes) -> PictureHeader:
    size: Size | None = None
    exif: bytes | None = None
    for marker, payload in jpeg_segments(head):
        if marker == _APP1 and exif is None and payload.startswith(_EXIF_START):
            exif = payload[len(_EXIF_START) :]
        elif marker in _FRAMES and len(payload) >= 5:
            height, width = struct.unpack_from(">HH", payload, 1)
            size = _size(width, height)
            break
    return PictureHeader(size=size, exif=exif)


def _size(width: int, height: int) -> Size | None:
    return Size(width=width, height=height) if width and height else None
