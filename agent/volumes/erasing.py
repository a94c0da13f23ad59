"""A directory opened for release: the only code of the station that changes anything on a recorder.

Guarantees: a file is erased only if it is, at that moment, the very one expected, looked at through a handle of its
own; no link is followed; folders stay. Erasures count only after ``make_durable``.

All functions block; call them in threads.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from agent.ports import FileIdentity, FileReader, RecorderVolume, VolumeIdentity
from agent.volumes.errors import (
    ErasureUnsureError,
    FileGoneError,
    FileNotErasedError,
    FileReplacedError,
    PathUnsafeError,
    VolumeReadOnlyError,
    VolumeVanishedError,
)
from agent.volumes.opening import GONE, UNSAFE, identity_of, regular_file, split_path

_SYNCFS: Final = ctypes.CDLL(None, use_errno=True).syncfs
"""Not in Python's ``os``. Unlike sync(2) it waits for one file system only, and tells errors."""

OpenFolder: TypeAlias = Callable[[Sequence[bytes]], AbstractContextManager[int]]
"""A descriptor of a folder, opened name by name from the root without following a link."""


class ErasableTree:
    """An ``ErasableVolume`` over a directory."""

    def __init__(self, volume: RecorderVolume, open_folder: OpenFolder) -> None:
        self._volume = volume
        self._open_folder = open_folder
        self._touched: set[tuple[bytes, ...]] = set()

    def identify(self) -> VolumeIdentity:
        return self._volume.identify()

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> FileReader:
        return self._volume.open_file(raw_path, offset_bytes=offset_bytes)

    def erase(self, raw_path: bytes, expected: FileIdentity) -> None:
        """See ``ErasableVolume``. Between the look through the handle and the erasing no other system call lies."""
        folders, name = split_path(raw_path)
        with _erasing(raw_path), self._open_folder(folders) as folder:
            with regular_file(folder, name, raw_path) as handle:
                found = identity_of(handle)
                if found != expected:
                    raise FileReplacedError(f"{raw_path[:80]!r} is {found}, not {expected}")
                os.unlink(name, dir_fd=folder)
            self._touched.add(tuple(folders))

    def make_durable(self, root: int) -> None:
        """Flush the folders that lost a file, then the whole file system. Raises ErasureUnsureError,
        VolumeVanishedError."""
        try:
            for folders in sorted(self._touched):
                with self._open_folder(folders) as folder:
                    _flush_folder(folder)
            _sync_file_system(root)
        except OSError as error:
            if error.errno in GONE:
                raise VolumeVanishedError("the volume is gone before its erasures were durable") from error
            raise ErasureUnsureError(f"the volume did not confirm what was erased: {error}") from error


def _flush_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # file systems that flush no folders say so; flushing all of them follows
            raise


def _sync_file_system(descriptor: int) -> None:
    if _SYNCFS(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def _erasing(raw_path: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        shown = repr(raw_path[:80])
        if number in GONE:
            raise VolumeVanishedError(f"the volume of {shown} is gone") from error
        if number == errno.ENOENT:
            raise FileGoneError(f"not there any more: {shown}") from error
        if number in UNSAFE:
            raise PathUnsafeError(f"leads over a link or a file: {shown}") from error
        if number == errno.EROFS:
            raise VolumeReadOnlyError(f"the volume of {shown} is read-only") from error
        raise FileNotErasedError(f"cannot erase {shown}", errno_value=number) from error
