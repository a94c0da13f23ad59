"""What a container says about itself, as values, and the pure parser of ffprobe's answer.

These are claims of the file, not truths: a recorder's clock may be wrong and its "UTC" is often local time. Corrected
times and places are made elsewhere, from these and from measured clock offsets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from agent.errors import MediaLimitError, MediaUnreadableError
from agent.media.limits import MAX_DURATION_S, MAX_PROBE_OUTPUT_BYTES, MAX_SIDE, MAX_STREAMS
from agent.media.text import clean_text

StreamKind = Literal["video", "audio", "data", "subtitle", "attachment", "picture", "unknown"]
"""As ffprobe names them; ``picture`` is a cover image attached to the file, which it calls video."""

_KINDS: Final[Mapping[str, StreamKind]] = {
    "video": "video",
    "audio": "audio",
    "data": "data",
    "subtitle": "subtitle",
    "attachment": "attachment",
}
_LOCATION_KEYS: Final = ("location", "location-eng", "com.apple.quicktime.location.ISO6709")
_MAKE_KEYS: Final = ("make", "com.apple.quicktime.make", "com.android.manufacturer")
_MODEL_KEYS: Final = ("model", "com.apple.quicktime.model", "com.android.model")
_FRACTION: Final = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", re.ASCII)
_ISO6709: Final = re.compile(
    r"([+-])([0-9]{2}|[0-9]{4}|[0-9]{6})(\.[0-9]{1,12})?([+-])([0-9]{3}|[0-9]{5}|[0-9]{7})(\.[0-9]{1,12})?"
    r"([+-][0-9]{1,6}(\.[0-9]{1,12})?)?(CRS[A-Za-z0-9_]{1,16})?/?",
    re.ASCII,
)

TAG_KEYS: Final = ("creation_time", *_LOCATION_KEYS, *_MAKE_KEYS, *_MODEL_KEYS)
"""The container tags that are read; whatever else a file carries stays in the original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoPoint:
    """A place (地点) in degrees of WGS 84, north and east positive."""

    latitude_deg: float
    longitude_deg: float

    def __post_init__(self) -> None:
        if not (abs(self.latitude_deg) <= 90 and abs(self.longitude_deg) <= 180):
            raise ValueError("latitude must be within ±90 and longitude within ±180 degrees")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """One stream. ``rotation_deg`` is clockwise, to be applied for display: 0, 90, 180 or 270."""

    index: int
    kind: StreamKind
    codec: str | None = None
    profile: str | None = None
    duration_s: float | None = None
    pix_fmt: str | None = None
    width: int | None = None
    height: int | None = None
    rotation_deg: int = 0
    fps: str | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """Facts (媒体信息) of one recording. ``containers`` are the names ffmpeg gives the format."""

    containers: tuple[str, ...]
    streams: tuple[StreamFacts, ...]
    duration_s: float | None = None
    creation_time: datetime | None = None
    location: GeoPoint | None = None
    make: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if self.creation_time is not None and self.creation_time.utcoffset() is None:
            raise ValueError("creation_time must be aware")

    def first(self, kind: StreamKind) -> StreamFacts | None:
        """The first stream of a kind, in the order of the file."""
        return next((stream for stream in self.streams if stream.kind == kind), None)


def parse_ffprobe(json_bytes: bytes) -> MediaFacts:
    """Facts from ffprobe's JSON. Ill-typed or implausible fields become None.

    Raises MediaUnreadableError when there is no format or no stream, MediaLimitError when there are too many.
    """
    if len(json_bytes) > MAX_PROBE_OUTPUT_BYTES:
        raise MediaLimitError(
            f"ffprobe's answer has {len(json_bytes)} bytes, at most {MAX_PROBE_OUTPUT_BYTES} are read"
        )
    document = _object(_load(json_bytes))
    container = _object(document.get("format"))
    names = clean_text(container.get("format_name"))
    streams = document.get("streams")
    if names is None or not isinstance(streams, list) or not streams:
        raise MediaUnreadableError("no container with streams was found in the file")
    if len(streams) > MAX_STREAMS:
        raise MediaLimitError(f"the file lists {len(streams)} streams, at most {MAX_STREAMS} are read")
    tags = _object(container.get("tags"))
    return MediaFacts(
        containers=tuple(names.split(",")),
        streams=tuple(_stream(position, _object(stream)) for position, stream in enumerate(streams)),
        duration_s=_duration(container.get("duration")),
        creation_time=parse_creation_time(tags.get("creation_time")),
        location=next((p for key in _LOCATION_KEYS if (p := parse_iso6709(tags.get(key)))), None),
        make=_first_text(tags, _MAKE_KEYS),
        model=_first_text(tags, _MODEL_KEYS),
    )


