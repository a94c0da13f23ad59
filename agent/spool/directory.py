"""The spool on a local file system.

Writes and re-reads bypass the page cache (``O_DIRECT``) where the file system allows: that costs a tenth of the CPU
time of buffered writes (measured), leaves memory to others, and makes a re-read a read of the disk. Elsewhere files
are written through the cache, synced, and their pages dropped before they are re-read.

Layout: ``partial/<name>``, ``originals|renditions|listings/<aa>/<hex>``, ``receipts/<number>.jsonl``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.spool.common_sync import FEW, CommonSync
from agent.spool.errors import SpoolError, SpoolFullError
from agent.spool.files import BLOCK_BYTES, PartialFile, Publication
from agent.spool.receipt_files import ReceiptFiles
from agent.spool.records import Purpose, ReceiptPlace
from protocol.digest import Digest

_FOLDERS: Final = {
    Purpose.ORIGINAL: "originals",
    Purpose.RENDITION: "renditions",
    Purpose.LISTING: "listings",
}
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY: Final = 0o440
_PRIVATE: Final = 0o600
_FOLDER_MODE: Final = 0o750


@contextmanager
def _as_spool_error(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = SpoolFullError if error.errno in _FULL else SpoolError
        raise kind(f"{doing}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folders(root: Path) -> None:
    root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    for name in ("partial", "receipts", *_FOLDERS.values()):
        (root / name).mkdir(mode=_FOLDER_MODE, exist_ok=True)
    _sync_folder(root)
    _sync_folder(root.parent)


class _Homes:
    """The folders of two hex digits, made when first needed. Nobody gets one whose own name is not durable: a file's
    sync says nothing about the folders above it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: set[Path] = set()

    def ensure(self, folders: Collection[Path]) -> None:
        with self._lock:
            missing = [folder for folder in folders if folder not in self._ready]
            for folder in missing:
                folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            for parent in {folder.parent for folder in missing}:
                _sync_folder(parent)
            self._ready.update(missing)


