"""Footage for the demo: two recorders' cards made with ffmpeg, small but of the kinds real recorders write.

Card one names its files the N1 way (product, officer, time) and holds H.264 with AAC, H.265, audio and a photo;
card two is a DCF camera with a video whose index stands at the end and photos.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

_SECONDS: Final = 5
_PICTURE: Final = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25")
_SOUND: Final = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000")
_H264: Final = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
_H265: Final = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=error",
    "-tag:v",
    "hvc1",
)
_AAC: Final = ("-c:a", "aac", "-b:a", "96k")


def make_cards(folder: Path, now: datetime) -> list[Path]:
    """Make both cards below ``folder``; ``now`` is the local time the newest clip was shot. Returns their folders."""
    name_card, camera_card = folder / "ZFY0001", folder / "CAMERA_02"
    _make_name_card(name_card, now)
    _make_camera_card(camera_card)
    return [name_card, camera_card]


def _make_name_card(card: Path, now: datetime) -> None:
    def name(minutes_ago: int, suffix: str) -> Path:
        shot = now - timedelta(minutes=minutes_ago)
        return card / f"ZFY0001_031415_{shot:%Y%m%d%H%M%S}.{suffix}"

    card.mkdir(parents=True)
    _ffmpeg(*_PICTURE, *_SOUND, *_H264, *_AAC, "-t", str(_SECONDS), out=name(42, "mp4"))
    _ffmpeg(*_PICTURE, *_SOUND, *_H265, *_AAC, "-t", str(_SECONDS), out=name(31, "mp4"))
    _ffmpeg(*_SOUND, "-t", str(_SECONDS), "-c:a", "pcm_s16le", out=name(12, "wav"))
    _ffmpeg(*_PICTURE, "-frames:v", "1", "-q:v", "3", out=name(11, "jpg"))


def _make_camera_card(card: Path) -> None:
    images = card / "DCIM" / "100MEDIA"
    images.mkdir(parents=True)
    _ffmpeg(*_PICTURE, *_SOUND, *_H264, *_AAC, "-t", str(_SECONDS), out=images / "MEDI0001.MOV")
    for number in (2, 3):
        _ffmpeg(
            *_PICTURE, "-ss", str(number), "-frames:v", "1", "-q:v", "3", out=images / f"MEDI{number:04}.JPG"
        )


def _ffmpeg(*arguments: str, out: Path) -> None:
    command: Sequence[str] = ("ffmpeg", "-nostdin", "-loglevel", "error", "-y", *arguments, str(out))
    subprocess.run(command, check=True)
