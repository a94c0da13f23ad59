"""Facts a photograph carries about itself (EXIF), through exifread.

Every byte is hostile: whatever goes wrong inside the parser means "no EXIF", and its work is metered, because a few
kilobytes of overlapping tags could keep it busy for minutes.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import exifread

from agent.media.facts import GeoPoint, geo_point
from agent.media.limits import MAX_EXIF_BYTES, MAX_EXIF_READ_BYTES, MAX_EXIF_READS
from agent.media.picture import read_picture_header
from agent.media.text import clean_text

logging.getLogger("exifread").setLevel(logging.CRITICAL)  # or hostile files would write our log

_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})", re.ASCII)
_TIFF_STARTS: Final = (b"II*\x00", b"MM\x00*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExifFacts:
    """Facts (照片信息) of one photograph, as it claims them.

    ``local_time`` is the camera's wall clock and deliberately naive: EXIF knows no zone. Only with
    ``utc_offset_minutes`` is it a point in time (``taken_at``). ``gps_time`` is UTC from satellites. ``orientation`` is
    1 to 8 (EXIF 2.32 §4.6.4); ``width`` and ``height`` are of the picture as stored, before turning.
    """

    orientation: int = 1
    local_time: datetime | None = None
    utc_offset_minutes: int | None = None
    gps_time: datetime | None = None
    make: str | None = None
    model: str | None = None
    body_serial: str | None = None
    location: GeoPoint | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.orientation <= 8:
            raise ValueError("orientation is 1 to 8")
        if self.local_time is not None and self.local_time.tzinfo is not None:
            raise ValueError("local_time is naive by definition")
        if self.gps_time is not None and self.gps_time.utcoffset() != timedelta(0):
            raise ValueError("gps_time is in UTC")

    @property
    def taken_at(self) -> datetime | None:
        """The camera's time in UTC, when it recorded its offset."""
        if self.local_time is None or self.utc_offset_minutes is None:
            return None
        zone = timezone(timedelta(minutes=self.utc_offset_minutes))
        try:
            return self.local_time.replace(tzinfo=zone).astimezone(UTC)
        except OverflowError:
            return None


def photo_facts(head: bytes) -> ExifFacts:
    """Facts from the start of a JPEG or PNG. Raises MediaUnreadableError when it is neither.

    The size is the header's, not EXIF's, which editors forget to correct.
    """
    header = read_picture_header(head)
    facts = parse_exif(header.exif) if header.exif else ExifFacts()
    if header.size is None:
        return facts
    return replace(facts, width=header.size.width, height=header.size.height)


def parse_exif(block: bytes) -> ExifFacts:
    """Facts from a TIFF block as in a JPEG's APP1 segment. Never raises: what cannot be parsed is absent."""
    tags = _tags(block)
    return ExifFacts(
        orientation=_orientation(tags),
        local_time=_local_time(_text(tags, "EXIF DateTimeOriginal") or _text(tags, "Image DateTime")),
        utc_offset_minutes=_offset_minutes(
            _text(tags, "EXIF OffsetTimeOriginal") or _text(tags, "EXIF OffsetTime")
        ),
        gps_time=_gps_time(tags),
        make=_text(tags, "Image Make"),
        model=_text(tags, "Image Model"),
        body_serial=_text(tags, "EXIF BodySerialNumber"),
        location=_location(tags),
    )


class _WorkExceededError(Exception):
    """The parser asked for more than any honest block needs."""


class _MeteredBytes(io.BytesIO):
    """Bytes that can be read only so often: all of exifread's work passes through ``read``."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads_left = MAX_EXIF_READS
        self._bytes_left = MAX_EXIF_READ_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads_left -= 1
        self._bytes_left -= len(data)
        if self._reads_left < 0 or self._bytes_left < 0:
            raise _WorkExceededError
        return data


def _tags(block: bytes) -> Mapping[str, object]:
    if len(block) > MAX_EXIF_BYTES or not block.startswith(_TIFF_STARTS):
        return {}
    try:
        return exifread.process_file(_MeteredBytes(block), details=False, extract_thumbnail=False)
    except Exception:  # a hostile block may raise anything there
        return {}


def _values(tags: Mapping[str, object], name: str) -> object:
    return getattr(tags.get(name), "values", None)


def _text(tags: Mapping[str, object], name: str) -> str | None:
    return clean_text(_values(tags, name))


def _numbers(tags: Mapping[str, object], name: str, count: int) -> list[float] | None:
    values = _values(tags, name)
    if not isinstance(values, list) or len(values) != count:
        return None
    try:
        return [float(value) for value in values]
    except (ArithmeticError, TypeError, ValueError):
        return None


def _orientation(tags: Mapping[str, object]) -> int:
    numbers = _numbers(tags, "Image Orientation", 1)
    return int(numbers[0]) if numbers and numbers[0] in range(1, 9) else 1


def _local_time(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007  EXIF knows no zone
    except ValueError:
        return None


def _offset_minutes(text: str | None) -> int | None:
    match = _OFFSET.fullmatch(text or "")
    if match is None:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    if minutes > 14 * 60 or int(match[3]) > 59:  # no zone on Earth is further from UTC
        return None
    return -minutes if match[1] == "-" else minutes


def _gps_time(tags: Mapping[str, object]) -> datetime | None:
    clock = _numbers(tags, "GPS GPSTimeStamp", 3)
    try:
        day = datetime.strptime(_text(tags, "GPS GPSDate") or "", "%Y:%m:%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    if clock is None or not all(0 <= part < end for part, end in zip(clock, (24, 60, 61), strict=True)):
        return None
    hours, minutes, seconds = clock
    try:
        return day + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        return None


def _location(tags: Mapping[str, object]) -> GeoPoint | None:
    latitude = _degrees(tags, "GPS GPSLatitude", "NS")
    longitude = _degrees(tags, "GPS GPSLongitude", "EW")
    return geo_point(latitude, longitude) if latitude is not None and longitude is not None else None


def _degrees(tags: Mapping[str, object], name: str, hemispheres: str) -> float | None:
    parts = _numbers(tags, name, 3)
    hemisphere = _text(tags, f"{name}Ref")
    if parts is None or hemisphere is None or hemisphere not in hemispheres or min(parts) < 0:
        return None
    degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
    return -degrees if hemisphere == hemispheres[1] else degrees
