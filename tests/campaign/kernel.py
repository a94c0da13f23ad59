"""The system calls of simulated programs: each that changes a disk is a durable step at which something can happen.

While it is installed, ``os``, ``open`` and ``sqlite3.connect`` are replaced in this Python process. Calls of the
simulation itself, and paths outside its root, pass through untouched.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import gc
import io
import os
import sqlite3
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import SimpleNamespace
from typing import Any, Final, Protocol, TypeVar

import collector.files
from tests.campaign.clockwork import Clockwork
from tests.campaign.disk import Disk
from tests.campaign.process import CURRENT, Crash, Process, living

R = TypeVar("R")


class Verb(StrEnum):
    """What a durable step does."""

    CREATE = "create"
    WRITE = "write"
    SYNC = "sync"
    SYNC_FOLDER = "sync-folder"
    RENAME = "rename"
    LINK = "link"
    REMOVE = "remove"
    FOLDER = "make-folder"
    CHANGE = "change"
    COMMIT = "commit"


class Act(Enum):
    """What happens at a step instead of, before or after the call."""

    NO_SPACE = "no-space"
    IO_ERROR = "io-error"
    DONE_AND_FAILED = "done-and-failed"
    SHORT = "short-write"
    LIE = "lying-sync"
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"
    POWER_BEFORE = "power-cut-before"
    POWER_AFTER = "power-cut-after"


CRASHES: Final = frozenset({Act.CRASH_BEFORE, Act.CRASH_AFTER, Act.POWER_BEFORE, Act.POWER_AFTER})


class Site(Protocol):
    """What the kernel asks of the simulation."""

    def at_step(self, process: Process, verb: Verb, path: str) -> Act | None:
        """Whether something happens at this step."""

    def end(self, process: Process, *, power_cut: bool) -> None:
        """The process dies now, and its machine loses power if so."""

    def disk_of(self, process: Process) -> Disk: ...

    def is_full(self, process: Process) -> bool: ...


@dataclass(eq=False)
class Kernel:
    """Installs itself as context manager. ``root`` is the folder below which every machine has its disk."""

    root: str
    site: Site
    loop: Clockwork
    _saved: list[tuple[object, str, object]] = field(default_factory=list)
    _paths: dict[int, str] = field(default_factory=dict)
    _owners: dict[int, Process] = field(default_factory=dict)
    _left_over: set[int] = field(default_factory=set)
    """Numbers a dead process had open. They lead nowhere, and nobody else gets them while objects may still name
    them."""
    _writers: dict[str, SimConnection] = field(default_factory=dict)

    def __enter__(self) -> None:
        calls = _Calls(self)
        for name in (
            "open", "close", "write", "pwrite", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fchmod",
            "chmod", "rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "statvfs",
        ):  # fmt: skip
            self._replace(os, name, getattr(calls, name))
        self._replace(io, "open", calls.io_open)
        self._replace(builtins, "open", calls.io_open)
        self._replace(collector.files, "_C", SimpleNamespace(syncfs=calls.syncfs))
        for module in (sqlite3, sqlite3.dbapi2):
            self._replace(module, "connect", calls.connect)

    def _replace(self, module: object, name: str, call: object) -> None:
        self._saved.append((module, name, getattr(module, name)))
        setattr(module, name, call)

    def __exit__(self, *_: object) -> None:
        gc.collect()  # what dead processes left lets go of its numbers
        for descriptor in self._left_over:
            _REAL["close"](descriptor)
        for module, name, call in reversed(self._saved):
            setattr(module, name, call)
        self._saved.clear()

    def ours(self, path: object) -> str | None:
        """The path as text if a simulated program uses a simulated disk. Raises Crash for a dead one."""
        process = CURRENT.get()
        if process is None or isinstance(path, int):
            return None
        text = os.fsdecode(path)  # type: ignore[arg-type]
        if not text.startswith(self.root):
            return None
        process.check_alive()
        return text

    def step(
        self,
        verb: Verb,
        path: str,
        perform: Callable[[], R],
        *,
        fail: Callable[[], object] | None = None,
        instead: Mapping[Act, Callable[[], R]] | None = None,
    ) -> R:
        """One durable step. ``fail`` is what a failure does all the same, ``instead`` what else a call can do."""
        process = CURRENT.get()
        if process is None:
            return perform()
        process.check_alive()
        self.loop.pause()
        process.check_alive()
        act = self.site.at_step(process, verb, path)
        if act is None:
            return perform()
        if instead is not None and act in instead:
            return instead[act]()
        if act in (Act.CRASH_BEFORE, Act.POWER_BEFORE):
            self._end(process, act)
        if act in (Act.NO_SPACE, Act.IO_ERROR):
            if fail is not None:
                fail()
            number = errno.ENOSPC if act is Act.NO_SPACE else errno.EIO
            raise OSError(number, os.strerror(number), path)
        result = perform()
        if act is Act.DONE_AND_FAILED:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if act in CRASHES:
            self._end(process, act)
        return result

    def _end(self, process: Process, act: Act) -> None:
        self.site.end(process, power_cut=act in (Act.POWER_BEFORE, Act.POWER_AFTER))
        raise Crash(act.value)

    def note_open(self, process: Process, descriptor: int, path: str) -> None:
        self._paths[descriptor] = path
        self._owners[descriptor] = process

        def close() -> None:
            if self._owners.get(descriptor) is process:
                del self._owners[descriptor]
                os.dup2(_NOWHERE, descriptor, inheritable=False)
                self._left_over.add(descriptor)

        process.on_death.append(close)

    def note_file(self, file: Any, path: str) -> None:
        """A file object. When its process dies, what it still holds goes nowhere."""
        process = CURRENT.get()
        assert process is not None
        descriptor = file.fileno()
        self._paths[descriptor] = path
        self._owners.pop(descriptor, None)
        known = weakref.ref(file)

        def cut_off() -> None:
            found = known()
            if found is not None and not found.closed:
                os.dup2(_NOWHERE, descriptor)

        process.on_death.append(cut_off)

    def take_turn(self, connection: SimConnection) -> None:
        """SQLite makes a writer wait for another; here it waits without holding up the one it waits for."""
        other = self._writers.get(connection.path)
        while other is not None and other is not connection and other.is_writing():
            worker = self.loop.worker
            if worker is None or self.loop.locks_held:
                break
            worker.give_way(0.001)
            living()
            other = self._writers.get(connection.path)
        self._writers[connection.path] = connection

    def path_of(self, descriptor: int) -> str | None:
        return self._paths.get(descriptor)

    def forget(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        self._owners.pop(descriptor, None)
        self._left_over.discard(descriptor)


_REAL: Final[dict[str, Any]] = {
    name: getattr(os, name)
    for name in (
        "open", "close", "write", "pwrite", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fchmod",
        "chmod", "rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "statvfs",
    )
}  # fmt: skip
_IO_OPEN: Final[Any] = io.open
_CONNECT: Final[Any] = sqlite3.connect
_NOWHERE: Final = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
_MAKES: Final = os.O_CREAT | os.O_TRUNC
_FREE_BYTES: Final = 1 << 40


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


class SimConnection(sqlite3.Connection):
    """A connection whose commits are durable steps. A commit that fails leaves its transaction open, as SQLite's
    does; one that is "done and failed" does not."""

    kernel: Kernel
    path: str
    is_dropped = False

    def is_writing(self) -> bool:
        return not self.is_dropped and self.in_transaction

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(_SimCursor)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        living()
        if sql == "BEGIN IMMEDIATE":
            self.kernel.take_turn(self)
        if sql == "COMMIT":
            return self._commit(lambda: super(SimConnection, self).execute(sql))
        return super().execute(sql, *args)

    def commit(self) -> None:
        living()
        if self.in_transaction:
            self._commit(super().commit)

    def _commit(self, perform: Callable[[], R]) -> R:
        try:
            return self.kernel.step(Verb.COMMIT, self.path, perform)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            failure = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
            failure.sqlite_errorname = "SQLITE_FULL" if full else "SQLITE_IOERR"
            raise failure from error

    def drop(self) -> None:
        """The process is dead: what was not committed is undone when the file is opened again."""
        self.is_dropped = True
        with suppress(sqlite3.Error):
            super().close()


class _SimCursor(sqlite3.Cursor):
    def execute(self, sql: str, *args: Any) -> Any:
        living()
        if sql == "BEGIN IMMEDIATE" and isinstance(self.connection, SimConnection):
            self.connection.kernel.take_turn(self.connection)
        return super().execute(sql, *args)
