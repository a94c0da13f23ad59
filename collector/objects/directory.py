"""The object store on a local file system: ``<root>/<agency>/<class>/<aa>/<bb>/<hex>``, in worker threads of the loop;
``folder`` says in which order things become durable there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from collector.errors import CollectorError, ObjectCorruptError, ObjectMissingError
from collector.files import BLOCK_BYTES, Files
from collector.objects import Adoption, AdoptionError, ObjectClass, ObjectStat, Place
from collector.objects.folder import ObjectFolder, check_stored, object_path
from protocol.digest import Digest

__all__ = ["DirectoryObjectStore", "object_path"]


class DirectoryObjectStore:
    """``ObjectStore`` in a directory, which belongs to this store alone. ``immutable`` asks for the immutable flag on
    objects put one by one, best effort; see also ``seal``."""

    def __init__(self, files: Files, root: Path, *, immutable: bool = False) -> None:
        self._files = files
        self._folder = ObjectFolder(files, root)
        self._immutable = immutable

    async def put_bytes(self, agency: str, cls: ObjectClass, data: bytes) -> Digest:
        place = (agency, cls, Digest.of(data))
        await asyncio.to_thread(self._folder.put, place, data)
        if self._immutable:
            await self.seal(*place)
        return place[2]

    async def put_all(
        self, cls: ObjectClass, items: Sequence[tuple[str, bytes]]
    ) -> list[CollectorError | None]:
        placed = [((agency, cls, Digest.of(data)), data) for agency, data in items]
        return await asyncio.to_thread(self._folder.put_group, placed)

    async def adopt(
        self, staged_path: Path, agency: str, cls: ObjectClass, expected: Digest, size_bytes: int
    ) -> None:
        item = Adoption(path=staged_path, place=(agency, cls, expected), size_bytes=size_bytes)
        await asyncio.to_thread(self._folder.adopt, item)

    async def adopt_all(self, adoptions: Sequence[Adoption]) -> list[AdoptionError | None]:
        return await asyncio.to_thread(self._folder.adopt_group, adoptions)

    async def sizes(self, places: Sequence[Place]) -> list[int | None]:
        return await asyncio.to_thread(self._folder.sizes, places)

    async def open_range(
        self,
        agency: str,
        cls: ObjectClass,
        digest: Digest,
        offset_bytes: int = 0,
        size_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        place = (agency, cls, digest)
        left = await asyncio.to_thread(self._folder.size, place) - offset_bytes
        left = left if size_bytes is None else min(left, size_bytes)
        while left > 0:
            block = await asyncio.to_thread(
                self._folder.read_block, place, offset_bytes, min(left, BLOCK_BYTES)
            )
            if not block:
                raise ObjectCorruptError("an object ends early", expected=str(digest), actual="fewer bytes")
            yield block
            offset_bytes += len(block)
            left -= len(block)

    async def read(self, agency: str, cls: ObjectClass, digest: Digest) -> bytes:
        data = b"".join([block async for block in self.open_range(agency, cls, digest)])
        check_stored(digest, Digest.of(data))
        return data

    async def read_all(self, places: Sequence[Place]) -> list[bytes | CollectorError]:
        return await asyncio.to_thread(self._folder.read_all, places)

    async def stat(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        return ObjectStat(size_bytes=await asyncio.to_thread(self._folder.size, (agency, cls, digest)))

    async def exists(self, agency: str, cls: ObjectClass, digest: Digest) -> bool:
        try:
            await self.stat(agency, cls, digest)
        except ObjectMissingError:
            return False
        return True

    async def verify(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        return ObjectStat(size_bytes=await asyncio.to_thread(self._folder.verify, (agency, cls, digest)))

    async def confirm(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        return ObjectStat(size_bytes=await asyncio.to_thread(self._folder.confirm, (agency, cls, digest)))

    async def set_aside(self, agency: str, cls: ObjectClass, digest: Digest) -> None:
        await asyncio.to_thread(self._folder.set_aside, (agency, cls, digest))

    async def iterate(self, agency: str, cls: ObjectClass) -> AsyncIterator[Digest]:
        found = self._folder.names(agency, cls)
        while (digest := await asyncio.to_thread(next, found, None)) is not None:
            yield digest

    async def seal(self, agency: str, cls: ObjectClass, digest: Digest) -> bool:
        """Sets the immutable flag, best effort; says whether it is set. Only once no other name of the file is
        left to remove: an immutable file keeps them all."""
        return await asyncio.to_thread(self._files.make_immutable, self._folder.path((agency, cls, digest)))

    def sweep(self) -> int:
        """Removes what interrupted writes left; returns how many. Blocks; at start, before anything is stored."""
        return self._folder.sweep()
