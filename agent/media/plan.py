"""Decides what is rendered from an original, and how. Pure.

A station takes in far more footage than it could transcode, so what a browser can play is only repackaged ("remux":
the coded pictures and sounds are copied); the rest is transcoded, at idle priority. Only the first video and the first
audio stream are used: telemetry, subtitles and cover pictures stay in the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts, StreamFacts
from agent.media.limits import MAX_PIXELS
from agent.media.picture import Size

RenditionKind = Literal["playable", "poster", "thumbnail"]
RenditionMethod = Literal["remux", "transcode", "extract"]
NotRenderedCode = Literal["not-media", "format-not-supported", "no-picture-size", "too-many-pixels"]

MAX_VIDEO: Final = Size(width=1920, height=1080)
"""Largest transcoded picture, turned with it when upright: what a page shows; the original keeps the rest."""

POSTER_SIDE: Final = 640
THUMBNAIL_SIDE: Final = 512
POSTER_POSITION: Final = 0.1
"""Share of the duration where the poster is taken: past the first seconds, which often show a hand or a pocket."""

_BROWSER_PROFILES: Final = frozenset({"Baseline", "Constrained Baseline", "Main", "High"})
_BROWSER_PIX_FMTS: Final = frozenset({"yuv420p", "yuvj420p"})
_BROWSER_AAC: Final = frozenset({"LC", "HE-AAC", "HE-AACv2"})
_PHOTO_DEMUXERS: Final = {"image/jpeg": "jpeg_pipe", "image/png": "png_pipe"}
"""Named, not probed: ffmpeg's file name based picture reader would take a pattern for a series of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTrack:
    """The video of a playable copy. A copy keeps size and rotation; transcoded it has ``size`` and stands upright."""

    stream_index: int
    codec: Literal["copy", "h264"]
    size: Size
    rotation_deg: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioTrack:
    """The audio of a playable copy. ``channels`` is what it has when transcoded."""

    stream_index: int
    codec: Literal["copy", "aac"]
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Still:
    """One picture. ``orientation`` is EXIF's, to be undone; ``seek_s`` the place in a recording, None for its start."""

    size: Size
    stream_index: int = 0
    demuxer: str | None = None
    orientation: int = 1
    seek_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionPlan:
    """How one rendition (派生文件) is made: a still, or at least one track."""

    kind: RenditionKind
    method: RenditionMethod
    media_type: str
    suffix: str
    still: Still | None = None
    video: VideoTrack | None = None
    audio: AudioTrack | None = None
    duration_s: float | None = None
    timestamps_missing: bool = False

    def __post_init__(self) -> None:
        if (self.still is None) == (self.video is None and self.audio is None):
            raise ValueError("a plan makes either a still or tracks")

    @property
    def encodes_video(self) -> bool:
        """Whether it costs as much as the recording is long; everything else takes moments."""
        return self.video is not None and self.video.codec != "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRendered:
    """Why there is no rendition. ``code`` is stable, ``why`` one sentence."""

    kind: RenditionKind
    code: NotRenderedCode
    why: str


Decision = RenditionPlan | NotRendered


def plan_renditions(media_type: str, facts: MediaFacts | ExifFacts) -> tuple[Decision, ...]:
    """Everything that is made of an original: thumbnail of a photograph; playable copy and poster of a recording."""
    if isinstance(facts, ExifFacts):
        return (_plan_thumbnail(media_type, facts),)
    video = facts.first("video")
    if video is None:
        return (_plan_audio(facts),)
    size = _upright_size(video)
    if isinstance(size, Size):
        return (_plan_playable(facts, video, size), _plan_poster(facts, video, size))
    return (
        NotRendered(kind="playable", code=size, why=_WHY[size]),
        NotRendered(kind="poster", code=size, why=_WHY[size]),
    )


def attempts_of(plan: RenditionPlan) -> Iterator[RenditionPlan]:
    """The plan, then what to do if it fails.

    A poster falls back to the first frame, for recordings that cannot be sought in. A repackaged video falls back to
    transcoding, for streams that cannot be carried over as they are (H.264 in AVI without timestamps).
    """
    yield plan
    if plan.still is not None and plan.still.seek_s is not None:
        yield replace(plan, still=replace(plan.still, seek_s=None))
    elif plan.video is not None and plan.video.codec == "copy":
        audio = replace(plan.audio, codec="aac") if plan.audio else None
        yield replace(plan, method="transcode", video=replace(plan.video, codec="h264"), audio=audio)


