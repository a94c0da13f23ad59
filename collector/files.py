"""The file port: the few things the collector asks of a file system, and the POSIX answer.

Every call blocks and belongs in a worker thread. Calls raise OSError; who calls says what that means. Durable is
only what the docstring calls durable: data after ``Appender.sync`` or ``sync_file``, names after ``sync_folder``,
both after ``sync_all``, which serves groups of small files.
After a failed sync nobody may ask again and believe the answer: the kernel marks the pages clean and the next
sync succeeds without them (Linux since 4.13 reports the failure once). An Appender is therefore dead after it,
and its owner discards the file.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import queue
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

Block = bytes | memoryview

BLOCK_BYTES: Final = 1 << 20
"""Size of the buffers bytes are moved in: hashing and O_DIRECT are no faster above it, memory only grows."""

_ALIGNMENT: Final = 4096
"""O_DIRECT wants offset, length and address in multiples of the device's block: 4096 suits every disk."""

_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_IOC_SETFLAGS: Final = 0x40086602
_FS_IMMUTABLE_FL: Final = 0x10

_C: Final = ctypes.CDLL(None, use_errno=True)

_FILE_MODE: Final = 0o640
_READ_ONLY_MODE: Final = 0o440
_FOLDER_MODE: Final = 0o750


class Appender(Protocol):
    """One file open for appending, used by one thread at a time."""

    @property
    def size_bytes(self) -> int:
        """Length of the file as far as this appender wrote it."""

    def write(self, block: Block) -> int:
        """Appends a prefix of ``block`` and returns its length, at least 1. Raises OSError."""

    def sync(self) -> None:
        """Makes data and length durable. If it raises, the file is lost and the appender dead."""

    def close(self) -> None:
        """Gives the descriptor back; may be called again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """How much a file system holds, and how much can still be written."""

    total_bytes: int
    free_bytes: int


class Files(Protocol):
    """What the collector needs of a file system. Missing files raise FileNotFoundError."""

    def make_folder(self, folder: Path) -> None:
        """Makes the folder and its missing parents, each name durable, also if the folder is there already."""

    def add_folder(self, folder: Path) -> None:
        """Makes a folder in one that is there; fine if it is there already. Its name is not yet durable."""

    def remove_folder(self, folder: Path) -> None:
        """Removes an empty folder."""

    def create(self, path: Path, *, read_only: bool = False) -> Appender:
        """A new empty file, with mode 0440 if ``read_only``. Raises FileExistsError. Its name is durable after
        ``sync_folder``."""

    def append(self, path: Path) -> Appender:
        """An existing file, at its end."""

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Cuts the file to ``size_bytes``; durable on return."""

    def sync_file(self, path: Path) -> None:
        """Makes data, length and mode of a file durable that some earlier process may have written."""

    def sync_folder(self, folder: Path) -> None:
        """Makes the names in the folder durable: created, linked, replaced and removed ones."""

    def sync_all(self, folder: Path) -> None:
        """Makes everything durable that was done below ``folder`` before the call: data, lengths, modes and names. It
        may have to wait for what others wrote to the same file system. After a failure nobody knows which files are
        whole: all of them count as lost, as with ``Appender.sync``."""

    def read(self, path: Path, offset_bytes: int, size_bytes: int) -> bytes:
        """Up to ``size_bytes`` from ``offset_bytes``; fewer only at the end of the file."""

    def reread(self, path: Path, visit: Callable[[Block], object]) -> int:
        """Shows the whole file to ``visit`` block by block as the device holds it, past the page cache where the
        file system lets us. Returns the length. ``visit`` must not keep the block: its buffer is reused."""

    def link(self, source: Path, target: Path) -> None:
        """A second name for a file. Raises FileExistsError; nothing is ever replaced."""

    def replace(self, source: Path, target: Path) -> None:
        """Renames over ``target`` in one step."""

    def make_read_only(self, path: Path) -> None:
        """Mode 0440."""

    def make_immutable(self, path: Path) -> bool:
        """Sets the immutable flag if system, privileges and file system allow; says whether it is set. No name
        of the file can be removed any more."""

    def remove(self, path: Path) -> None:
        """Removes a name."""

    def names(self, folder: Path) -> list[str]:
        """Names in the folder, sorted; empty for a folder that is not there."""

    def size_bytes(self, path: Path) -> int:
        """Length of a file."""

    def mode(self, path: Path) -> int:
        """Permission bits of a file."""

    def space(self, folder: Path) -> Space:
        """Of the file system the folder lies on."""