def parse_creation_time(value: object) -> datetime | None:
    """An RFC 3339 time with offset, in UTC. Without offset or ill-formed: None, since a guess would be a lie."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None


def parse_iso6709(value: object) -> GeoPoint | None:
    """A place in the short text form of ISO 6709 Annex H (degrees, with minutes and seconds packed in or not).

    0,0 is None: recorders write it while they have no fix, and there is no land.
    """
    match = _ISO6709.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    sign_lat, lat, lat_fraction, sign_lon, lon, lon_fraction, *_ = match.groups()
    return geo_point(
        _packed_degrees(sign_lat, lat, lat_fraction, 2), _packed_degrees(sign_lon, lon, lon_fraction, 3)
    )


def geo_point(latitude_deg: float, longitude_deg: float) -> GeoPoint | None:
    """A place, or None when out of range, not a number, or the 0,0 of a receiver without a fix."""
    if (
        not (math.isfinite(latitude_deg) and math.isfinite(longitude_deg))
        or latitude_deg == longitude_deg == 0
    ):
        return None
    try:
        return GeoPoint(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
    except ValueError:
        return None


def _packed_degrees(sign: str, digits: str, fraction: str | None, degree_digits: int) -> float:
    parts = [digits[:degree_digits], *(digits[i : i + 2] for i in range(degree_digits, len(digits), 2))]
    parts[-1] += fraction or ""
    magnitude = sum(float(part) / 60.0**power for power, part in enumerate(parts))
    return -magnitude if sign == "-" else magnitude


def _load(json_bytes: bytes) -> object:
    try:
        return json.loads(json_bytes)
    except (ValueError, RecursionError) as error:
        raise MediaUnreadableError("ffprobe's answer is not JSON") from error


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _stream(position: int, stream: Mapping[str, object]) -> StreamFacts:
    return StreamFacts(
        index=position,
        kind=_kind(stream),
        codec=clean_text(stream.get("codec_name")),
        profile=clean_text(stream.get("profile")),
        duration_s=_duration(stream.get("duration")),
        pix_fmt=clean_text(stream.get("pix_fmt")),
        width=_whole(stream.get("width"), most=MAX_SIDE),
        height=_whole(stream.get("height"), most=MAX_SIDE),
        rotation_deg=_rotation(stream),
        fps=_fraction(stream.get("avg_frame_rate")),
        sample_rate_hz=_whole(stream.get("sample_rate"), most=10_000_000),
        channels=_whole(stream.get("channels"), most=255),
    )


def _kind(stream: Mapping[str, object]) -> StreamKind:
    if _object(stream.get("disposition")).get("attached_pic") == 1:
        return "picture"
    kind = stream.get("codec_type")
    return _KINDS.get(kind, "unknown") if isinstance(kind, str) else "unknown"


def _rotation(stream: Mapping[str, object]) -> int:
    """ffprobe gives the display matrix as a counter-clockwise angle; we keep what turns the picture upright."""
    side_data = stream.get("side_data_list")
    for item in side_data if isinstance(side_data, list) else ():
        angle = _number(_object(item).get("rotation"))
        if angle is not None:
            return round(-angle / 90) * 90 % 360
    return 0


def _duration(value: object) -> float | None:
    seconds = _number(value)
    return seconds if seconds is not None and 0 <= seconds <= MAX_DURATION_S else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: object, *, most: int) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and 0 < number <= most else None


def _fraction(value: object) -> str | None:
    return value if isinstance(value, str) and _FRACTION.fullmatch(value) else None


def _first_text(tags: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    return next((text for key in keys if (text := clean_text(tags.get(key)))), None)
