"""What is read for an upload: one file of the spool, or a bundle made of many while it is sent. Blocking code.

Reads go past the page cache, where the file system knows how: nobody needs those pages again, and the cache would cost
more than the disk. A bundle never exists on disk or whole in memory: any piece of it is made from its members' files,
and its bytes follow from its members alone, so that it can be continued at any byte after a restart.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.uplink.errors import SourceError
from protocol.bundle import BundleLayout, Member, Span

PIECE_BYTES: Final = 1024 * 1024
"""One read. Direct reads gain nothing above it, memory stays flat."""

_BLOCK_BYTES: Final = 4096
"""Direct reads begin and end at multiples of it on every common disk."""


class OpenSource(Protocol):
    """A source being read, by one thread at a time."""

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from ``start`` to ``end``, in one buffer that is used again and again. Raises SourceError."""

    def close(self) -> None: ...


Recent = Callable[[int, memoryview], int]
"""Puts bytes from an offset on into a buffer, if they are at hand in memory: how many, or 0."""


class OpenFile:
    """One file, opened at its first read. What ``recent`` has is not read from it."""

    def __init__(self, path: Path, recent: Recent | None = None) -> None:
        self._path = path
        self._recent = recent
        self._file = -1
        self._buffer: memoryview | None = None

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """See ``OpenSource``."""
        while start < end:
            piece = self._read(start, end)
            if not piece:
                raise SourceError(f"{self._path.name} ends at byte {start}, before its size")
            yield piece
            start += len(piece)

    def _read(self, start: int, end: int) -> memoryview:
        """Direct reads begin and end at whole blocks, also where the upload goes on in the middle of one."""
        before = start % _BLOCK_BYTES
        try:
            if self._file < 0:
                self._file = _open_direct(self._path)
            if self._buffer is None:
                self._buffer = memoryview(mmap.mmap(-1, PIECE_BYTES))
            if self._recent is not None and (count := self._recent(start, self._buffer[: end - start])):
                return self._buffer[:count]
            got = os.preadv(self._file, [self._buffer], start - before)
        except OSError as error:
            raise SourceError(f"{self._path.name} cannot be read: {error.strerror}") from error
        return self._buffer[before : min(got, before + end - start)]

    def close(self) -> None:
        """Also when nothing was read."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeFile:
    """A finished file of the spool."""

    path: Path
    size_bytes: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_whole(self) -> bool:
        return True

    async def wait_beyond(self, offset_bytes: int) -> int:
        return self.size_bytes

    def open(self) -> OpenFile:
        return OpenFile(self.path)


class BundleSource:
    """Finished files of the spool as one bundle. ``paths`` stand beside ``members``."""

    def __init__(self, name: str, members: Sequence[Member], paths: Sequence[Path]) -> None:
        self.name = name
        self._layout = BundleLayout(members)
        self._paths = paths

    @property
    def size_bytes(self) -> int:
        return self._layout.size_bytes

    @property
    def is_whole(self) -> bool:
        return True

    async def wait_beyond(self, offset_bytes: int) -> int:
        return self.size_bytes

    def open(self) -> OpenBundle:
        return OpenBundle(self._layout, self._paths)


class OpenBundle:
    """Makes a bundle piece by piece: a member's bytes with what stands before them, in place, without copying."""

    def __init__(self, layout: BundleLayout, paths: Sequence[Path]) -> None:
        self._layout = layout
        self._paths = paths
        self._buffer: memoryview | None = None

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """See ``OpenSource``."""
        left = end - start
        for piece in self._unbounded(start):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    def _unbounded(self, start: int) -> Iterator[memoryview]:
        own = b""
        for piece in self._layout.pieces(start):
            if isinstance(piece, Span):
                yield from self._read_span(piece, own)
                own = b""
            else:
                own += piece
        yield memoryview(own)

    def _read_span(self, span: Span, own: bytes) -> Iterator[memoryview]:
        path = self._paths[span.member]
        try:
            descriptor = _open_direct(path)
            try:
                yield from self._read(descriptor, span, own)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SourceError(f"{path.name} cannot be read: {error.strerror or error}") from error

    def _read(self, descriptor: int, span: Span, own: bytes) -> Iterator[memoryview]:
        """Whole blocks are read to whole blocks of the buffer, behind one that is left free for ``own``: less than two
        headers, the filling of the member before and the header of this one."""
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, PIECE_BYTES + _BLOCK_BYTES))
        start = span.start
        while start < span.end:
            before = start % _BLOCK_BYTES
            wanted = (
                -(-(before + span.end - start) // _BLOCK_BYTES) * _BLOCK_BYTES
            )  # beyond, zeros would be made
            view = self._buffer[_BLOCK_BYTES : _BLOCK_BYTES + wanted]
            got = os.preadv(descriptor, [view], start - before)
            count = min(got - before, span.end - start)
            if count <= 0:
                raise OSError(f"it ends at byte {start}, before its size")
            first = _BLOCK_BYTES + before
            self._buffer[first - len(own) : first] = own
            yield self._buffer[first - len(own) : first + count]
            own = b""
            start += count

    def close(self) -> None:
        """Nothing stays open between two pieces."""


def _open_direct(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: this file system has no direct reads
            raise
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
