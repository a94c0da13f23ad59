"""Writes EXIF blocks and puts them into JPEG files, as a camera would (TIFF 6.0 §2, EXIF 2.32 §4.5.2)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Value = str | int | Sequence[tuple[int, int]]
"""ASCII, SHORT (or LONG when it points at a directory), or RATIONAL."""

ORIENTATION, MAKE, MODEL, EXIF_IFD, GPS_IFD = 0x0112, 0x010F, 0x0110, 0x8769, 0x8825
TIME_ORIGINAL, OFFSET_ORIGINAL, BODY_SERIAL = 0x9003, 0x9011, 0xA431
LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE, GPS_CLOCK, GPS_DAY = 1, 2, 3, 4, 7, 29


def exif_block(
    main: Mapping[int, Value],
    exif: Mapping[int, Value] | None = None,
    gps: Mapping[int, Value] | None = None,
    *,
    order: str = "<",
) -> bytes:
    """A TIFF block with up to three directories; ``order`` is struct's sign for the byte order."""
    pointers = {tag: 0 for tag, ifd in ((EXIF_IFD, exif), (GPS_IFD, gps)) if ifd}
    exif_at = 8 + len(_directory({**main, **pointers}, 8, order))
    gps_at = exif_at + len(_directory(exif, exif_at, order) if exif else b"")
    places = {EXIF_IFD: exif_at, GPS_IFD: gps_at}
    body = _directory({**main, **{tag: places[tag] for tag in pointers}}, 8, order)
    body += _directory(exif, exif_at, order) if exif else b""
    body += _directory(gps, gps_at, order) if gps else b""
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8) + body


def with_exif(jpeg: bytes, block: bytes) -> bytes:
    """The JPEG with the block as its first segment."""
    payload = b"Exif\x00\x00" + block
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def _directory(values: Mapping[int, Value], at: int, order: str) -> bytes:
    entries, extra = b"", b""
    extra_at = at + 2 + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        kind, count, data = _encoded(tag, value, order)
        if len(data) > 4:
            data, extra = (
                struct.pack(f"{order}I", extra_at + len(extra)),
                extra + data + b"\x00" * (len(data) % 2),
            )
        entries += struct.pack(f"{order}HHI", tag, kind, count) + data.ljust(4, b"\x00")
    return struct.pack(f"{order}H", len(values)) + entries + b"\x00\x00\x00\x00" + extra


def _encoded(tag: int, value: Value, order: str) -> tuple[int, int, bytes]:
    if isinstance(value, str):
        data = value.encode() + b"\x00"
        return 2, len(data), data
    if isinstance(value, int):
        is_pointer = tag in (EXIF_IFD, GPS_IFD)
        return (
            (4, 1, struct.pack(f"{order}I", value)) if is_pointer else (3, 1, struct.pack(f"{order}H", value))
        )
    return 5, len(value), b"".join(struct.pack(f"{order}II", *ratio) for ratio in value)
