"""Makes small recordings and photographs with ffmpeg, and looks at renditions with it. For tests only: no sandbox."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

Rgb = tuple[int, int, int]

CORNERS: Mapping[str, Rgb] = {
    "top left": (220, 30, 30),
    "top right": (30, 200, 30),
    "bottom left": (30, 30, 220),
    "bottom right": (220, 220, 220),
}
"""Colours of the test photograph's quarters: no turn or mirroring of it looks like another."""

_SIDES = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "LT", 6: "RT", 7: "RB", 8: "LB"}
"""EXIF's definition of orientation: which side of the scene the stored row 0 and column 0 show."""


def ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    """Run ffmpeg and return its standard output."""
    command = [
        "ffmpeg",
        "-nostdin" if stdin is None else "-y",
        "-y",
        "-loglevel",
        "error",
        *map(str, arguments),
    ]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def make_video(
    target: Path, *codec: str, size: str = "320x240", seconds: int = 2, audio: bool = True
) -> Path:
    """A moving test picture with a tone; ``codec`` are ffmpeg's output options."""
    sound = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}") if audio else ()
    picture = ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=10:duration={seconds}")
    ffmpeg(*picture, *sound, *codec, target)
    return target


def make_h264(target: Path, *more: str, seconds: int = 2) -> Path:
    return make_video(
        target,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "5",
        *more,
        seconds=seconds,
    )


def make_tone(target: Path, *codec: str, seconds: int = 2) -> Path:
    ffmpeg("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}", *codec, target)
    return target


def photograph(orientation: int = 1, *, width: int = 96, height: int = 64) -> bytes:
    """A JPEG that shows the scene of ``CORNERS`` as a camera held that way stores it; without EXIF."""
    stored = _stored(_scene(width, height), orientation)
    raw = b"".join(bytes(pixel) for row in stored for pixel in row)
    size = f"{len(stored[0])}x{len(stored)}"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-i", "pipe:0")
    return ffmpeg(*source, "-frames:v", "1", "-q:v", "2", "-f", "mjpeg", "pipe:1", stdin=raw)


def corners_of(picture: Path) -> dict[str, str]:
    """For each corner of a picture, the name of the scene's corner whose colour it shows."""
    raw = ffmpeg("-noautorotate", "-i", picture, "-frames:v", "1", "-vf", "scale=4:4:flags=area",
                 "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1")  # fmt: skip
    places = {"top left": 0, "top right": 3, "bottom left": 12, "bottom right": 15}
    return {name: _nearest(tuple(raw[3 * at : 3 * at + 3])) for name, at in places.items()}


def ffprobe(path: Path) -> dict[str, object]:
    """Everything ffprobe says about a file."""
    command = [
        "ffprobe",
        "-loglevel",
        "error",
        "-print_format",
        "json",
        "-show_format",
        "-show_streams",
        str(path),
    ]
    document = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert isinstance(document, dict)
    return document


def _scene(width: int, height: int) -> list[list[Rgb]]:
    return [
        [
            CORNERS[f"{'top' if y < height // 2 else 'bottom'} {'left' if x < width // 2 else 'right'}"]
            for x in range(width)
        ]
        for y in range(height)
    ]


def _stored(scene: list[list[Rgb]], orientation: int) -> list[list[Rgb]]:
    """Rows and columns in the order the definition of the orientation names them."""
    row_side, column_side = _SIDES[orientation][0], _SIDES[orientation][1]
    if row_side in "LR":
        scene = [list(column) for column in zip(*scene, strict=True)]
    if row_side in "BR":
        scene = scene[::-1]
    return [row[::-1] for row in scene] if column_side in "BR" else scene


def _nearest(colour: tuple[int, ...]) -> str:
    return min(
        CORNERS, key=lambda name: sum((a - b) ** 2 for a, b in zip(CORNERS[name], colour, strict=True))
    )
