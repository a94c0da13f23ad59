"""Do media facts always fit into a signed statement, whatever a file claims, and is no claim invented?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.media.exif import ExifFacts
from agent.media.facts import GeoPoint, MediaFacts, StreamFacts
from agent.media.limits import MAX_DURATION_S, MAX_SIDE, MAX_STREAMS, MAX_TEXT_CHARS
from agent.media.meaning import OriginalFacts, claimed_recorder, claimed_start, duration_ms, facts_json
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.limits import MAX_PAYLOAD_BYTES
from protocol.statements import Header, Media, encode, parse_statement
from tests.support.visit_lab import AGENCY, START, STATION

SHANGHAI = ZoneInfo("Asia/Shanghai")
ZONES = [SHANGHAI, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Kiritimati"), UTC]

texts = st.none() | st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]),
    min_size=1,
    max_size=MAX_TEXT_CHARS,
)
durations = st.none() | st.floats(0, MAX_DURATION_S)
sides = st.none() | st.integers(1, MAX_SIDE)
wall_clocks = st.none() | st.datetimes()
utc_times = st.none() | st.datetimes(timezones=st.just(UTC))
places = st.none() | st.builds(GeoPoint, latitude_deg=st.floats(-90, 90), longitude_deg=st.floats(-180, 180))
streams = st.builds(
    StreamFacts,
    index=st.integers(0, MAX_STREAMS - 1),
    kind=st.sampled_from(["video", "audio", "data", "subtitle", "attachment", "picture", "unknown"]),
    codec=texts,
    profile=texts,
    duration_s=durations,
    pix_fmt=texts,
    width=sides,
    height=sides,
    rotation_deg=st.sampled_from([0, 90, 180, 270]),
    fps=st.none() | st.just("999999999/999999999"),
    sample_rate_hz=st.none() | st.integers(1, 10_000_000),
    channels=st.none() | st.integers(1, 255),
)
recordings = st.builds(
    MediaFacts,
    containers=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=32).map(tuple),
    streams=st.lists(streams, min_size=1, max_size=MAX_STREAMS).map(tuple),
    duration_s=durations,
    creation_time=utc_times,
    location=places,
    make=texts,
    model=texts,
)
photographs = st.builds(
    ExifFacts,
    orientation=st.integers(1, 8),
    local_time=wall_clocks,
    utc_offset_minutes=st.none() | st.integers(-840, 840),
    gps_time=utc_times,
    make=texts,
    model=texts,
    body_serial=texts,
    location=places,
    width=sides,
    height=sides,
)


def statement_of(facts: OriginalFacts, zone: ZoneInfo | timezone) -> Media:
    return Media(
        header=Header(agency=AGENCY, signer=STATION, issued_at=START, nonce="0" * 32),
        original=Digest.of(b"original"),
        manifest=Digest.of(b"manifest"),
        media_type="video/mp4",
        duration_ms=duration_ms(facts),
        started_at=claimed_start(facts, zone),
        recorder=claimed_recorder(facts),
        facts=facts_json(facts),
        problem=None,
    )


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for member in value.values():
            yield from leaves(member)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@given(recordings | photographs, st.sampled_from(ZONES))
def test_any_facts_survive_the_way_through_a_statement(
    facts: OriginalFacts, zone: ZoneInfo | timezone
) -> None:
    read = parse_statement(encode(statement_of(facts, zone)))
    assert isinstance(read, Media)
    assert read.facts == facts_json(facts)
    assert all(type(leaf) in (str, int) for leaf in leaves(read.facts)), "no floating point, no null"


def test_the_most_that_a_file_can_claim_fits_a_statement() -> None:
    widest = "\U00020000" * MAX_TEXT_CHARS  # four bytes each
    stream = StreamFacts(
        index=31, kind="attachment", codec=widest, profile=widest, pix_fmt=widest, duration_s=MAX_DURATION_S,
        width=MAX_SIDE, height=MAX_SIDE, rotation_deg=270, fps="999999999/999999999",
        sample_rate_hz=10_000_000, channels=255,
    )  # fmt: skip
    facts = MediaFacts(
        containers=tuple(widest), streams=(stream,) * MAX_STREAMS, duration_s=MAX_DURATION_S,
        creation_time=START, location=GeoPoint(latitude_deg=-89.1234567, longitude_deg=-179.1234567),
        make=widest, model=widest,
    )  # fmt: skip
    assert len(encode(statement_of(facts, SHANGHAI))) <= MAX_PAYLOAD_BYTES


def test_a_place_is_written_with_seven_decimals_as_text() -> None:
    facts = ExifFacts(location=GeoPoint(latitude_deg=31.2304, longitude_deg=-121.47370001))
    assert facts_json(facts)["location"] == {"latitude": "31.2304000", "longitude": "-121.4737000"}


# When it was begun


def test_a_camera_that_knows_its_offset_is_believed_in_any_station() -> None:
    facts = ExifFacts(local_time=datetime(2026, 3, 4, 9, 0), utc_offset_minutes=9 * 60)  # noqa: DTZ001 - EXIF's
    for zone in ZONES:
        assert claimed_start(facts, zone) == TimeClaim(datetime(2026, 3, 4, 0, 0, tzinfo=UTC), "exif")


def test_a_camera_without_offset_shows_the_stations_time() -> None:
    facts = ExifFacts(local_time=datetime(2026, 3, 4, 9, 0), gps_time=START)  # noqa: DTZ001 - EXIF's
    assert claimed_start(facts, SHANGHAI) == TimeClaim(datetime(2026, 3, 4, 1, 0, tzinfo=UTC), "exif")


def test_satellites_are_asked_when_the_camera_has_no_clock() -> None:
    assert claimed_start(ExifFacts(gps_time=START), SHANGHAI) == TimeClaim(START, "exif")


@pytest.mark.parametrize(
    ("moment", "zone"),
    [(datetime.min, SHANGHAI), (datetime.max, ZoneInfo("America/New_York"))],  # noqa: DTZ901 - EXIF's
)
def test_the_ends_of_time_are_no_claim_where_another_zone_cannot_express_them(
    moment: datetime, zone: ZoneInfo
) -> None:
    assert claimed_start(ExifFacts(local_time=moment), zone) is None
    assert claimed_start(ExifFacts(local_time=moment, gps_time=START), zone) == TimeClaim(START, "exif")


def test_a_container_says_when_it_was_begun() -> None:
    begun = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC) - timedelta(microseconds=1)
    facts = MediaFacts(containers=("mov",), streams=(), creation_time=begun)
    assert claimed_start(facts, SHANGHAI) == TimeClaim(begun, "container")


@pytest.mark.parametrize("facts", [MediaFacts(containers=("mov",), streams=()), ExifFacts()])
def test_what_a_file_does_not_say_is_not_claimed(facts: OriginalFacts) -> None:
    assert claimed_start(facts, SHANGHAI) is None
    assert claimed_recorder(facts) is None
    assert duration_ms(facts) is None


def test_the_cameras_serial_number_is_a_claim_of_exif() -> None:
    assert claimed_recorder(ExifFacts(body_serial="SN 7")) == Claim("SN 7", "exif")
