"""The object store in memory: keeps every promise of the port but survival of the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import xxhash

from collector.errors import CollectorError, ObjectCorruptError, ObjectMissingError, storage_errors
from collector.files import BLOCK_BYTES, Files
from collector.objects import Adoption, AdoptionError, ObjectClass, ObjectStat, Place
from protocol.digest import Digest
from protocol.errors import DigestMismatchError
from protocol.ids import parse_agency


class MemoryObjectStore:
    """``ObjectStore`` in a dictionary; staged files are read through the file port they were written with."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._objects: dict[tuple[str, ObjectClass, Digest], bytes] = {}

    async def put_bytes(self, agency: str, cls: ObjectClass, data: bytes) -> Digest:
        digest = Digest.of(data)
        self._store(agency, cls, digest, bytes(data))
        return digest

    async def adopt(
        self, staged_path: Path, agency: str, cls: ObjectClass, expected: Digest, size_bytes: int
    ) -> None:
        blocks: list[bytes] = []
        with storage_errors("storing an object"):
            self._files.reread(staged_path, lambda block: blocks.append(bytes(block)))
        data = b"".join(blocks)
        actual = Digest.of(data)
        if (actual, len(data)) != (expected, size_bytes):
            raise DigestMismatchError(
                "a staged file is not what was expected",
                expected=f"{expected}, {size_bytes} bytes",
                actual=f"{actual}, {len(data)} bytes",
            )
        self._store(agency, cls, expected, data)

    async def put_all(
        self, cls: ObjectClass, items: Sequence[tuple[str, bytes]]
    ) -> list[CollectorError | None]:
        outcomes: list[CollectorError | None] = []
        for agency, data in items:
            try:
                await self.put_bytes(agency, cls, data)
            except ObjectCorruptError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes

    async def adopt_all(self, adoptions: Sequence[Adoption]) -> list[AdoptionError | None]:
        outcomes: list[AdoptionError | None] = []
        for item in adoptions:
            try:
                self._require_passed(item)
                await self.adopt(item.path, *item.place, item.size_bytes)
            except (CollectorError, DigestMismatchError) as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes

    def _require_passed(self, item: Adoption) -> None:
        hasher = xxhash.xxh3_128()
        with storage_errors("storing an object"):
            self._files.reread(item.path, hasher.update)
        if item.passed not in (None, hasher.digest()):
            raise DigestMismatchError("it is not what passed", expected="that", actual=hasher.hexdigest())

    async def sizes(self, places: Sequence[Place]) -> list[int | None]:
        held = [self._objects.get((parse_agency(agency), cls, digest)) for agency, cls, digest in places]
        return [None if data is None else len(data) for data in held]

    async def open_range(
        self,
        agency: str,
        cls: ObjectClass,
        digest: Digest,
        offset_bytes: int = 0,
        size_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        data = self._get(agency, cls, digest)[offset_bytes:]
        data = data if size_bytes is None else data[:size_bytes]
        for start in range(0, len(data), BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES]

    async def read(self, agency: str, cls: ObjectClass, digest: Digest) -> bytes:
        await self.verify(agency, cls, digest)
        return self._get(agency, cls, digest)

    async def read_all(self, places: Sequence[Place]) -> list[bytes | CollectorError]:
        found: list[bytes | CollectorError] = []
        for place in places:
            try:
                found.append(await self.read(*place))
            except CollectorError as error:
                found.append(error)
        return found

    async def stat(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        return ObjectStat(size_bytes=len(self._get(agency, cls, digest)))

    async def exists(self, agency: str, cls: ObjectClass, digest: Digest) -> bool:
        return (parse_agency(agency), cls, digest) in self._objects

    async def verify(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        actual = Digest.of(self._get(agency, cls, digest))
        if actual != digest:
            raise ObjectCorruptError(
                "an object is no longer what it was", expected=str(digest), actual=str(actual)
            )
        return await self.stat(agency, cls, digest)

    async def confirm(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        return await self.verify(agency, cls, digest)

    async def set_aside(self, agency: str, cls: ObjectClass, digest: Digest) -> None:
        self._get(agency, cls, digest)
        del self._objects[agency, cls, digest]

    async def iterate(self, agency: str, cls: ObjectClass) -> AsyncIterator[Digest]:
        parse_agency(agency)
        for owner, kind, digest in sorted(self._objects):
            if (owner, kind) == (agency, cls):
                yield digest

    def overwrite(self, agency: str, cls: ObjectClass, digest: Digest, data: bytes) -> None:
        """Damage for tests: what a failing disk does to an object."""
        self._objects[agency, cls, digest] = data

    def _store(self, agency: str, cls: ObjectClass, digest: Digest, data: bytes) -> None:
        held = self._objects.setdefault((parse_agency(agency), cls, digest), data)
        if held != data:
            raise ObjectCorruptError(
                "an object is no longer what it was", expected=str(digest), actual=str(Digest.of(held))
            )

    def _get(self, agency: str, cls: ObjectClass, digest: Digest) -> bytes:
        try:
            return self._objects[parse_agency(agency), cls, digest]
        except KeyError as error:
            raise ObjectMissingError(f"no object {digest}") from error
