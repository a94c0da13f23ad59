"""Listings as the catalogue reads them: from the object store on the event loop, into its worker thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

from collector.errors import ObjectCorruptError, ObjectMissingError
from collector.objects import ObjectClass, ObjectStore
from protocol.digest import Digest
from protocol.errors import DigestMismatchError
from protocol.listing import ListingRow, parse_listing


class ListingBlobs:
    """A ``ListingReader`` for worker threads of ``loop``; calling it on the loop itself would wait for ever."""

    def __init__(self, objects: ObjectStore, loop: asyncio.AbstractEventLoop) -> None:
        self._objects = objects
        self._loop = loop

    def __call__(self, agency: str, digest: Digest) -> Iterator[ListingRow]:
        """The rows of a stored listing. Raises StorageError, which may pass, and ProtocolError for bytes that are no
        listing or no longer the stored one: one lost listing must not keep the log from being read."""
        return parse_listing(self._blocks(agency, digest))

    def _blocks(self, agency: str, digest: Digest) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        blocks = self._objects.open_range(agency, ObjectClass.LISTINGS, digest)
        while (block := self._next(blocks, digest)) is not None:
            hasher.update(block)
            yield block
        if hasher.hexdigest() != digest.hex:
            raise _lost(digest, f"sha256:{hasher.hexdigest()}")

    def _next(self, blocks: AsyncIterator[bytes], digest: Digest) -> bytes | None:
        try:
            return asyncio.run_coroutine_threadsafe(_next_or_none(blocks), self._loop).result()
        except (ObjectMissingError, ObjectCorruptError) as error:
            raise _lost(digest, error.code) from error


async def _next_or_none(blocks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(blocks, None)


def _lost(digest: Digest, actual: str) -> DigestMismatchError:
    return DigestMismatchError("a stored listing is lost", expected=str(digest), actual=actual)
