"""The object store port: content-addressed, write-once, one name space per agency and class.

Whoever implements it promises: an object is either absent or whole; it is read back past the caches and compared
before its name exists; a name never changes its bytes; storing the same bytes again succeeds and proves that the
stored ones are still right. Prevention of deletion is the store's, never more than its platform gives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from collector.errors import CollectorError
from protocol.digest import Digest
from protocol.errors import DigestMismatchError


class ObjectClass(StrEnum):
    """What an object is; they differ in retention and in who may read them."""

    ORIGINALS = "originals"
    RENDITIONS = "renditions"
    LISTINGS = "listings"
    STATEMENTS = "statements"


CLASS_OF: Final = {
    "original": ObjectClass.ORIGINALS,
    "rendition": ObjectClass.RENDITIONS,
    "listing": ObjectClass.LISTINGS,
}
"""Where the bytes of each purpose of an upload, or of ``stored``, lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStat:
    """Facts about a stored object."""

    size_bytes: int


Place: TypeAlias = tuple[str, ObjectClass, Digest]
"""Where an object lies: agency, class, digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """A staged file that is to become the object ``place``. ``sealed``: durable and read-only already. ``passed``:
    the XXH3-128 of the bytes whose SHA-256, computed when they were handed to the disk, is the object's digest; then
    the re-read is compared with that."""

    path: Path
    place: Place
    size_bytes: int
    sealed: bool = False
    passed: bytes | None = None


AdoptionError: TypeAlias = CollectorError | DigestMismatchError


class ObjectStore(Protocol):
    """Objects by agency, class and digest. Raises ObjectMissingError, ObjectCorruptError and StorageError;
    MalformedError for an agency that is not a name."""

    async def put_bytes(self, agency: str, cls: ObjectClass, data: bytes) -> Digest:
        """Stores bytes held in memory (statements, listings); durable and re-read on return."""

    async def adopt(
        self, staged_path: Path, agency: str, cls: ObjectClass, expected: Digest, size_bytes: int
    ) -> None:
        """Stores a staged file; durable and re-read on return. The staged name stays, for its owner to remove.
        Raises DigestMismatchError when the file, re-read, is not what was expected; nothing is stored then."""

    async def put_all(
        self, cls: ObjectClass, items: Sequence[tuple[str, bytes]]
    ) -> list[CollectorError | None]:
        """As ``put_bytes`` for many (agency, data) at once, at a fraction of the cost. What became of each: a damaged
        object that has the name already (ObjectCorruptError) does not keep the others from being stored."""

    async def adopt_all(self, adoptions: Sequence[Adoption]) -> list[AdoptionError | None]:
        """As ``adopt`` for many at once: what became of each."""

    async def sizes(self, places: Sequence[Place]) -> list[int | None]:
        """Lengths of objects, None for those that are not there; says nothing about their bytes."""

    def open_range(
        self,
        agency: str,
        cls: ObjectClass,
        digest: Digest,
        offset_bytes: int = 0,
        size_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Bytes of an object block by block, from ``offset_bytes``, at most ``size_bytes`` of them."""

    async def read(self, agency: str, cls: ObjectClass, digest: Digest) -> bytes:
        """A whole small object, compared with its digest."""

    async def read_all(self, places: Sequence[Place]) -> list[bytes | CollectorError]:
        """As ``read`` for many: the bytes of each, or what ``read`` would raise."""

    async def stat(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        """Facts about an object."""

    async def exists(self, agency: str, cls: ObjectClass, digest: Digest) -> bool:
        """Whether an object of that name is there; says nothing about its bytes."""

    async def verify(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        """Re-reads an object past the caches and compares it with its digest (the scrub's question)."""

    async def confirm(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        """As ``verify``, and durable with its name on return. An object that is there may owe its name to an attempt
        that failed, or to a process that was killed, before the name was durable."""

    async def set_aside(self, agency: str, cls: ObjectClass, digest: Digest) -> None:
        """Takes away the name of an object that is not what it was and keeps its bytes for whoever looks into it;
        durable on return. Raises ObjectMissingError. For ``collector.mending`` alone."""

    def iterate(self, agency: str, cls: ObjectClass) -> AsyncIterator[Digest]:
        """Digests of all objects of an agency's class, in ascending order."""
