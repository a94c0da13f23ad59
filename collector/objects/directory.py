"""The object store on a local file system: ``<root>/<agency>/<class>/<aa>/<bb>/<hex>``.

Order of every write: bytes durable, mode 0440 durable, re-read past the page cache and compared, linked under the
final name (a link never replaces), folder durable. A crash in between leaves a nameless temporary file or the
whole object.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from collector.errors import ObjectCorruptError, ObjectMissingError, storage_errors
from collector.files import BLOCK_BYTES, Files
from collector.objects import ObjectClass, ObjectStat
from collector.part_writer import write_all
from protocol.digest import Digest
from protocol.errors import DigestMismatchError
from protocol.ids import parse_agency

_INCOMING: Final = ".incoming"  # no agency's name begins with a dot

_MAX_KNOWN_FOLDERS: Final = 8192
"""Folders known to be durable; forgetting them all now and then costs one sync each, remembering costs memory."""


class DirectoryObjectStore:
    """``ObjectStore`` in a directory. Calls run in worker threads of the running loop; the folder belongs to this
    store alone. ``immutable`` asks for the immutable flag on small objects, best effort; see also ``seal``."""

    def __init__(self, files: Files, root: Path, *, immutable: bool = False) -> None:
        self._files = files
        self._root = root
        self._immutable = immutable
        self._durable_folders: set[Path] = set()

    async def put_bytes(self, agency: str, cls: ObjectClass, data: bytes) -> Digest:
        return await asyncio.to_thread(self._put, agency, cls, data)

    async def adopt(
        self, staged_path: Path, agency: str, cls: ObjectClass, expected: Digest, size_bytes: int
    ) -> None:
        target = self._path(agency, cls, expected)
        await asyncio.to_thread(self._adopt, staged_path, target, expected, size_bytes)

    async def open_range(
        self,
        agency: str,
        cls: ObjectClass,
        digest: Digest,
        offset_bytes: int = 0,
        size_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        path = self._path(agency, cls, digest)
        left = await asyncio.to_thread(self._size, path, digest) - offset_bytes
        left = left if size_bytes is None else min(left, size_bytes)
        while left > 0:
            block = await asyncio.to_thread(self._read_block, path, offset_bytes, min(left, BLOCK_BYTES))
            if not block:
                raise ObjectCorruptError("an object ends early", expected=str(digest), actual="fewer bytes")
            yield block
            offset_bytes += len(block)
            left -= len(block)

    async def read(self, agency: str, cls: ObjectClass, digest: Digest) -> bytes:
        data = b"".join([block async for block in self.open_range(agency, cls, digest)])
        _check_stored(digest, Digest.of(data))
        return data

    async def stat(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        path = self._path(agency, cls, digest)
        return ObjectStat(size_bytes=await asyncio.to_thread(self._size, path, digest))

    async def exists(self, agency: str, cls: ObjectClass, digest: Digest) -> bool:
        try:
            await self.stat(agency, cls, digest)
        except ObjectMissingError:
            return False
        return True

    async def verify(self, agency: str, cls: ObjectClass, digest: Digest) -> ObjectStat:
        path = self._path(agency, cls, digest)
        return ObjectStat(size_bytes=await asyncio.to_thread(self._verify, path, digest))

    async def iterate(self, agency: str, cls: ObjectClass) -> AsyncIterator[Digest]:
        folder = self._root / parse_agency(agency) / cls.value
        for first in await asyncio.to_thread(self._files.names, folder):
            for second in await asyncio.to_thread(self._files.names, folder / first):
                for name in await asyncio.to_thread(self._files.names, folder / first / second):
                    yield Digest.sha256(name)

    async def seal(self, agency: str, cls: ObjectClass, digest: Digest) -> bool:
        """Sets the immutable flag, best effort; says whether it is set. Only once no other name of the file is
        left to remove: an immutable file keeps them all."""
        return await asyncio.to_thread(self._files.make_immutable, self._path(agency, cls, digest))

    def sweep(self) -> int:
        """Removes what interrupted writes left; returns how many. Blocks; at start, before anything is stored."""
        with storage_errors("clearing away interrupted writes"):
            names = self._files.names(self._root / _INCOMING)
            for name in names:
                self._files.remove(self._root / _INCOMING / name)
        return len(names)

    def _put(self, agency: str, cls: ObjectClass, data: bytes) -> Digest:
        digest = Digest.of(data)
        target = self._path(agency, cls, digest)
        incoming = self._root / _INCOMING / secrets.token_hex(16)
        with storage_errors("storing an object"):
            self._make_folder(incoming.parent)
            try:
                self._write(incoming, data)
                self._adopt(incoming, target, digest, len(data))
            finally:
                with contextlib.suppress(OSError):  # swept at the next start
                    self._files.remove(incoming)
            if self._immutable:
                self._files.make_immutable(target)
        return digest

    def _write(self, path: Path, data: bytes) -> None:
        appender = self._files.create(path)
        try:
            write_all(appender, data)  # made durable together with its mode
        finally:
            appender.close()

    def _adopt(self, source: Path, target: Path, expected: Digest, size_bytes: int) -> None:
        with storage_errors("storing an object"):
            self._files.make_read_only(source)
            self._files.sync_file(source)
            self._compare(source, expected, size_bytes)
            self._make_folder(target.parent)
            try:
                self._files.link(source, target)
            except FileExistsError:
                self._verify(target, expected)
            self._files.sync_folder(target.parent)

    def _compare(self, path: Path, expected: Digest, size_bytes: int) -> None:
        actual, size = self._reread(path)
        if size != size_bytes:
            raise DigestMismatchError(
                "a staged file has another size", expected=f"{size_bytes} bytes", actual=f"{size} bytes"
            )
        if actual != expected:
            raise DigestMismatchError(
                "a staged file, re-read, has another digest", expected=str(expected), actual=str(actual)
            )

    def _verify(self, path: Path, digest: Digest) -> int:
        with storage_errors("re-reading an object"):
            try:
                actual, size = self._reread(path)
            except FileNotFoundError as error:
                raise ObjectMissingError(f"no object {digest}") from error
        _check_stored(digest, actual)
        return size

    def _reread(self, path: Path) -> tuple[Digest, int]:
        hasher = hashlib.sha256()
        size = self._files.reread(path, hasher.update)
        return Digest.sha256(hasher.hexdigest()), size

    def _size(self, path: Path, digest: Digest) -> int:
        with storage_errors("looking for an object"):
            try:
                return self._files.size_bytes(path)
            except FileNotFoundError as error:
                raise ObjectMissingError(f"no object {digest}") from error

    def _read_block(self, path: Path, offset_bytes: int, size_bytes: int) -> bytes:
        with storage_errors("reading an object"):
            return self._files.read(path, offset_bytes, size_bytes)

    def _make_folder(self, folder: Path) -> None:
        """Level by level, each durable: a folder found in place may have been made by a run that crashed before
        its name was."""
        if folder in self._durable_folders:
            return
        if folder != self._root:
            self._make_folder(folder.parent)
        self._files.make_folder(folder)
        if len(self._durable_folders) >= _MAX_KNOWN_FOLDERS:
            self._durable_folders.clear()
        self._durable_folders.add(folder)

    def _path(self, agency: str, cls: ObjectClass, digest: Digest) -> Path:
        return object_path(self._root, agency, cls, digest)


def object_path(root: Path, agency: str, cls: ObjectClass, digest: Digest) -> Path:
    """Where an object lies below the store's root. Raises MalformedError for an agency that is not a name."""
    name = digest.hex
    return root / parse_agency(agency) / cls.value / name[:2] / name[2:4] / name


def _check_stored(digest: Digest, actual: Digest) -> None:
    if actual != digest:
        raise ObjectCorruptError(
            "an object is no longer what it was", expected=str(digest), actual=str(actual)
        )