class PosixFiles:
    """``Files`` on a local Linux file system, with O_DIRECT where it is offered: writing past the page cache
    costs a tenth of the CPU time and a re-read that the cache cannot answer is the only one worth making."""

    def __init__(self) -> None:
        self._buffers: queue.LifoQueue[mmap.mmap] = queue.LifoQueue()
        self._synced: dict[Path, _KeptOpen] = {}
        self._lock = threading.Lock()

    def make_folder(self, folder: Path) -> None:
        missing = [folder, *folder.parents]
        existing = next(i for i, parent in enumerate(missing) if parent.is_dir())
        for parent in reversed(missing[:existing]):
            parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            self.sync_folder(parent.parent)
        if existing == 0:
            self.sync_folder(folder.parent)

    def add_folder(self, folder: Path) -> None:
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)

    def remove_folder(self, folder: Path) -> None:
        folder.rmdir()

    def create(self, path: Path, *, read_only: bool = False) -> Appender:
        return _PosixAppender(path, os.O_CREAT | os.O_EXCL, read_only=read_only)

    def append(self, path: Path) -> Appender:
        return _PosixAppender(path, 0)

    def truncate(self, path: Path, size_bytes: int) -> None:
        with _Opened(path, os.O_WRONLY) as descriptor:
            os.ftruncate(descriptor, size_bytes)
            os.fsync(descriptor)

    def sync_file(self, path: Path) -> None:
        with _Opened(path, os.O_RDONLY) as descriptor:
            os.fsync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        with _Opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            os.fsync(descriptor)

    def sync_all(self, folder: Path) -> None:
        # The kernel (5.8 and later) tells each descriptor once of a write that failed since it was opened: it is
        # therefore opened early and kept.
        # One caller at a time: of two, only one would be told.
        with self._lock:
            opened = self._synced.get(folder)
            if opened is None:
                opened = self._synced[folder] = _KeptOpen(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _C.syncfs(opened.descriptor) != 0:
                raise OSError(ctypes.get_errno(), "syncfs failed")

    def read(self, path: Path, offset_bytes: int, size_bytes: int) -> bytes:
        with _Opened(path, os.O_RDONLY) as descriptor:
            blocks = []
            while size_bytes and (block := os.pread(descriptor, size_bytes, offset_bytes)):
                blocks.append(block)
                offset_bytes += len(block)
                size_bytes -= len(block)
            return b"".join(blocks)

    def reread(self, path: Path, visit: Callable[[Block], object]) -> int:
        buffer = self._borrow()
        try:
            try:
                return _visit_direct(path, buffer, visit)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            return _visit_uncached(path, buffer, visit)
        finally:
            self._buffers.put(buffer)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def make_read_only(self, path: Path) -> None:
        path.chmod(_READ_ONLY_MODE)

    def make_immutable(self, path: Path) -> bool:
        flags = ctypes.c_int()
        try:
            with _Opened(path, os.O_RDONLY) as descriptor:
                fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
                flags.value |= _FS_IMMUTABLE_FL
                fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, flags)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
                return False
            raise
        return True

    def remove(self, path: Path) -> None:
        path.unlink()

    def names(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def size_bytes(self, path: Path) -> int:
        return path.stat(follow_symlinks=False).st_size

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat(follow_symlinks=False).st_mode)

    def space(self, folder: Path) -> Space:
        facts = os.statvfs(folder)
        return Space(total_bytes=facts.f_blocks * facts.f_frsize, free_bytes=facts.f_bavail * facts.f_frsize)

    def _borrow(self) -> mmap.mmap:
        try:
            return self._buffers.get_nowait()
        except queue.Empty:
            return mmap.mmap(-1, BLOCK_BYTES)  # page-aligned, as O_DIRECT wants


class _Opened:
    """A descriptor that is closed whatever happens; symbolic links are not followed."""

    descriptor = -1

    def __init__(self, path: Path, flags: int) -> None:
        self.descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *exc_info: object) -> None:
        os.close(self.descriptor)


class _KeptOpen(_Opened):
    """Closed with the last reference to it."""

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class _PosixAppender:
    """Aligned blocks go straight to the device, the odd ends through the page cache; one sync covers both."""

    def __init__(self, path: Path, flags: int, *, read_only: bool = False) -> None:
        flags |= os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._dead = False
        self._direct = -1
        self._cached = os.open(path, flags, _FILE_MODE)
        try:
            self._direct = _open_direct(path, os.O_WRONLY)
            if read_only:  # not before the second opening, which its owner too would be refused
                os.fchmod(self._cached, _READ_ONLY_MODE)
            self._size_bytes = os.fstat(self._cached).st_size
        except OSError:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def write(self, block: Block) -> int:
        self._check_usable()
        written = self._write_direct(block) or os.pwrite(self._cached, block, self._size_bytes)
        self._size_bytes += written
        return written

    def sync(self) -> None:
        self._check_usable()
        try:
            os.fdatasync(self._cached)
        except OSError:
            self._dead = True
            raise

    def close(self) -> None:
        cached, direct = self._cached, self._direct
        self._cached = self._direct = -1
        for descriptor in (cached, direct):
            if descriptor >= 0:
                os.close(descriptor)

    def _write_direct(self, block: Block) -> int:
        """Bytes written past the page cache: 0 when this block cannot go that way."""
        whole = len(block) - len(block) % _ALIGNMENT
        if self._direct < 0 or whole == 0 or self._size_bytes % _ALIGNMENT:
            return 0
        try:
            return os.pwrite(self._direct, memoryview(block)[:whole], self._size_bytes)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the block's memory is not aligned
                raise
            return 0

    def _check_usable(self) -> None:
        if self._dead or self._cached < 0:
            raise OSError(errno.EIO, "the file is lost or closed")


def _open_direct(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: this file system has no O_DIRECT
            raise
        return -1


def _visit_direct(path: Path, buffer: mmap.mmap, visit: Callable[[Block], object]) -> int:
    with _Opened(path, os.O_RDONLY | os.O_DIRECT) as descriptor:
        return _visit(descriptor, buffer, visit)


def _visit_uncached(path: Path, buffer: mmap.mmap, visit: Callable[[Block], object]) -> int:
    with _Opened(path, os.O_RDONLY) as descriptor:
        os.fdatasync(descriptor)  # only clean pages can be dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _visit(descriptor, buffer, visit)


def _visit(descriptor: int, buffer: mmap.mmap, visit: Callable[[Block], object]) -> int:
    total, end = 0, os.fstat(descriptor).st_size
    with memoryview(buffer) as view:
        # Asking beyond the end would be an unaligned offset, which O_DIRECT refuses.
        while total < end:
            # A direct read fills what lies beyond the end of the file with zeros, however much it is.
            wanted = -(-(end - total) // _ALIGNMENT) * _ALIGNMENT
            size = os.preadv(descriptor, [view[:wanted]], total)
            if size == 0:
                break
            with view[:size] as block:
                visit(block)
            total += size
    return total
