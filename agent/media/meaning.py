"""What media facts mean for a clip (pure): from what a probe read to what the station states."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from agent.media.exif import ExifFacts
from agent.media.facts import GeoPoint, MediaFacts, StreamFacts
from protocol.claims import Claim, TimeClaim
from protocol.times import format_time

OriginalFacts = MediaFacts | ExifFacts


def facts_json(facts: OriginalFacts) -> Mapping[str, object]:
    """The facts as a statement carries them: integers and texts, no floating point, unknowns left out."""
    return _photo_json(facts) if isinstance(facts, ExifFacts) else _recording_json(facts)


def duration_ms(facts: OriginalFacts) -> int | None:
    """Length of a recording; a photograph has none."""
    if isinstance(facts, ExifFacts) or facts.duration_s is None:
        return None
    return round(facts.duration_s * 1000)


def claimed_start(facts: OriginalFacts, zone: tzinfo) -> TimeClaim | None:
    """When the file says it was begun. EXIF's wall clock is read in ``zone``, the station's, where the camera did
    not record its own; what was assumed can be seen in the facts."""
    if isinstance(facts, MediaFacts):
        return None if facts.creation_time is None else TimeClaim(facts.creation_time, "container")
    taken_at = facts.taken_at or _by_station_zone(facts, zone) or facts.gps_time
    return None if taken_at is None else TimeClaim(taken_at, "exif")


def _by_station_zone(facts: ExifFacts, zone: tzinfo) -> datetime | None:
    """None also for the first and the last hours of all time, which other zones cannot express."""
    if facts.local_time is None:
        return None
    try:
        return facts.local_time.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return None


def claimed_recorder(facts: OriginalFacts) -> Claim | None:
    """The serial number the file says it was taken with."""
    if isinstance(facts, ExifFacts) and facts.body_serial:
        return Claim(facts.body_serial, "exif")
    return None


def _recording_json(facts: MediaFacts) -> Mapping[str, object]:
    return _known(
        containers=list(facts.containers),
        duration_ms=duration_ms(facts),
        creation_time=None if facts.creation_time is None else format_time(facts.creation_time),
        location=_place(facts.location),
        make=facts.make,
        model=facts.model,
        streams=[_stream_json(stream) for stream in facts.streams],
    )


def _stream_json(stream: StreamFacts) -> Mapping[str, object]:
    return _known(
        index=stream.index,
        kind=stream.kind,
        codec=stream.codec,
        profile=stream.profile,
        duration_ms=None if stream.duration_s is None else round(stream.duration_s * 1000),
        pix_fmt=stream.pix_fmt,
        width=stream.width,
        height=stream.height,
        rotation_deg=stream.rotation_deg or None,
        fps=stream.fps,
        sample_rate_hz=stream.sample_rate_hz,
        channels=stream.channels,
    )


def _photo_json(facts: ExifFacts) -> Mapping[str, object]:
    return _known(
        orientation=facts.orientation,
        local_time=None if facts.local_time is None else facts.local_time.isoformat(timespec="seconds"),
        utc_offset_minutes=facts.utc_offset_minutes,
        gps_time=None if facts.gps_time is None else format_time(facts.gps_time),
        make=facts.make,
        model=facts.model,
        body_serial=facts.body_serial,
        location=_place(facts.location),
        width=facts.width,
        height=facts.height,
    )


def _place(point: GeoPoint | None) -> Mapping[str, str] | None:
    if point is None:
        return None
    return {"latitude": f"{point.latitude_deg:.7f}", "longitude": f"{point.longitude_deg:.7f}"}


def _known(**members: object) -> Mapping[str, object]:
    return {name: value for name, value in members.items() if value is not None}
