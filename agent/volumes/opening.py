"""Opening one file below a folder's descriptor without trusting what is there; shared by reading and erasing.

All functions block; call them in threads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent.ports import FileIdentity
from agent.volumes.errors import FileUnreadableError, PathUnsafeError, VolumeVanishedError
from protocol.errors import ProtocolError
from protocol.listing import check_raw_path

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOMEDIUM, errno.ESHUTDOWN})
"""What the system says of a device that was pulled."""

UNSAFE: Final = frozenset({errno.ELOOP, errno.ENOTDIR})
"""What it says of a path over a link or a file."""


def split_path(raw_path: bytes) -> tuple[list[bytes], bytes]:
    """The folders and the name of a path on a recorder. Raises PathUnsafeError."""
    try:
        *folders, name = check_raw_path(raw_path).split(b"/")
    except ProtocolError as error:
        raise PathUnsafeError(str(error)) from error
    return folders, name


@contextmanager
def regular_file(folder: int, name: bytes, raw_path: bytes) -> Iterator[int]:
    """A handle of a regular file that names it without opening it, so that nothing can react to being looked at.
    Raises PathUnsafeError, OSError."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise PathUnsafeError(f"not a regular file: {raw_path[:80]!r}")
        yield handle
    finally:
        os.close(handle)


def open_regular(folder: int, name: bytes, raw_path: bytes) -> int:
    """A descriptor for reading. Raises PathUnsafeError, OSError."""
    with regular_file(folder, name, raw_path) as handle:
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)


def identity_of(descriptor: int) -> FileIdentity:
    """What tells this file from another at the same path. Raises OSError."""
    found = os.fstat(descriptor)
    return FileIdentity(size_bytes=found.st_size, modified_ns=found.st_mtime_ns, inode=found.st_ino)


@contextmanager
def file_errors(raw_path: bytes) -> Iterator[None]:
    """The system's errors about one file as those of the port."""
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        if number in GONE:
            raise VolumeVanishedError(f"the volume of {raw_path[:80]!r} is gone") from error
        if number in UNSAFE:
            raise PathUnsafeError(f"leads over a link or a file: {raw_path[:80]!r}") from error
        raise FileUnreadableError(f"cannot read {raw_path[:80]!r}", errno_value=number) from error
