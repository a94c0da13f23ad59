"""How objects come into their folder and are looked at there; blocking, for worker threads.

Order of every write: bytes durable, mode 0440 durable, re-read past the page cache and compared, linked under the
final name (a link never replaces), name durable. A crash in between leaves a nameless temporary file or the whole
object. A group of small files goes the same way step by step, each step for all of them, with one sync where a file
alone needs two.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import xxhash

from collector.errors import (
    CollectorError,
    ObjectCorruptError,
    ObjectMissingError,
    StorageError,
    storage_errors,
)
from collector.files import Files
from collector.objects import Adoption, AdoptionError, ObjectClass, Place
from collector.part_writer import write_all
from protocol.digest import Digest
from protocol.errors import DigestMismatchError
from protocol.ids import parse_agency

INCOMING: Final = ".incoming"  # no agency's name begins with a dot

DAMAGED: Final = ".damaged"

MAX_OBJECT_READ_BYTES: Final = 1 << 20
"""A small object read at once: far above the largest statement."""

_FEW: Final = 4
"""Up to so many files are synced one by one: a common sync may have to wait for what others wrote."""

_MAX_KNOWN_FOLDERS: Final = 8192
"""Folders known to be durable; forgetting them all now and then costs one sync each, remembering costs memory."""


class ObjectFolder:
    """The files of one store, which belong to it alone. Raises StorageError, ObjectCorruptError, ObjectMissingError,
    DigestMismatchError as the port says."""

    def __init__(self, files: Files, root: Path) -> None:
        self._files = files
        self.root = root
        self._durable_folders: set[Path] = set()
        self._lock = threading.Lock()

    def path(self, place: Place) -> Path:
        """Raises MalformedError for an agency that is not a name."""
        return object_path(self.root, *place)

    def put(self, place: Place, data: bytes) -> None:
        """One object from memory."""
        incoming = self.root / INCOMING / secrets.token_hex(16)
        with storage_errors("storing an object"):
            self._make_folder(incoming.parent)
            try:
                self._write(incoming, data)
                self.adopt(Adoption(path=incoming, place=place, size_bytes=len(data)))
            finally:
                self._discard([incoming])

    def put_group(self, items: Sequence[tuple[Place, bytes]]) -> list[CollectorError | None]:
        """What became of each: None, or ObjectCorruptError where a damaged object has the name already."""
        if len(items) <= _FEW:
            return [self._put_one(place, data) for place, data in items]
        incoming = [self.root / INCOMING / secrets.token_hex(16) for _ in items]
        with storage_errors("storing objects"):
            self._make_folder(self.root / INCOMING)
            try:
                for path, (_, data) in zip(incoming, items, strict=True):
                    self._write(path, data, read_only=True)
                self._files.sync_all(self.root)
                outcomes = self._take_all(
                    Adoption(path=path, place=place, size_bytes=len(data), sealed=True)
                    for path, (place, data) in zip(incoming, items, strict=True)
                )
            finally:
                self._discard(incoming)
        for outcome in outcomes:
            if isinstance(outcome, DigestMismatchError | StorageError):
                raise StorageError("what was written is not what was read back") from outcome
        return [outcome if isinstance(outcome, CollectorError) else None for outcome in outcomes]

    def adopt(self, item: Adoption) -> None:
        """One staged file; its staged name stays."""
        target = self.path(item.place)
        with storage_errors("storing an object"):
            if not item.sealed:
                self._files.make_read_only(item.path)
                self._files.sync_file(item.path)
            self._compare(item)
            self._make_folder(target.parent)
            self._link(item, target)
            self._files.sync_folder(target.parent)

    def adopt_group(self, items: Sequence[Adoption]) -> list[AdoptionError | None]:
        """What became of each; a disk that fails fails all that were under way."""
        if len(items) <= _FEW:
            return [_outcome_of(partial(self.adopt, item)) for item in items]
        try:
            with storage_errors("storing objects"):
                for item in items:
                    if not item.sealed:
                        self._files.make_read_only(item.path)
                        self._files.sync_file(item.path)
                return self._take_all(items)
        except StorageError as error:
            return [error] * len(items)

    def verify(self, place: Place) -> int:
        """Re-reads and compares; returns the length."""
        return self._verify(self.path(place), place[2])

    def confirm(self, place: Place) -> int:
        """As ``verify``; name and folders are durable on return, as the bytes were before there was a name."""
        path = self.path(place)
        size = self._verify(path, place[2])
        with storage_errors("making sure of an object"):
            self._make_folder(path.parent)
            self._files.sync_folder(path.parent)
        return size

    def set_aside(self, place: Place) -> None:
        """Move the file to the damaged ones, under a name of its own."""
        agency, cls, digest = place
        path, folder = self.path(place), self.root / DAMAGED
        with storage_errors("setting a damaged object aside"):
            self._make_folder(folder)
            try:
                self._files.replace(
                    path, folder / f"{agency}.{cls.value}.{digest.hex}.{secrets.token_hex(4)}"
                )
            except FileNotFoundError as error:
                raise ObjectMissingError(f"no object {digest}") from error
            self._files.sync_folder(folder)
            self._files.sync_folder(path.parent)

    def size(self, place: Place) -> int:
        """The length of an object. Raises ObjectMissingError."""
        with storage_errors("looking for an object"):
            try:
                return self._files.size_bytes(self.path(place))
            except FileNotFoundError as error:
                raise ObjectMissingError(f"no object {place[2]}") from error

    def sizes(self, places: Iterable[Place]) -> list[int | None]:
        """Lengths, None for what is not there."""
        return [self._size_or_none(place) for place in places]

    def read_block(self, place: Place, offset_bytes: int, size_bytes: int) -> bytes:
        """Some bytes, through the page cache."""
        with storage_errors("reading an object"):
            return self._files.read(self.path(place), offset_bytes, size_bytes)

    def read(self, place: Place) -> bytes:
        """A whole small object, compared with its digest."""
        with storage_errors("reading an object"):
            try:
                data = self._files.read(self.path(place), 0, MAX_OBJECT_READ_BYTES)
            except FileNotFoundError as error:
                raise ObjectMissingError(f"no object {place[2]}") from error
        check_stored(place[2], Digest.of(data))
        return data

    def read_all(self, places: Iterable[Place]) -> list[bytes | CollectorError]:
        """As ``read``; what it raises stands in the place of the bytes."""
        found: list[bytes | CollectorError] = []
        for place in places:
            try:
                found.append(self.read(place))
            except CollectorError as error:
                found.append(error)
        return found

    def names(self, agency: str, cls: ObjectClass) -> Iterator[Digest]:
        """Every object's digest in ascending order, with the memory of one folder."""
        folder = self.root / parse_agency(agency) / cls.value
        for first in self._files.names(folder):
            for second in self._files.names(folder / first):
                for name in self._files.names(folder / first / second):
                    yield Digest.sha256(name)

    def sweep(self) -> int:
        """Removes what interrupted writes left; returns how many. Before anything is stored."""
        with storage_errors("clearing away interrupted writes"):
            names = self._files.names(self.root / INCOMING)
            for name in names:
                self._files.remove(self.root / INCOMING / name)
        return len(names)

    def _put_one(self, place: Place, data: bytes) -> CollectorError | None:
        try:
            self.put(place, data)
        except ObjectCorruptError as error:
            return error
        return None

    def _take_all(self, items: Iterable[Adoption]) -> list[AdoptionError | None]:
        """Sealed files become objects: all compared, then all named, then all names durable."""
        compared = [(item, _outcome_of(partial(self._compare, item))) for item in items]
        outcomes: list[AdoptionError | None] = []
        folders: set[Path] = set()
        for item, outcome in compared:
            target = self.path(item.place)
            if outcome is None:
                self._add_folder(target.parent, folders)
                outcome = _outcome_of(partial(self._link, item, target))
            outcomes.append(outcome)
        self._files.sync_all(self.root)
        self._remember(folders)
        return outcomes

    def _write(self, path: Path, data: bytes, *, read_only: bool = False) -> None:
        appender = self._files.create(path, read_only=read_only)
        try:
            write_all(appender, data)  # made durable together with its mode
        finally:
            appender.close()

    def _discard(self, paths: Iterable[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):  # swept at the next start
                self._files.remove(path)

    def _link(self, item: Adoption, target: Path) -> None:
        with storage_errors("naming an object"):
            try:
                self._files.link(item.path, target)
            except FileExistsError:
                self._verify(target, item.place[2])

    def _compare(self, item: Adoption) -> None:
        hasher = xxhash.xxh3_128() if item.passed else hashlib.sha256()
        with storage_errors("re-reading a staged file"):
            size = self._files.reread(item.path, hasher.update)
        if size != item.size_bytes:
            raise DigestMismatchError(
                "a staged file has another size", expected=f"{item.size_bytes} bytes", actual=f"{size} bytes"
            )
        expected = item.passed or bytes.fromhex(item.place[2].hex)
        if hasher.digest() != expected:
            raise DigestMismatchError(
                "a staged file, re-read, has another digest",
                expected=f"{hasher.name}:{expected.hex()}",
                actual=f"{hasher.name}:{hasher.hexdigest()}",
            )

    def _verify(self, path: Path, digest: Digest) -> int:
        with storage_errors("re-reading an object"):
            try:
                actual, size = self._reread(path)
            except FileNotFoundError as error:
                raise ObjectMissingError(f"no object {digest}") from error
        check_stored(digest, Digest.sha256(actual))
        return size

    def _reread(self, path: Path) -> tuple[str, int]:
        hasher = hashlib.sha256()
        size = self._files.reread(path, hasher.update)
        return hasher.hexdigest(), size

    def _size_or_none(self, place: Place) -> int | None:
        try:
            return self.size(place)
        except ObjectMissingError:
            return None

    def _make_folder(self, folder: Path) -> None:
        """Level by level, each durable: a folder found in place may have been made by a run that crashed before
        its name was."""
        if folder in self._durable_folders:
            return
        if folder != self.root:
            self._make_folder(folder.parent)
        self._files.make_folder(folder)
        self._remember([folder])

    def _add_folder(self, folder: Path, added: set[Path]) -> None:
        """As ``_make_folder``, durable with the next common sync only; notes what that will make durable."""
        if folder in self._durable_folders or folder in added:
            return
        if folder == self.root:
            self._make_folder(folder)
            return
        self._add_folder(folder.parent, added)
        self._files.add_folder(folder)
        added.add(folder)

    def _remember(self, folders: Collection[Path]) -> None:
        with self._lock:
            if len(self._durable_folders) + len(folders) > _MAX_KNOWN_FOLDERS:
                self._durable_folders.clear()
            self._durable_folders.update(folders)


def _outcome_of(work: Callable[[], None]) -> AdoptionError | None:
    try:
        work()
    except (CollectorError, DigestMismatchError) as error:
        return error
    return None


def object_path(root: Path, agency: str, cls: ObjectClass, digest: Digest) -> Path:
    """Where an object lies below the store's root. Raises MalformedError for an agency that is not a name."""
    name = digest.hex
    return root / f"{parse_agency(agency)}/{cls.value}/{name[:2]}/{name[2:4]}/{name}"


def check_stored(digest: Digest, actual: Digest) -> None:
    """Raises ObjectCorruptError when an object does not have its digest any more."""
    if actual != digest:
        raise ObjectCorruptError(
            "an object is no longer what it was", expected=str(digest), actual=str(actual)
        )
