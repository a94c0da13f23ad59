"""A request body on its way to disk: the loop fills one buffer while a worker thread empties the other.

Memory is bounded by the pool, whatever the body; buffers are page-aligned and used again, because fresh large
ones cost more in page faults than hashing costs.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from collector.files import BLOCK_BYTES
from collector.http.bodies import Body
from protocol.upload_errors import TooLargeError

MAX_BODIES: Final = 32
"""Bodies received at a time; each holds two buffers, together at most 64 MiB. Further ones wait their turn."""

MAX_BODIES_OF_ONE: Final = 8
"""Of them one sender's: a station uploads six at a time, and one that only trickles must leave room for others."""

Write = Callable[[memoryview], Awaitable[None]]


class BufferPool:
    """Pairs of buffers, made when first needed and kept."""

    def __init__(self, max_bodies: int = MAX_BODIES, max_bodies_of_one: int = MAX_BODIES_OF_ONE) -> None:
        self._left = max_bodies
        self._of_one = max_bodies_of_one
        self._held: Counter[str] = Counter()
        self._given_back = asyncio.Condition()
        self._free: list[memoryview] = []

    @asynccontextmanager
    async def pair(self, owner: str) -> AsyncIterator[tuple[memoryview, memoryview]]:
        """Two buffers of BLOCK_BYTES; waits while all are in use, or too many by this owner."""
        async with self._given_back:
            await self._given_back.wait_for(lambda: self._left > 0 and self._held[owner] < self._of_one)
            self._left -= 1
            self._held[owner] += 1
        pair = self._borrow(), self._borrow()
        try:
            yield pair
        finally:
            self._free.extend(pair)
            self._left += 1
            self._held -= Counter({owner: 1})  # and forgets owners that hold none
            await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._given_back:
            self._given_back.notify_all()

    def _borrow(self) -> memoryview:
        return self._free.pop() if self._free else memoryview(mmap.mmap(-1, BLOCK_BYTES))


async def receive(
    body: Body, write: Write, buffers: BufferPool, *, owner: str, start_bytes: int, room_bytes: int
) -> Exception | None:
    """Hands the body to ``write`` in blocks that end on multiples of BLOCK_BYTES of the file, ``start_bytes`` being
    where it begins. Returns what cut the body short (a TooLargeError once it outgrew ``room_bytes``), or None at
    its proper end. Whatever had arrived is written. Raises what ``write`` raises; then no more is read."""
    writing: asyncio.Future[None] | None = None
    async with buffers.pair(owner) as (filling, emptying):
        body.begin()
        want = BLOCK_BYTES - start_bytes % BLOCK_BYTES
        try:
            while size := await body.fill(filling[:want]):
                room_bytes -= size
                if room_bytes < 0:
                    return TooLargeError("the body outgrew the length of the upload")
                if writing:
                    await writing
                writing = asyncio.ensure_future(write(filling[:size]))
                filling, emptying = emptying, filling
                want = BLOCK_BYTES
        finally:
            if writing:
                await writing
    return body.cut