class DirectoryPartial:
    """A partial file on disk; see ``PartialFile``."""

    def __init__(self, path: Path, keep_bytes: int, mode: int) -> None:
        self._path = path
        self._descriptor = _open_direct(path, os.O_RDWR | os.O_CREAT, mode)
        try:
            found = os.fstat(self._descriptor)
            if found.st_mode & 0o777 != mode:  # the umask must not decide
                os.fchmod(self._descriptor, mode)
            kept = min(found.st_size, keep_bytes) // BLOCK_BYTES * BLOCK_BYTES
            if kept != found.st_size:
                os.ftruncate(self._descriptor, kept)
        except OSError:
            os.close(self._descriptor)
            raise
        self._size_bytes = kept

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def path(self) -> Path:
        return self._path

    def append(self, buffer: memoryview, count: int) -> None:
        if self._size_bytes % BLOCK_BYTES:
            raise ValueError("only the last piece may have an odd length")
        size_bytes = self._size_bytes + count
        whole_blocks = -(-count // BLOCK_BYTES) * BLOCK_BYTES
        with _as_spool_error("writing into the spool"):
            self._write(buffer[:whole_blocks])
            if whole_blocks != count:
                os.ftruncate(self._descriptor, size_bytes)
                self._size_bytes = size_bytes

    def _write(self, piece: memoryview) -> None:
        while piece:
            try:
                written = os.pwrite(self._descriptor, piece, self._size_bytes)
            except OSError as error:
                if error.errno != errno.EINVAL or not _leave_direct(self._descriptor):
                    raise
                continue
            self._size_bytes += written
            piece = piece[written:]
            if self._size_bytes % BLOCK_BYTES:
                _leave_direct(self._descriptor)

    def flush(self) -> int:
        with _as_spool_error("syncing the spool"):
            os.fsync(self._descriptor)
        return self._size_bytes

    def read_back(self, offset: int, into: memoryview) -> int:
        with _as_spool_error("re-reading the spool"):
            if not fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & os.O_DIRECT:
                os.posix_fadvise(self._descriptor, offset, len(into), os.POSIX_FADV_DONTNEED)
            return os.preadv(self._descriptor, [into], offset)

    def close(self) -> None:
        os.close(self._descriptor)


def _open_direct(path: Path, flags: int, mode: int) -> int:
    """Open past the page cache, or through it where the file system knows no other way (tmpfs, some FUSE)."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    if mode == _READ_ONLY:  # the first try may have made it; now not even its owner may open it for writing
        path.unlink(missing_ok=True)
    return os.open(path, flags | os.O_CLOEXEC, mode)


def _seal(path: Path) -> None:
    """Mode 0440, durably. A brief file has it from the first byte."""
    if path.stat().st_mode & 0o777 == _READ_ONLY:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, _READ_ONLY)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _leave_direct(descriptor: int) -> bool:
    """Go on through the page cache; False if it was in use already."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if not flags & os.O_DIRECT:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return True


class DirectorySpool:
    """The spool under one folder; see ``SpoolFiles``. ``reserve_bytes`` stay free for the journal and the system."""

    def __init__(self, root: Path, *, reserve_bytes: int = 0, earlier_receipts: Sequence[Path] = ()) -> None:
        """Make the folders. ``earlier_receipts`` are folders of receipts that are only read. Raises SpoolError."""
        self._root = root
        self._reserve_bytes = reserve_bytes
        self._homes = _Homes()
        self._receipts = ReceiptFiles(root / "receipts", *earlier_receipts)
        with _as_spool_error(f"preparing the spool {root}"):
            _make_folders(root)
            self._common = CommonSync(root)

    def _partial(self, name: str) -> Path:
        return self._root / "partial" / name

    def open_partial(self, name: str, keep_bytes: int) -> DirectoryPartial:
        with _as_spool_error("opening a partial file"):
            path = self._partial(name)
            is_new = not path.exists()
            partial = DirectoryPartial(path, keep_bytes, _PRIVATE)
            if is_new:
                _sync_folder(path.parent)
            return partial

    def open_brief(self, name: str) -> DirectoryPartial:
        with _as_spool_error("opening a partial file"):
            return DirectoryPartial(self._partial(name), 0, _READ_ONLY)

    def flush_all(self, partials: Sequence[PartialFile]) -> None:
        if len(partials) > FEW:
            with _as_spool_error("syncing the spool"):
                self._common.sync()
        else:
            for partial in partials:
                partial.flush()

    def publish(self, publications: Sequence[Publication]) -> None:
        targets = [self.path(publication.purpose, publication.digest) for publication in publications]
        folders = {target.parent for target in targets}
        with _as_spool_error("publishing in the spool"):
            self._homes.ensure(folders)
            for publication, target in zip(publications, targets, strict=True):
                partial = self._partial(publication.partial)
                _seal(partial)
                partial.rename(target)
            if len(folders) > FEW:
                self._common.sync()
            else:
                for folder in sorted(folders):
                    _sync_folder(folder)

    def adopt(self, file: Path, purpose: Purpose, digest: Digest) -> None:
        with _as_spool_error("adopting a file into the spool"):
            target = self.path(purpose, digest)
            self._homes.ensure([target.parent])
            file.rename(target)
            _sync_folder(target.parent)

    def discard_partial(self, name: str) -> None:
        with _as_spool_error("discarding a partial file"), contextlib.suppress(FileNotFoundError):
            self._partial(name).unlink()

    def partials(self) -> list[str]:
        with _as_spool_error("listing partial files"):
            return sorted(entry.name for entry in self._partial("").iterdir())

    def path(self, purpose: Purpose, digest: Digest) -> Path:
        return self._root / _FOLDERS[purpose] / digest.hex[:2] / digest.hex

    def has(self, purpose: Purpose, digest: Digest) -> bool:
        return self.path(purpose, digest).is_file()

    def remove(self, purpose: Purpose, digest: Digest) -> None:
        with _as_spool_error("evicting from the spool"), contextlib.suppress(FileNotFoundError):
            path = self.path(purpose, digest)
            path.unlink()
            _sync_folder(path.parent)

    def put_receipts(self, receipts: Sequence[bytes]) -> Sequence[ReceiptPlace]:
        with _as_spool_error("keeping receipts"):
            return self._receipts.put(receipts)

    def read_receipt(self, place: ReceiptPlace) -> bytes:
        with _as_spool_error("reading a receipt"):
            return self._receipts.read(place)

    def free_bytes(self) -> int:
        with _as_spool_error("asking for free space"):
            facts = os.statvfs(self._root)
            return max(0, facts.f_bavail * facts.f_frsize - self._reserve_bytes)
