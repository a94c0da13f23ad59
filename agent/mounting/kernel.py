"""The calls into the kernel that the mount helper makes; nothing here decides anything.

File systems are made with the mount API of Linux 5.2 (fsopen, fsconfig, fsmount, move_mount): a mount has its
restrictions before it appears anywhere, and the kernel says why it refused. Python has none of these. All functions
block, for as long as the device pleases; ctypes and ioctl let other threads run meanwhile. All raise OSError.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

# linux/fs.h
_BLKROSET: Final = 0x125D
_BLKROGET: Final = 0x125E
_BLKFLSBUF: Final = 0x1261
_BLKGETDISKSEQ: Final = 0x80081280

# linux/mount.h
_FSCONFIG_SET_FLAG: Final = 0
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 0x04
_MOUNT_ATTR_RDONLY: Final = 0x01
_MOUNT_ATTR_NOSUID: Final = 0x02
_MOUNT_ATTR_NODEV: Final = 0x04
_MOUNT_ATTR_NOEXEC: Final = 0x08
_MOUNT_ATTR_NOATIME: Final = 0x10
_MOUNT_ATTR_IDMAP: Final = 0x00100000
_MOUNT_ATTR_NOSYMFOLLOW: Final = 0x00200000

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_CLONE_NEWUSER: Final = 0x10000000

_LOG_BYTES: Final = 8192

_RESTRICTIONS: Final = (
    _MOUNT_ATTR_NOSUID
    | _MOUNT_ATTR_NODEV
    | _MOUNT_ATTR_NOEXEC
    | _MOUNT_ATTR_NOATIME
    | _MOUNT_ATTR_NOSYMFOLLOW
)


class KernelRefusedError(OSError):
    """A file system that could not be mounted; ``said`` is what the kernel says about it."""

    def __init__(self, cause: OSError, said: str) -> None:
        super().__init__(cause.errno, f"{cause.strerror}{': ' if said else ''}{said}")


def set_read_only(device: int, read_only: bool) -> None:
    fcntl.ioctl(device, _BLKROSET, struct.pack("i", read_only))


def is_read_only(device: int) -> bool:
    (value,) = struct.unpack("i", fcntl.ioctl(device, _BLKROGET, struct.pack("i", 0)))
    return bool(value)


def drop_cache(device: int) -> None:
    """Write back and forget everything cached of a block device, so that what is read next is on the medium."""
    fcntl.ioctl(device, _BLKFLSBUF)


def disk_sequence(device: int) -> int:
    """The number no other medium of this boot has, of the very device that is open."""
    (value,) = struct.unpack("Q", fcntl.ioctl(device, _BLKGETDISKSEQ, bytes(8)))
    return int(value)


def make_mount(
    fs_type: str, source: str, options: Mapping[str, str | None], *, writable: bool, owners: int | None
) -> int:
    """A mount that is nowhere yet, as a descriptor. ``owners`` is a user namespace whose map says as whom the
    owners on the medium count. Raises KernelRefusedError."""
    context = _call("fsopen", fs_type.encode(), _FSOPEN_CLOEXEC)
    try:
        try:
            _configure(context, source, options, writable=writable)
            attributes = _RESTRICTIONS | (0 if writable else _MOUNT_ATTR_RDONLY)
            mount = _call("fsmount", context, _FSMOUNT_CLOEXEC, attributes)
        except OSError as error:
            raise KernelRefusedError(error, _said(context)) from error
    finally:
        os.close(context)
    if owners is not None:
        try:
            _map_owners(mount, owners)
        except OSError:
            os.close(mount)
            raise
    return mount


def attach(mount: int, directory: bytes) -> None:
    _call("move_mount", mount, b"", _AT_FDCWD, directory, _MOVE_MOUNT_F_EMPTY_PATH)


def unmount(directory: bytes, *, lazily: bool) -> None:
    _call("umount2", directory, _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazily else 0))


def owner_map(*, user_id: int, group_id: int) -> int:
    """A user namespace, as a descriptor, in which the medium's root is this user and everybody else is nobody.

    Call it while the process has one thread: the namespace is made by a child that lives until its map is written.
    """
    ready, made = os.pipe()
    child = os.fork()
    if child == 0:
        _be_a_namespace(made)
    try:
        os.close(made)
        if os.read(ready, 1) != b"1":
            raise OSError(errno.EPERM, "no user namespace could be made")
        for name, outside in (("uid_map", user_id), ("gid_map", group_id)):
            with open(f"/proc/{child}/{name}", "wb", buffering=0) as file:
                file.write(b"0 %d 1" % outside)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        with suppress(ProcessLookupError):
            os.kill(child, 9)
        os.waitpid(child, 0)


def _be_a_namespace(made: int) -> None:
    """The child: never returns."""
    try:
        _call("unshare", _CLONE_NEWUSER)
        os.write(made, b"1")
        _LIBC.pause()
    finally:
        os._exit(1)


def _configure(context: int, source: str, options: Mapping[str, str | None], *, writable: bool) -> None:
    _set(context, "source", source)
    if not writable:
        _set(context, "ro", None)
    for name, value in options.items():
        _set(context, name, value)
    _call("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)


def _set(context: int, name: str, value: str | None) -> None:
    if value is None:
        _call("fsconfig", context, _FSCONFIG_SET_FLAG, name.encode(), None, 0)
    else:
        _call("fsconfig", context, _FSCONFIG_SET_STRING, name.encode(), value.encode(), 0)


def _said(context: int) -> str:
    """The kernel keeps its messages about a mount in the descriptor it was configured by, one for each read."""
    said: list[str] = []
    with suppress(OSError):
        while len(said) < 8:
            said.append(os.read(context, _LOG_BYTES).decode("utf-8", "replace").strip())
    return "; ".join(said)


def _map_owners(mount: int, owners: int) -> None:
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, owners)
    _call("mount_setattr", mount, b"", _AT_EMPTY_PATH, attributes, len(attributes))


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_LIBC, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
