"""ffmpeg's argument lists, built with ffmpeg-python. Pure.

Every list names files only as the sandbox shows them, so it can stand in a rendition's recipe and be repeated by
anybody. Output is bit-exact: the same original, plan and ffmpeg give the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

import ffmpeg

from agent.media.limits import MAX_PIXELS, THREADS
from agent.media.plan import RenditionPlan, Still
from agent.media.probe import FORMATS
from agent.media.sandbox import OUTPUT_FOLDER, inside_name

_Options: TypeAlias = dict[str, str | int | float | None]

_PROGRAM: Final = (
    *("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-progress", "pipe:1", "-y"),
    *("-filter_threads", "1", "-filter_complex_threads", "1"),
)

_X264: Final[_Options] = {
    "c:v": "libx264",
    "preset": "veryfast",
    "crf": 23,
    "profile:v": "high",
    "pix_fmt": "yuv420p",
}
"""CRF 23 at veryfast is hard to tell from the original on a page; the original remains what counts."""

_AAC: Final[_Options] = {"c:a": "aac", "b:a": "128k"}

_TURNS: Final = {
    1: (),
    2: ("hflip",),
    3: ("hflip", "vflip"),
    4: ("vflip",),
    5: ("transpose=cclock_flip",),
    6: ("transpose=clock",),
    7: ("transpose=clock_flip",),
    8: ("transpose=cclock",),
}
"""What shows a picture of each EXIF orientation upright (EXIF 2.32 §4.6.4, tag 274)."""


def output_name(plan: RenditionPlan) -> str:
    """The name ffmpeg writes to inside the output folder."""
    return plan.kind + plan.suffix


def render_command(plan: RenditionPlan, original: Path) -> list[str]:
    """ffmpeg's arguments for a plan and an original."""
    target = f"{OUTPUT_FOLDER}/{output_name(plan)}"
    output = _still(plan.still, original, target) if plan.still else _playable(plan, original, target)
    return [str(argument) for argument in ffmpeg.compile(output, cmd=list(_PROGRAM))]


def _input_options(formats: str = FORMATS) -> _Options:
    return {
        "protocol_whitelist": "file",
        "format_whitelist": formats,
        "max_pixels": MAX_PIXELS,
        "threads": THREADS,
    }


def _output_options() -> _Options:
    """No metadata is carried: times and places of the original are signed facts, not decoration of a copy."""
    return {"map_metadata": -1, "map_chapters": -1, "fflags": "+bitexact", "threads": THREADS}


def _playable(plan: RenditionPlan, original: Path, target: str) -> object:
    options = _input_options()
    if plan.timestamps_missing:
        options["fflags"] = "+genpts"  # AVI has none, streams cut from the air lack some; MP4 must have them
    source = ffmpeg.input(inside_name(original), **options)
    streams: list[object] = []
    output = _output_options() | {"format": "mp4", "movflags": "+faststart", "write_tmcd": 0}
    if plan.video is not None:
        video = source[str(plan.video.stream_index)]
        if plan.video.codec == "copy":
            output["c:v"] = "copy"
        else:
            # ffmpeg has turned the picture upright before our filter and drops the rotation it has used.
            video = video.filter("scale", plan.video.size.width, plan.video.size.height)
            output |= _X264 | {"flags:v": "+bitexact"}
        streams.append(video)
    if plan.audio is not None:
        streams.append(source[str(plan.audio.stream_index)])
        is_copy = plan.audio.codec == "copy"
        output |= {"c:a": "copy"} if is_copy else _AAC | {"ac": plan.audio.channels, "flags:a": "+bitexact"}
    return ffmpeg.output(*streams, target, **output)


def _still(still: Still, original: Path, target: str) -> object:
    picture = ffmpeg.input(inside_name(original), **_still_input_options(still))[str(still.stream_index)]
    for name, *arguments in (turn.split("=") for turn in _TURNS[still.orientation]):
        picture = picture.filter(name, *arguments)
    picture = picture.filter("scale", still.size.width, still.size.height, flags="area")
    picture = picture.filter("format", "yuvj420p")
    output = _output_options() | {"format": "image2", "update": 1, "c:v": "mjpeg", "q:v": 4, "frames:v": 1}
    return ffmpeg.output(picture, target, **output, **{"flags:v": "+bitexact"})


def _still_input_options(still: Still) -> _Options:
    if still.demuxer is not None:
        # The turn is ours: whether ffmpeg does it itself for pictures depends on its version.
        return _input_options(still.demuxer) | {"format": still.demuxer, "noautorotate": None}
    if still.seek_s is None:
        return _input_options()
    return _input_options() | {"ss": still.seek_s, "noaccurate_seek": None, "skip_frame": "nokey"}
