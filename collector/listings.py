"""Listings as the catalogue reads them: from the object store on the event loop, into its worker thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from collector.objects import ObjectClass, ObjectStore
from protocol.digest import Digest
from protocol.listing import ListingRow, parse_listing


class ListingBlobs:
    """A ``ListingReader`` for worker threads of ``loop``; calling it on the loop itself would wait for ever."""

    def __init__(self, objects: ObjectStore, loop: asyncio.AbstractEventLoop) -> None:
        self._objects = objects
        self._loop = loop

    def __call__(self, agency: str, digest: Digest) -> Iterator[ListingRow]:
        """The rows of a stored listing. Raises CollectorError and ProtocolError."""
        return parse_listing(self._blocks(agency, digest))

    def _blocks(self, agency: str, digest: Digest) -> Iterator[bytes]:
        blocks = self._objects.open_range(agency, ObjectClass.LISTINGS, digest)
        while (block := self._next(blocks)) is not None:
            yield block

    def _next(self, blocks: AsyncIterator[bytes]) -> bytes | None:
        return asyncio.run_coroutine_threadsafe(_next_or_none(blocks), self._loop).result()


async def _next_or_none(blocks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(blocks, None)
