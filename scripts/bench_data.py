"""The data sets of the bench: files as recorders write them, each with its own digest, made once and used again.

``scale`` says how many files there are; each is as large as the bars mean it. Clips are H.264 in MP4: one piece of
encoded footage repeated to full length, so that making 4 GB takes a minute and not an hour. Photos are JPEG; each
differs from the others by a comment behind its first marker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

_MB: Final = 1_000_000
_CLIP_BYTES: Final = 100 * _MB
_DIFFERENCE_BYTES: Final = 64_000
"""Each clip is shorter than the one before by more than a frame, so that no two are the same."""

_PHOTO_BYTES: Final = 200_000
_COMMENT_BYTES: Final = 64
_PHOTOS_IN_FOLDER: Final = 1000
_FIRST_SHOT: Final = datetime(2026, 3, 2, 8, 0, 0)  # noqa: DTZ001 - what a recorder's clock shows
_SEED_SECONDS: Final = 10
_SEED_MBIT: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Files below one folder, which is docked as a volume and given to the peers; ``paths``: only these of them."""

    name: str
    folder: Path
    paths: Sequence[Path] = ()

    @property
    def files(self) -> Sequence[Path]:
        return self.paths or sorted(path for path in self.folder.rglob("*") if path.is_file())

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)


def clips(root: Path, *, scale: float) -> DataSet:
    """``scale`` × 40 clips of 100 MB."""
    count = max(2, round(40 * scale))

    def make(folder: Path) -> None:
        seed = folder / "seed.mp4"
        _make_seed(seed, _SEED_SECONDS)
        repeats = _CLIP_BYTES // seed.stat().st_size
        for number in range(count):
            _repeat(seed, repeats, folder / _clip_name(number), _CLIP_BYTES - number * _DIFFERENCE_BYTES)
        seed.unlink()

    return _made(root, f"clips-{count}", make)


def footage(root: Path, *, seconds: int) -> DataSet:
    """One clip of so many seconds, 1080p with 30 pictures a second."""
    return _made(root, f"footage-{seconds}s", lambda folder: _make_seed(folder / _clip_name(0), seconds))


def photos(root: Path, *, scale: float) -> DataSet:
    """``scale`` × 20,000 photos of 200 KB."""
    count = max(10, round(20_000 * scale))

    def make(folder: Path) -> None:
        picture = _make_picture(folder / "picture.jpg")
        for number in range(count):
            images = folder / "DCIM" / f"{100 + number // _PHOTOS_IN_FOLDER}MEDIA"
            images.mkdir(parents=True, exist_ok=True)
            name = f"MEDI{number % _PHOTOS_IN_FOLDER:04}.JPG"
            (images / name).write_bytes(_numbered(picture, number))

    return _made(root, f"photos-{count}-200kb", make)


def one_clip(root: Path, *, size_bytes: int) -> DataSet:
    """One sparse file: nothing to store, everything to read."""

    def make(folder: Path) -> None:
        with open(folder / _clip_name(0), "wb") as file:
            file.truncate(size_bytes)

    return _made(root, f"one-clip-{size_bytes // _MB}mb", make)


def _made(root: Path, name: str, make: Callable[[Path], None]) -> DataSet:
    folder = root / name
    if not folder.exists():
        scratch = root / f".{name}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        make(scratch)
        os.sync()
        scratch.rename(folder)
    return DataSet(name=name, folder=folder)


def _clip_name(number: int) -> str:
    shot = _FIRST_SHOT + timedelta(minutes=number)
    return f"ZFY0001_031415_{shot:%Y%m%d%H%M%S}.mp4"


def _make_seed(path: Path, seconds: int) -> None:
    """Noise over a test picture: the encoder reaches the bit rate of a recorder."""
    _ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=30,noise=alls=20:allf=t",
        "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
        "-t", str(seconds), "-c:v", "libx264", "-preset", "ultrafast", "-b:v", f"{_SEED_MBIT}M",
        "-maxrate", f"{_SEED_MBIT}M", "-bufsize", f"{_SEED_MBIT}M", "-pix_fmt", "yuv420p",
        "-c:a", "aac", "-b:a", "96k", str(path),
    )  # fmt: skip


def _repeat(seed: Path, repeats: int, target: Path, size_bytes: int) -> None:
    _ffmpeg(
        "-stream_loop", str(repeats), "-i", str(seed), "-c", "copy", "-fs", str(size_bytes), str(target),
    )  # fmt: skip


def _make_picture(path: Path) -> bytes:
    """The finest quality of noise that fits, made as large as wanted by what decoders ignore behind the end marker."""
    room = _PHOTO_BYTES - _COMMENT_BYTES
    for quality in range(2, 32):
        _ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=1280x720,noise=alls=20", "-frames:v", "1",
            "-q:v", str(quality), str(path),
        )  # fmt: skip
        picture = path.read_bytes()
        path.unlink()
        if len(picture) <= room:
            return picture + os.urandom(room - len(picture))
    raise ValueError(f"no quality makes a picture of {room} bytes")


def _numbered(picture: bytes, number: int) -> bytes:
    comment = f"photo {number:08}".encode().ljust(_COMMENT_BYTES - 4)
    marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return picture[:2] + marker + picture[2:]


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(("ffmpeg", "-nostdin", "-loglevel", "error", "-y", *arguments), check=True)
