"""Is a rendition that is not what was planned found out?"""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import RenditionFailedError, RenditionShortError
from agent.media.facts import MediaFacts, StreamFacts
from agent.media.picture import Size
from agent.media.plan import AudioTrack, RenditionPlan, Still, VideoTrack
from agent.media.verify import mp4_atoms, verify_faststart, verify_playable, verify_still

_PLAN = RenditionPlan(
    kind="playable",
    method="remux",
    media_type="video/mp4",
    suffix=".mp4",
    video=VideoTrack(stream_index=0, codec="copy", size=Size(width=320, height=240), rotation_deg=90),
    audio=AudioTrack(stream_index=1, codec="aac", channels=2),
    duration_s=1000.0,
)
_VIDEO = StreamFacts(index=0, kind="video", codec="h264", width=320, height=240, rotation_deg=90)
_AUDIO = StreamFacts(index=1, kind="audio", codec="aac")
_GOOD = MediaFacts(containers=("mov",), streams=(_VIDEO, _AUDIO), duration_s=1000.0)
_JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 48, 64, 1) + b"\x01\x11\x00\xff\xda\x00\x02data\xff\xd9"
)
_STILL = Still(size=Size(width=64, height=48))


def _box(kind: bytes, size: int = 0) -> bytes:
    return struct.pack(">I4s", 8 + size, kind) + bytes(size)


def test_what_was_planned_passes() -> None:
    verify_playable(_PLAN, _GOOD)
    verify_still(_STILL, _JPEG)
    verify_faststart(io.BytesIO(_box(b"ftyp", 8) + _box(b"moov", 30) + _box(b"mdat", 99)))


@pytest.mark.parametrize(
    "facts",
    [
        replace(_GOOD, streams=(_VIDEO,)),
        replace(_GOOD, streams=(_VIDEO, _AUDIO, StreamFacts(index=2, kind="data"))),
        replace(_GOOD, streams=(replace(_VIDEO, codec="hevc"), _AUDIO)),
        replace(_GOOD, streams=(replace(_VIDEO, rotation_deg=0), _AUDIO)),
        replace(_GOOD, streams=(_VIDEO, replace(_AUDIO, codec="pcm_alaw"))),
        replace(_GOOD, streams=(_VIDEO, replace(_VIDEO, index=1))),
        replace(_GOOD, duration_s=None),
        replace(_GOOD, duration_s=1021.0),
    ],
)
def test_other_streams_or_lengths_fail(facts: MediaFacts) -> None:
    with pytest.raises(RenditionFailedError):
        verify_playable(_PLAN, facts)


def test_transcoded_video_must_be_upright_and_of_the_planned_size() -> None:
    video = VideoTrack(stream_index=0, codec="h264", size=Size(width=320, height=240), rotation_deg=90)
    plan = replace(_PLAN, video=video)
    verify_playable(plan, replace(_GOOD, streams=(replace(_VIDEO, rotation_deg=0), _AUDIO)))
    with pytest.raises(RenditionFailedError, match="upright"):
        verify_playable(plan, _GOOD)


@pytest.mark.parametrize(("claimed_s", "found_s"), [(1000.0, 980.0), (10.0, 8.0), (10.0, 12.0)])
def test_two_seconds_or_two_percent_are_rounding(claimed_s: float, found_s: float) -> None:
    verify_playable(replace(_PLAN, duration_s=claimed_s), replace(_GOOD, duration_s=found_s))


@pytest.mark.parametrize(("claimed_s", "found_s"), [(1000.0, 979.0), (10.0, 7.9)])
def test_a_cut_off_original_is_called_that(claimed_s: float, found_s: float) -> None:
    with pytest.raises(RenditionShortError):
        verify_playable(replace(_PLAN, duration_s=claimed_s), replace(_GOOD, duration_s=found_s))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        _box(b"ftyp") + _box(b"mdat", 9) + _box(b"moov", 9),
        _box(b"ftyp") + _box(b"moov", 9),
        _box(b"moov", 9) + _box(b"mdat", 9)[:-1],
        _box(b"moov") + struct.pack(">I4s", 3, b"mdat"),
        _box(b"moov") + struct.pack(">I4sQ", 1, b"mdat", 8),
        _box(b"free") * 1001,
    ],
)
def test_an_index_behind_the_data_or_a_broken_box_fails(file: bytes) -> None:
    with pytest.raises(RenditionFailedError):
        verify_faststart(io.BytesIO(file))


def test_long_and_open_ended_boxes_are_understood() -> None:
    long_box = struct.pack(">I4sQ", 1, b"moov", 20) + bytes(4)
    open_ended = struct.pack(">I4s", 0, b"mdat") + bytes(50)
    assert list(mp4_atoms(io.BytesIO(long_box + open_ended))) == [b"moov", b"mdat"]


@settings(deadline=None)
@given(file=st.binary(max_size=200))
def test_any_bytes_have_boxes_or_fail_in_our_tree(file: bytes) -> None:
    with contextlib.suppress(RenditionFailedError):
        assert len(list(mp4_atoms(io.BytesIO(file)))) <= len(file) // 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        _JPEG[:-1],
        _JPEG.replace(struct.pack(">HH", 48, 64), struct.pack(">HH", 64, 48)),
        _JPEG[:2] + b"\xff\xe1\x00\x08Exif\x00\x00" + _JPEG[2:],
    ],
)
def test_a_still_of_another_size_cut_off_or_with_exif_fails(data: bytes) -> None:
    with pytest.raises(RenditionFailedError):
        verify_still(_STILL, data)