def fit(size: Size, box: Size, *, even: bool = False) -> Size:
    """The largest size of the same shape inside ``box``, never larger than it was; ``even`` as 4:2:0 video needs."""
    scale = min(1.0, box.width / size.width, box.height / size.height)
    step = 2 if even else 1
    width, height = (max(step, round(side * scale) // step * step) for side in (size.width, size.height))
    return Size(width=width, height=height)


_WHY: Final[dict[NotRenderedCode, str]] = {
    "not-media": "the file has neither video nor audio",
    "format-not-supported": "pictures of this format cannot be read here",
    "no-picture-size": "the file does not say how large its picture is",
    "too-many-pixels": f"the picture has more than {MAX_PIXELS} pixels",
}


def _plan_playable(facts: MediaFacts, video: StreamFacts, upright: Size) -> RenditionPlan:
    audio = facts.first("audio")
    box = (
        MAX_VIDEO if upright.width >= upright.height else Size(width=MAX_VIDEO.height, height=MAX_VIDEO.width)
    )
    video_track = VideoTrack(
        stream_index=video.index,
        codec="copy" if _plays_video(video) else "h264",
        size=fit(upright, box, even=True),
        rotation_deg=video.rotation_deg,
    )
    audio_track = _audio_track(audio) if audio else None
    copies = video_track.codec == "copy" and (audio_track is None or audio_track.codec == "copy")
    return RenditionPlan(
        kind="playable",
        method="remux" if copies else "transcode",
        media_type="video/mp4",
        suffix=".mp4",
        video=video_track,
        audio=audio_track,
        duration_s=_duration(facts, video, audio),
        timestamps_missing="mov" not in facts.containers,
    )


def _plan_audio(facts: MediaFacts) -> Decision:
    audio = facts.first("audio")
    if audio is None:
        return NotRendered(kind="playable", code="not-media", why=_WHY["not-media"])
    copies = _is_browser_aac(audio)
    return RenditionPlan(
        kind="playable",
        method="remux" if copies else "transcode",
        media_type="audio/mp4",
        suffix=".m4a",
        audio=replace(_audio_track(audio), codec="copy" if copies else "aac"),
        duration_s=_duration(facts, audio),
        timestamps_missing="mov" not in facts.containers,
    )


def _plan_poster(facts: MediaFacts, video: StreamFacts, upright: Size) -> RenditionPlan:
    duration_s = _duration(facts, video)
    seek_s = round(POSTER_POSITION * duration_s, 3) if duration_s and duration_s >= 1 else None
    still = Still(
        size=fit(upright, Size(width=POSTER_SIDE, height=POSTER_SIDE)),
        stream_index=video.index,
        seek_s=seek_s,
    )
    return RenditionPlan(kind="poster", method="extract", media_type="image/jpeg", suffix=".jpg", still=still)


def _plan_thumbnail(media_type: str, facts: ExifFacts) -> Decision:
    demuxer = _PHOTO_DEMUXERS.get(media_type)
    size = _checked_size(facts.width, facts.height)
    if demuxer is None or not isinstance(size, Size):
        code: NotRenderedCode = "format-not-supported" if isinstance(size, Size) or demuxer is None else size
        return NotRendered(kind="thumbnail", code=code, why=_WHY[code])
    upright = _turned(size) if facts.orientation >= 5 else size
    still = Still(
        size=fit(upright, Size(width=THUMBNAIL_SIDE, height=THUMBNAIL_SIDE)),
        demuxer=demuxer,
        orientation=facts.orientation,
    )
    return RenditionPlan(
        kind="thumbnail", method="extract", media_type="image/jpeg", suffix=".jpg", still=still
    )


def _plays_video(video: StreamFacts) -> bool:
    return video.codec == "h264" and video.profile in _BROWSER_PROFILES and video.pix_fmt in _BROWSER_PIX_FMTS


def _is_browser_aac(audio: StreamFacts) -> bool:
    return audio.codec == "aac" and audio.profile in _BROWSER_AAC


def _audio_track(audio: StreamFacts) -> AudioTrack:
    plays = _is_browser_aac(audio) or audio.codec == "mp3"
    return AudioTrack(
        stream_index=audio.index, codec="copy" if plays else "aac", channels=min(2, audio.channels or 2)
    )


def _duration(facts: MediaFacts, *used: StreamFacts | None) -> float | None:
    """Of the streams that are used: the container's own also counts telemetry, which may go on longer."""
    return max((s.duration_s for s in used if s and s.duration_s is not None), default=facts.duration_s)


def _checked_size(width: int | None, height: int | None) -> Size | NotRenderedCode:
    if width is None or height is None:
        return "no-picture-size"
    size = Size(width=width, height=height)
    return size if size.pixels <= MAX_PIXELS else "too-many-pixels"


def _upright_size(video: StreamFacts) -> Size | NotRenderedCode:
    size = _checked_size(video.width, video.height)
    return _turned(size) if isinstance(size, Size) and video.rotation_deg in (90, 270) else size


def _turned(size: Size) -> Size:
    return Size(width=size.height, height=size.width)
