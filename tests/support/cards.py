"""Recorders' cards for end-to-end tests: folders with files named by rule N1, of arbitrary or real content."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
_NEWEST: Final = datetime(2026, 3, 4, 17, 30)  # noqa: DTZ001 - recorders write local time without a zone


def clip_name(recorder: str, minutes_ago: int, suffix: str = "mp4") -> str:
    """A name of rule N1. Newest files are read first."""
    shot = _NEWEST - timedelta(minutes=minutes_ago)
    return f"{recorder}_031415_{shot:%Y%m%d%H%M%S}.{suffix}"


def write_noise(path: Path, size_bytes: int, chance: random.Random) -> Path:
    """Bytes that no two files share."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size_bytes, MIB):
            file.write(chance.randbytes(min(MIB, size_bytes - start)))
    return path


def make_card(folder: Path, sizes_bytes: list[int], *, seed: int, recorder: str = "ZFY0001") -> Path:
    """A card with one clip of noise for each size, the first one the newest."""
    chance = random.Random(seed)
    for minutes_ago, size_bytes in enumerate(sizes_bytes):
        write_noise(folder / clip_name(recorder, minutes_ago), size_bytes, chance)
    return folder


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(card: Path) -> Counter[tuple[str, str]]:
    """Every file of a card, as (path, SHA-256)."""
    return Counter(
        (path.relative_to(card).as_posix(), sha256_of(path)) for path in card.rglob("*") if path.is_file()
    )
