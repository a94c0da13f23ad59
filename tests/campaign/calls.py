"""The system calls of simulated programs: each that changes a disk is a durable step at which something can happen.

While ``installed``, ``os``, ``open`` and ``sqlite3.connect`` are replaced in this Python process. Calls of the
simulation itself, and paths outside its root, pass through untouched.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import agent.spool.common_sync
import collector.files
from tests.campaign.acts import Act, Verb
from tests.campaign.commits import SimConnection
from tests.campaign.kernel import Kernel, put_aside
from tests.campaign.process import CURRENT

_REAL: Final[dict[str, Any]] = {
    name: getattr(os, name)
    for name in (
        "open", "close", "write", "pwrite", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fchmod",
        "chmod", "rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "statvfs",
    )
}  # fmt: skip
_IO_OPEN: Final[Any] = io.open
_CONNECT: Final[Any] = sqlite3.connect
_FREE_BYTES: Final = 1 << 40


@contextmanager
def installed(kernel: Kernel) -> Iterator[None]:
    """The kernel's calls instead of the system's."""
    calls = _Calls(kernel)
    with ExitStack() as stack:

        def put(module: object, name: str, call: object) -> None:
            stack.enter_context(patch.object(module, name, call))

        for name in _REAL:
            put(os, name, getattr(calls, name))
        put(io, "open", calls.io_open)
        put(builtins, "open", calls.io_open)
        for module in (collector.files, agent.spool.common_sync):
            put(module, "_C", SimpleNamespace(syncfs=calls.syncfs))
        for module in (sqlite3, sqlite3.dbapi2):
            put(module, "connect", calls.connect)
        yield
    put_aside(kernel.left_over)


class _Calls:
    """The replacements, with the names and arguments of the originals."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    # --- names -------------------------------------------------------------------------------------------------

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        text = None if dir_fd is not None else self._kernel.ours(path)
        if text is None:
            descriptor: int = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
            return descriptor
        makes = flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.lexists(text))
        if makes:
            descriptor = self._kernel.step(Verb.CREATE, text, lambda: self._open(text, flags, mode))
        else:
            self._kernel.loop.pause()
            self._kernel.ours(path)
            descriptor = self._open(text, flags, mode)
        return descriptor

    def _open(self, text: str, flags: int, mode: int) -> int:
        descriptor: int = _REAL["open"](text, flags, mode)
        process = CURRENT.get()
        assert process is not None
        self._kernel.note_open(process, descriptor, text)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._kernel.forget(descriptor)
        _REAL["close"](descriptor)

    def rename(self, source: Any, target: Any, **more: Any) -> None:
        self._name(Verb.RENAME, target, "rename", source, target, **more)

    def replace(self, source: Any, target: Any, **more: Any) -> None:
        self._name(Verb.RENAME, target, "replace", source, target, **more)

    def link(self, source: Any, target: Any, **more: Any) -> None:
        self._name(Verb.LINK, target, "link", source, target, **more)

    def unlink(self, path: Any, **more: Any) -> None:
        self._name(Verb.REMOVE, path, "unlink", path, **more)

    def remove(self, path: Any, **more: Any) -> None:
        self._name(Verb.REMOVE, path, "remove", path, **more)

    def rmdir(self, path: Any, **more: Any) -> None:
        self._name(Verb.REMOVE, path, "rmdir", path, **more)

    def mkdir(self, path: Any, mode: int = 0o777, **more: Any) -> None:
        self._name(Verb.FOLDER, path, "mkdir", path, mode, **more)

    def chmod(self, path: Any, mode: int, **more: Any) -> None:
        self._name(Verb.CHANGE, path, "chmod", path, mode, **more)

    def _name(self, verb: Verb, path: Any, call: str, *args: Any, **more: Any) -> None:
        text = None if more.get("dir_fd") is not None else self._kernel.ours(path)
        if text is None:
            _REAL[call](*args, **more)
        else:
            self._kernel.step(verb, text, lambda: _REAL[call](*args, **more))

    def statvfs(self, path: Any) -> Any:
        facts = _REAL["statvfs"](path)
        process = CURRENT.get()
        if process is None or self._kernel.ours(path) is None:
            return facts
        free = 0 if self._kernel.site.is_full(process) else _FREE_BYTES // facts.f_frsize
        return os.statvfs_result((*facts[:3], free, free, *facts[5:]))

    # --- bytes -------------------------------------------------------------------------------------------------

    def write(self, descriptor: int, data: Any) -> int:
        return self._write(descriptor, data, lambda piece: _REAL["write"](descriptor, piece))

    def pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        return self._write(descriptor, data, lambda piece: _REAL["pwrite"](descriptor, piece, offset))

    def writev(self, descriptor: int, buffers: Any) -> int:
        return self.write(descriptor, b"".join(buffers))

    def pwritev(self, descriptor: int, buffers: Any, offset: int, flags: int = 0) -> int:
        return self.pwrite(descriptor, b"".join(buffers), offset)

    def _write(self, descriptor: int, data: Any, write: Callable[[Any], int]) -> int:
        path = self._kernel.path_of(descriptor)
        if path is None or CURRENT.get() is None:
            return write(data)
        half = memoryview(data)[: max(1, len(data) // 2)]
        return self._kernel.step(
            Verb.WRITE,
            path,
            lambda: write(data),
            fail=lambda: write(half),
            instead={Act.SHORT: lambda: write(half)},
        )

    def ftruncate(self, descriptor: int, length: int) -> None:
        self._change(descriptor, lambda: _REAL["ftruncate"](descriptor, length))

    def fchmod(self, descriptor: int, mode: int) -> None:
        self._change(descriptor, lambda: _REAL["fchmod"](descriptor, mode))

    def _change(self, descriptor: int, call: Callable[[], None]) -> None:
        path = self._kernel.path_of(descriptor)
        if path is None or CURRENT.get() is None:
            call()
        else:
            self._kernel.step(Verb.CHANGE, path, call)

    def fsync(self, descriptor: int) -> None:
        process, path = CURRENT.get(), self._kernel.path_of(descriptor)
        if process is None or path is None:
            return
        disk = self._kernel.site.disk_of(process)

        def lie() -> None:
            disk.damage(descriptor)

        self._kernel.step(
            Verb.SYNC_FOLDER if os.path.isdir(path) else Verb.SYNC,
            path,
            lambda: disk.sync(descriptor),
            fail=lambda: disk.forget(descriptor),
            instead={Act.LIE: lie},
        )

    fdatasync = fsync

    def syncfs(self, descriptor: int) -> int:
        """As C has it: errors are a return value."""
        process, path = CURRENT.get(), self._kernel.path_of(descriptor)
        if process is None or path is None:
            return 0
        disk = self._kernel.site.disk_of(process)

        def lie() -> None:
            disk.lose_waiting(disk.waiting()[:1])
            disk.sync_all()

        try:
            self._kernel.step(
                Verb.SYNC,
                path,
                disk.sync_all,
                fail=lambda: disk.lose_waiting(disk.waiting()),
                instead={Act.LIE: lie},
            )
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1
        return 0

    # --- what other libraries do -------------------------------------------------------------------------------

    def io_open(self, file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        if isinstance(file, int) and CURRENT.get() is not None:
            path = self._kernel.path_of(file)
            opened = _IO_OPEN(file, mode, *args, **more)
            if path is not None:
                self._kernel.note_file(opened, path)
            return opened
        text = self._kernel.ours(file)
        if text is None:
            return _IO_OPEN(file, mode, *args, **more)
        if mode[0] in "wxa":
            opened = self._kernel.step(Verb.CREATE, text, lambda: _IO_OPEN(file, mode, *args, **more))
        else:
            opened = _IO_OPEN(file, mode, *args, **more)
        self._kernel.note_file(opened, text)
        return opened

    def connect(self, database: Any, *args: Any, **more: Any) -> Any:
        process = CURRENT.get()
        if process is None or self._kernel.ours(database) is None:
            return _CONNECT(database, *args, **more)
        connection = _CONNECT(database, *args, factory=SimConnection, **more)
        connection.kernel, connection.path = self._kernel, os.fsdecode(database)
        process.on_death.append(connection.drop)
        return connection
