"""The folder of old footage: looked through and read, never written, no link followed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from collector.importing.errors import SourceError
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.limits import MAX_ORIGINAL_BYTES
from protocol.listing import check_raw_path, display_path
from protocol.media_types import HEAD_BYTES, media_type_of

_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A regular file. ``raw_path`` is relative to the folder; ``location`` is where to read it."""

    raw_path: bytes
    location: Path
    size_bytes: int
    modified_at: datetime | None

    @property
    def path(self) -> str:
        return display_path(self.raw_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """Something in the folder that is no file to import."""

    path: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file held when it was read from end to end."""

    digest: Digest
    size_bytes: int
    media_type: str
    read_started_at: datetime
    read_finished_at: datetime


def walk(folder: Path) -> Iterator[FoundFile | Oddity]:
    """Everything below ``folder`` in the order of raw paths. Raises SourceError if there is no such folder."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder")
    root = os.fsencode(folder)
    found = [(os.path.relpath(path, root), entry) for path, entry in _entries(root)]
    for raw_path, entry in sorted(found):
        yield _judge(raw_path, entry)


def _entries(folder: bytes) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)
            else:
                yield entry.path, entry


def _judge(raw_path: bytes, entry: os.DirEntry[bytes]) -> FoundFile | Oddity:
    facts = entry.stat(follow_symlinks=False)
    shown = display_path(raw_path)
    if not stat.S_ISREG(facts.st_mode):
        return Oddity(path=shown, code="not-a-file")
    if facts.st_size > MAX_ORIGINAL_BYTES:
        return Oddity(path=shown, code="file-too-large")
    try:
        check_raw_path(raw_path)
    except ProtocolError:
        return Oddity(path=shown, code="path-unusable")
    return FoundFile(
        raw_path=raw_path,
        location=Path(os.fsdecode(entry.path)),
        size_bytes=facts.st_size,
        modified_at=_time(facts.st_mtime_ns),
    )


def _time(nanoseconds: int) -> datetime | None:
    """Whole milliseconds; None where a file system tells of no year that there is."""
    try:
        moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.replace(microsecond=nanoseconds // 1_000_000 % 1000 * 1000)


def read_content(file: FoundFile) -> Content:
    """Read and hash the whole file. Raises OSError, also when it is no longer the file that was found."""
    started_at = datetime.now(UTC)
    hasher, size, head = hashlib.sha256(), 0, b""
    for block in blocks_of(file):
        head = head or block[:HEAD_BYTES]
        hasher.update(block)
        size += len(block)
    return Content(
        digest=Digest.sha256(hasher.hexdigest()),
        size_bytes=size,
        media_type=media_type_of(file.path, head),
        read_started_at=started_at,
        read_finished_at=datetime.now(UTC),
    )


def blocks_of(file: FoundFile) -> Iterator[bytes]:
    """The bytes of a file. Raises OSError."""
    descriptor = os.open(file.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{file.path} is no regular file any more")
        while block := os.read(descriptor, _BLOCK_BYTES):
            yield block
    finally:
        os.close(descriptor)
