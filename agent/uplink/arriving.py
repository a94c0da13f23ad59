"""One request's body from a source that may still be growing: piece by piece, as the bytes come in.

A part is announced with its whole length before all of it can be read: one connection carries a file for as long as
its recorder gives it. Whoever asks for pieces is a thread of its own; whether there are more is asked of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol

from agent.uplink.errors import SourceError
from agent.uplink.sources import OpenSource

ASK_AGAIN_S: Final = 0.5
"""Within so long a thread that waits for bytes notices that nobody wants them any more."""


class Arriving(Protocol):
    """A source, as far as it is asked here; see ``tus.Source``."""

    @property
    def name(self) -> str: ...

    @property
    def is_whole(self) -> bool: ...

    async def wait_beyond(self, offset_bytes: int) -> int: ...


def arriving_pieces(
    source: Arriving, reader: OpenSource, start: int, end: int, loop: asyncio.AbstractEventLoop
) -> Iterator[memoryview]:
    """The bytes from ``start`` to ``end``; an empty piece now and then while there are none. For a thread, while
    ``loop`` runs. Raises SourceError, and what ``source.wait_beyond`` raises."""
    while start < end:
        ready = end if source.is_whole else _readable(source, start, loop)
        if ready == start:
            yield memoryview(b"")
            continue
        for piece in reader.pieces(start, min(ready, end)):
            yield piece
            start += len(piece)


def _readable(source: Arriving, start: int, loop: asyncio.AbstractEventLoop) -> int:
    """Up to where it can be read; ``start`` when that is not known yet."""
    ready = asyncio.run_coroutine_threadsafe(_beyond(source, start), loop).result()
    if ready is None:
        return start
    if ready <= start:
        raise SourceError(f"{source.name} ends at byte {ready}, before its size")
    return ready


async def _beyond(source: Arriving, start: int) -> int | None:
    try:
        async with asyncio.timeout(ASK_AGAIN_S):
            return await source.wait_beyond(start)
    except TimeoutError:
        return None
