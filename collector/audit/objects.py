"""The stored objects as an audit reads them: blocking, past the page cache, and without believing a name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from collector.errors import ObjectMissingError, storage_errors
from collector.files import BLOCK_BYTES, Block, Files
from collector.objects import ObjectClass
from collector.objects.directory import object_path
from protocol.digest import Digest
from protocol.errors import MalformedError

READ_ONLY_MODE: Final = 0o440


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectName:
    """Which object: whose, what for, and the digest it is filed under."""

    agency: str
    cls: ObjectClass
    digest: Digest

    def __str__(self) -> str:
        return f"{self.agency}/{self.cls.value}/{self.digest}"


class AuditedObjects(Protocol):
    """What an audit asks of a store. Raises ObjectMissingError and StorageError."""

    def agencies(self) -> list[str]:
        """Every name that has objects or once had, whatever the log says of it."""

    def walk(self, agency: str) -> Iterator[ObjectName | str]:
        """Every object of the agency; the bare path of what lies where no object can."""

    def read(self, name: ObjectName) -> bytes:
        """A whole small object as the device holds it. Not compared with its name."""

    def blocks(self, name: ObjectName) -> Iterator[bytes]:
        """An object of any size, block by block. Not compared with its name."""

    def rehash(self, name: ObjectName, passed: Callable[[int], None] = ...) -> tuple[Digest, int]:
        """Digest and size of what the device holds. ``passed`` is told the length of each block."""

    def size_bytes(self, name: ObjectName) -> int:
        """The length of an object."""

    def is_read_only(self, name: ObjectName) -> bool:
        """Whether the object has the mode it was stored with."""


def _unheard(_size_bytes: int) -> None:
    """Nobody counts."""


class DirectoryObjects:
    """``AuditedObjects`` in the folder of a ``DirectoryObjectStore``."""

    def __init__(self, files: Files, root: Path) -> None:
        self._files = files
        self._root = root

    def agencies(self) -> list[str]:
        with storage_errors("listing the objects"):
            return [name for name in self._files.names(self._root) if not name.startswith(".")]

    def walk(self, agency: str) -> Iterator[ObjectName | str]:
        with storage_errors("listing the objects"):
            for cls in self._files.names(self._root / agency):
                for first in self._files.names(self._root / agency / cls):
                    for second in self._files.names(self._root / agency / cls / first):
                        folder = self._root / agency / cls / first / second
                        for name in self._files.names(folder):
                            yield self._parse(folder / name, agency, cls)

    def read(self, name: ObjectName) -> bytes:
        parts: list[bytes] = []
        with _object_errors(name):
            self._files.reread(self._path(name), lambda block: parts.append(bytes(block)))
        return b"".join(parts)

    def blocks(self, name: ObjectName) -> Iterator[bytes]:
        path, offset_bytes = self._path(name), 0
        while True:
            with _object_errors(name):
                block = self._files.read(path, offset_bytes, BLOCK_BYTES)
            if not block:
                return
            offset_bytes += len(block)
            yield block

    def rehash(self, name: ObjectName, passed: Callable[[int], None] = _unheard) -> tuple[Digest, int]:
        hasher = hashlib.sha256()

        def take(block: Block) -> None:
            hasher.update(block)
            passed(len(block))

        with _object_errors(name):
            size_bytes = self._files.reread(self._path(name), take)
        return Digest.sha256(hasher.hexdigest()), size_bytes

    def size_bytes(self, name: ObjectName) -> int:
        with _object_errors(name):
            return self._files.size_bytes(self._path(name))

    def is_read_only(self, name: ObjectName) -> bool:
        with _object_errors(name):
            return self._files.mode(self._path(name)) == READ_ONLY_MODE

    def _path(self, name: ObjectName) -> Path:
        return object_path(self._root, name.agency, name.cls, name.digest)

    def _parse(self, path: Path, agency: str, cls: str) -> ObjectName | str:
        try:
            name = ObjectName(agency=agency, cls=ObjectClass(cls), digest=Digest.sha256(path.name))
            return name if self._path(name) == path else self._shown(path)
        except (ValueError, MalformedError):
            return self._shown(path)

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._root))


@contextmanager
def _object_errors(name: ObjectName) -> Iterator[None]:
    """A missing file is a missing object; every other OSError is the storage's."""
    with storage_errors("reading an object"):
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissingError(f"no object {name}") from error
