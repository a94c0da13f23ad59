"""A request body on its way to disk: the loop fills one buffer while a worker thread empties the other.

Memory is bounded by the pool, whatever the body; buffers are page-aligned and used again, because fresh large
ones cost more in page faults than hashing costs.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from collector.files import BLOCK_BYTES
from protocol.upload_errors import TooLargeError

MAX_BODIES: Final = 32
"""Bodies received at a time; each holds two buffers, together at most 64 MiB. Further ones wait their turn."""

IDLE_TIMEOUT_S: Final = 60.0
"""A body silent for so long counts as cut: a dead connection must not keep its buffers."""

Write = Callable[[memoryview], Awaitable[None]]


class Source(Protocol):
    """Where the body comes from: aiohttp's StreamReader."""

    async def readany(self) -> bytes:
        """Some bytes, or none at the end of the body."""


class BufferPool:
    """Pairs of buffers, made when first needed and kept."""

    def __init__(self, max_bodies: int = MAX_BODIES) -> None:
        self._permits = asyncio.Semaphore(max_bodies)
        self._free: list[memoryview] = []

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[memoryview, memoryview]]:
        """Two buffers of BLOCK_BYTES; waits while all are in use."""
        async with self._permits:
            pair = self._borrow(), self._borrow()
            try:
                yield pair
            finally:
                self._free.extend(pair)

    def _borrow(self) -> memoryview:
        return self._free.pop() if self._free else memoryview(mmap.mmap(-1, BLOCK_BYTES))


async def receive(
    source: Source, write: Write, buffers: BufferPool, *, start_bytes: int, room_bytes: int
) -> Exception | None:
    """Hands the body to ``write`` in blocks that end on multiples of BLOCK_BYTES of the file, ``start_bytes`` being
    where it begins. Returns what cut the body short (a TooLargeError once it outgrew ``room_bytes``), or None at
    its proper end. Whatever had arrived is written. Raises what ``write`` raises; then no more is read."""
    body = _Body(source, room_bytes)
    writing: asyncio.Future[None] | None = None
    async with buffers.pair() as (filling, emptying):
        want = BLOCK_BYTES - start_bytes % BLOCK_BYTES
        try:
            while size := await body.fill(filling[:want]):
                if writing:
                    await writing
                writing = asyncio.ensure_future(write(filling[:size]))
                filling, emptying = emptying, filling
                want = BLOCK_BYTES
        finally:
            if writing:
                await writing
    return body.cut


class _Body:
    def __init__(self, source: Source, room_bytes: int) -> None:
        self.cut: Exception | None = None
        self._source = source
        self._room = room_bytes
        self._rest = memoryview(b"")
        self._ended = False

    async def fill(self, buffer: memoryview) -> int:
        """Bytes put into ``buffer``; fewer than it holds only at the end."""
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                self._rest = memoryview(await self._next())
                if not self._rest:
                    break
            size = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + size] = self._rest[:size]
            self._rest = self._rest[size:]
            filled += size
        return filled

    async def _next(self) -> bytes:
        if self._ended:
            return b""
        chunk = await self._read()
        self._ended = not chunk
        self._room -= len(chunk)
        if self._room < 0:
            self.cut, self._ended = TooLargeError("the body outgrew the length of the upload"), True
            return b""
        return chunk

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                return await self._source.readany()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # A stopping server puts this exception into the body: not we are cancelled, the body is.
            self.cut = ConnectionAbortedError("the server stopped reading")
        except Exception as error:
            self.cut = error
        return b""
