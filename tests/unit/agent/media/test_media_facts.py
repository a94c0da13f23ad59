"""Does the parser of ffprobe's answer keep what is plausible and nothing else?"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import MediaError, MediaLimitError, MediaUnreadableError
from agent.media.facts import (
    GeoPoint,
    MediaFacts,
    StreamFacts,
    parse_creation_time,
    parse_ffprobe,
    parse_iso6709,
)
from agent.media.limits import MAX_PROBE_OUTPUT_BYTES, MAX_STREAMS

_VIDEO: dict[str, object] = {
    "codec_type": "video",
    "codec_name": "h264",
    "profile": "Main",
    "pix_fmt": "yuv420p",
    "width": 1920,
    "height": 1080,
    "avg_frame_rate": "30000/1001",
    "duration": "12.5",
    "disposition": {"attached_pic": 0},
}


def _answer(streams: object, **container: object) -> bytes:
    return json.dumps({"streams": streams, "format": {"format_name": "mov,mp4", **container}}).encode()


def test_a_recording_is_described() -> None:
    audio = {
        "codec_type": "audio",
        "codec_name": "aac",
        "profile": "LC",
        "sample_rate": "48000",
        "channels": 2,
    }
    tags = {
        "creation_time": "2026-03-01T08:00:00.000000Z",
        "location": "+39.9042+116.4074/",
        "make": "ACME",
        "com.android.model": "DSJ-1",
    }
    facts = parse_ffprobe(_answer([_VIDEO, audio], duration="12.6", tags=tags))
    assert facts == MediaFacts(
        containers=("mov", "mp4"),
        duration_s=12.6,
        creation_time=datetime(2026, 3, 1, 8, tzinfo=UTC),
        location=GeoPoint(latitude_deg=39.9042, longitude_deg=116.4074),
        make="ACME",
        model="DSJ-1",
        streams=(
            StreamFacts(index=0, kind="video", codec="h264", profile="Main", duration_s=12.5, pix_fmt="yuv420p",
                        width=1920, height=1080, fps="30000/1001"),
            StreamFacts(index=1, kind="audio", codec="aac", profile="LC", sample_rate_hz=48000, channels=2),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("matrix", "clockwise"), [(-90, 90), (90, 270), (180, 180), (-180, 180), (0, 0), (3, 0)]
)
def test_rotation_is_what_turns_the_picture_upright(matrix: int, clockwise: int) -> None:
    stream = {**_VIDEO, "side_data_list": [{"side_data_type": "Display Matrix", "rotation": matrix}]}
    assert parse_ffprobe(_answer([stream])).streams[0].rotation_deg == clockwise


def test_a_cover_picture_is_not_a_video() -> None:
    facts = parse_ffprobe(_answer([{**_VIDEO, "disposition": {"attached_pic": 1}}]))
    assert facts.first("video") is None
    assert facts.streams[0].kind == "picture"


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, _answer([]), _answer("x")]
)
def test_an_answer_without_streams_is_unreadable(answer: bytes) -> None:
    with pytest.raises(MediaUnreadableError):
        parse_ffprobe(answer)


def test_too_many_streams_and_too_long_answers_are_refused() -> None:
    with pytest.raises(MediaLimitError):
        parse_ffprobe(_answer([_VIDEO] * (MAX_STREAMS + 1)))
    with pytest.raises(MediaLimitError):
        parse_ffprobe(b" " * (MAX_PROBE_OUTPUT_BYTES + 1))


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e400", True, None, [], "1e12"])
def test_an_implausible_duration_is_absent(value: object) -> None:
    assert parse_ffprobe(_answer([_VIDEO], duration=value)).duration_s is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+39.9042+116.4074/", (39.9042, 116.4074)),
        ("-33.8688+151.2093+058.000/", (-33.8688, 151.2093)),
        ("+3954.25+11624.5/", (39 + 54.25 / 60, 116 + 24.5 / 60)),
        ("+395415.2-0772436/", (39 + 54 / 60 + 15.2 / 3600, -(77 + 24 / 60 + 36 / 3600))),
        ("+39.9042+116.4074CRSWGS_84/", (39.9042, 116.4074)),
    ],
)
def test_places_are_read_in_all_forms_of_iso_6709(text: str, expected: tuple[float, float]) -> None:
    place = parse_iso6709(text)
    assert place is not None
    assert (place.latitude_deg, place.longitude_deg) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "+91.0+000.5/", "+00.0000+000.0000/", "39.9+116.4", "+39.9042", "+٣٩.1+116.4/", None, 7]
)
def test_no_place_is_made_up(text: object) -> None:
    assert parse_iso6709(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T16:00:00+08:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
        ("2026-03-01 16:00:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_a_time_without_offset_is_no_time(text: object, expected: datetime | None) -> None:
    assert parse_creation_time(text) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
_HOSTILE_STREAM = st.dictionaries(
    st.sampled_from([*_VIDEO, "side_data_list", "sample_rate", "channels", "tags"]), _JSON, max_size=12
)


@settings(deadline=None)
@given(streams=st.lists(_HOSTILE_STREAM, max_size=4), tags=_JSON, duration=_JSON)
def test_ill_typed_answers_never_crash(streams: list[object], tags: object, duration: object) -> None:
    try:
        facts = parse_ffprobe(_answer(streams, tags=tags, duration=duration))
    except MediaError:
        return
    assert len(facts.streams) == len(streams)


@settings(deadline=None)
@given(answer=st.binary(max_size=200))
def test_any_bytes_are_facts_or_a_media_error(answer: bytes) -> None:
    with pytest.raises(MediaError):
        parse_ffprobe(answer)
