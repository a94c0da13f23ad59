"""What is made of which original? Copied where a browser can play it, transcoded where not, refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts, StreamFacts, StreamKind
from agent.media.picture import Size
from agent.media.plan import NotRendered, RenditionPlan, attempts_of, fit, plan_renditions


def _video(
    codec: str = "h264",
    profile: str = "High",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] | None = (1920, 1080),
    *,
    index: int = 0,
    rotation_deg: int = 0,
) -> StreamFacts:
    width, height = size or (None, None)
    return StreamFacts(index=index, kind="video", codec=codec, profile=profile, pix_fmt=pix_fmt, width=width,
                       height=height, rotation_deg=rotation_deg, duration_s=60.0)  # fmt: skip


def _audio(
    codec: str = "aac", profile: str | None = "LC", *, index: int = 1, channels: int = 2
) -> StreamFacts:
    return StreamFacts(
        index=index, kind="audio", codec=codec, profile=profile, channels=channels, duration_s=60.0
    )


def _facts(*streams: StreamFacts, container: str = "mov", duration_s: float = 61.0) -> MediaFacts:
    return MediaFacts(containers=(container,), streams=streams, duration_s=duration_s)


def _playable(facts: MediaFacts) -> RenditionPlan:
    plan = plan_renditions("video/mp4", facts)[0]
    assert isinstance(plan, RenditionPlan)
    assert plan.kind == "playable"
    return plan


def _poster(facts: MediaFacts) -> RenditionPlan:
    plan = plan_renditions("video/mp4", facts)[1]
    assert isinstance(plan, RenditionPlan)
    assert plan.kind == "poster"
    return plan


def _thumbnail(facts: ExifFacts, media_type: str = "image/jpeg") -> RenditionPlan | NotRendered:
    (decision,) = plan_renditions(media_type, facts)
    assert decision.kind == "thumbnail"
    return decision


@pytest.mark.parametrize(
    ("video", "audio", "expected"),
    [
        (_video(), _audio(), ("remux", "copy", "copy")),
        (_video(profile="Constrained Baseline"), _audio(profile="HE-AAC"), ("remux", "copy", "copy")),
        (_video(pix_fmt="yuvj420p"), _audio("mp3", None), ("remux", "copy", "copy")),
        (_video(), None, ("remux", "copy", None)),
        (_video(), _audio("pcm_alaw", None), ("transcode", "copy", "aac")),
        (_video(), _audio(profile="Main"), ("transcode", "copy", "aac")),
        (_video("hevc", "Main"), _audio(), ("transcode", "h264", "copy")),
        (_video(profile="High 10", pix_fmt="yuv420p10le"), _audio(), ("transcode", "h264", "copy")),
        (_video(profile="High 4:2:2", pix_fmt="yuv422p"), None, ("transcode", "h264", None)),
        (_video("mjpeg", "Baseline", "yuvj420p"), _audio("pcm_s16le", None), ("transcode", "h264", "aac")),
    ],
)
def test_only_what_a_browser_cannot_play_is_encoded(
    video: StreamFacts, audio: StreamFacts | None, expected: tuple[str, str, str | None]
) -> None:
    plan = _playable(_facts(video, *([audio] if audio else [])))
    assert plan.video is not None
    assert (plan.method, plan.video.codec, plan.audio and plan.audio.codec) == expected
    assert plan.encodes_video == (expected[1] == "h264")


@pytest.mark.parametrize(
    ("audio", "method", "codec"),
    [
        (_audio(), "remux", "copy"),
        (_audio("pcm_s16le", None), "transcode", "aac"),
        (_audio("mp3", None), "transcode", "aac"),
        (_audio("amr_nb", None), "transcode", "aac"),
    ],
)
def test_a_sound_recording_becomes_m4a(audio: StreamFacts, method: str, codec: str) -> None:
    (plan,) = plan_renditions("audio/wav", _facts(audio))
    assert isinstance(plan, RenditionPlan)
    assert plan.audio is not None
    assert (plan.method, plan.audio.codec, plan.media_type, plan.suffix) == (
        method,
        codec,
        "audio/mp4",
        ".m4a",
    )


def test_telemetry_covers_and_second_streams_are_left_out() -> None:
    kinds: tuple[StreamKind, ...] = ("data", "picture", "subtitle")
    others = [StreamFacts(index=i, kind=kind, duration_s=70.0) for i, kind in enumerate(kinds)]
    plan = _playable(
        _facts(*others, _video(index=3), _audio(index=4), _video(index=5), _audio(index=6), duration_s=70)
    )
    assert plan.video is not None
    assert plan.audio is not None
    assert (plan.video.stream_index, plan.audio.stream_index) == (3, 4)
    assert plan.duration_s == 60.0, "the length of what is used, not of the telemetry"


def test_a_sound_recording_with_a_cover_is_a_sound_recording() -> None:
    plans = plan_renditions("audio/mpeg", _facts(StreamFacts(index=0, kind="picture"), _audio("mp3")))
    assert [plan.kind for plan in plans] == ["playable"]


@pytest.mark.parametrize(
    ("size", "rotation_deg", "expected"),
    [
        ((1280, 720), 0, (1280, 720)),
        ((3840, 2160), 0, (1920, 1080)),
        ((3840, 2160), 90, (1080, 1920)),
        ((2160, 3840), 0, (1080, 1920)),
        ((2880, 2160), 0, (1440, 1080)),
        ((321, 241), 0, (320, 240)),
        ((1, 1), 0, (2, 2)),
    ],
)
def test_transcoded_video_is_upright_even_and_at_most_1080p(
    size: tuple[int, int], rotation_deg: int, expected: tuple[int, int]
) -> None:
    plan = _playable(_facts(_video("hevc", size=size, rotation_deg=rotation_deg)))
    assert plan.video is not None
    assert (plan.video.size.width, plan.video.size.height) == expected


def test_the_poster_is_a_keyframe_a_tenth_into_the_recording() -> None:
    still = _poster(_facts(_video(rotation_deg=90))).still
    assert still is not None
    assert (still.size, still.seek_s) == (Size(width=360, height=640), 6.0)


def test_what_fails_is_tried_another_way() -> None:
    facts = _facts(_video(), _audio())
    first, second = attempts_of(_poster(facts))
    assert first.still is not None
    assert second.still is not None
    assert (first.still.seek_s, second.still.seek_s) == (6.0, None)
    copied, encoded = attempts_of(_playable(facts))
    assert copied.video is not None
    assert encoded.video is not None
    assert (copied.method, encoded.method, encoded.video.codec) == ("remux", "transcode", "h264")
    assert len(list(attempts_of(_playable(_facts(_video("hevc")))))) == 1


@pytest.mark.parametrize(
    ("facts", "codes"),
    [
        (_facts(_video(size=None), _audio()), ["no-picture-size", "no-picture-size"]),
        (_facts(_video(size=(40_000, 40_000))), ["too-many-pixels", "too-many-pixels"]),
        (_facts(StreamFacts(index=0, kind="data")), ["not-media"]),
    ],
)
def test_what_cannot_be_rendered_says_why(facts: MediaFacts, codes: list[str]) -> None:
    decisions = plan_renditions("video/mp4", facts)
    assert [d.code for d in decisions if isinstance(d, NotRendered)] == codes
    assert all(isinstance(d, NotRendered) and d.why for d in decisions)


@pytest.mark.parametrize(
    ("orientation", "expected"), [(1, (512, 384)), (4, (512, 384)), (5, (384, 512)), (8, (384, 512))]
)
def test_thumbnails_are_upright(orientation: int, expected: tuple[int, int]) -> None:
    plan = _thumbnail(ExifFacts(orientation=orientation, width=4000, height=3000))
    assert isinstance(plan, RenditionPlan)
    assert plan.still is not None
    assert (plan.still.size.width, plan.still.size.height) == expected
    assert plan.still.orientation == orientation


@pytest.mark.parametrize(
    ("facts", "media_type", "code"),
    [
        (ExifFacts(), "image/jpeg", "no-picture-size"),
        (ExifFacts(width=65_000, height=65_000), "image/jpeg", "too-many-pixels"),
        (ExifFacts(width=10, height=10), "image/heic", "format-not-supported"),
        (ExifFacts(), "image/heic", "format-not-supported"),
    ],
)
def test_photographs_that_are_not_shown_say_why(facts: ExifFacts, media_type: str, code: str) -> None:
    decision = _thumbnail(facts, media_type)
    assert isinstance(decision, NotRendered)
    assert decision.code == code


_SIZES = st.builds(Size, width=st.integers(1, 65_500), height=st.integers(1, 65_500))


@settings(deadline=None)
@given(size=_SIZES, even=st.booleans())
def test_a_fitted_size_is_inside_the_box_and_never_larger(size: Size, even: bool) -> None:
    box = Size(width=1920, height=1080)
    fitted = fit(size, box, even=even)
    assert 1 <= fitted.width <= min(box.width, max(size.width, 2))
    assert 1 <= fitted.height <= min(box.height, max(size.height, 2))
    assert not even or (fitted.width % 2, fitted.height % 2) == (0, 0)
