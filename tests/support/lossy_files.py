"""The file port in memory, with a power switch: whatever was not synced is gone after ``crash``.

It keeps, for every file and every folder, what the kernel shows and what the disk holds. Syncing copies the one to
the other; a failed sync forgets what was waiting, as Linux does, so that a second sync succeeds without it.
Faults strike the n-th call: refused, or performed and then reported as failed.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from collector.files import BLOCK_BYTES, Appender, Block, Space

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _File:
    shown: bytearray = field(default_factory=bytearray)
    disk: bytes = b""
    waiting: list[tuple[int, int]] = field(default_factory=list)  # ranges written since the last sync
    mode: int = 0o640
    disk_mode: int = 0o640
    immutable: bool = False

    def flushed(self) -> bytes:
        """What the disk would hold if everything waiting were written to it."""
        disk = bytearray(self.disk[: len(self.shown)].ljust(len(self.shown), b"\0"))
        for start, end in self.waiting:
            disk[start:end] = self.shown[start:end]
        return bytes(disk[: len(self.shown)])


@dataclass(slots=True, eq=False)
class _Folder:
    shown: dict[str, _File | _Folder] = field(default_factory=dict)
    disk: dict[str, _File | _Folder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Strikes call number ``at`` (from 0): raises ``error``, after doing the work if ``performed``."""

    at: int
    error: OSError
    performed: bool = False


def _counted(
    method: Callable[Concatenate[LossyFiles, P], R],
) -> Callable[Concatenate[LossyFiles, P], R]:
    @functools.wraps(method)
    def call(self: LossyFiles, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return self.counted(method.__name__, args[0], functools.partial(method, self, *args, **kwargs))

    return call


class LossyFiles:
    """``Files`` whose power can fail. ``calls`` lists every verb with the name it was used on, in order."""

    def __init__(self, *, fault: Fault | None = None) -> None:
        self.fault = fault
        self.total_bytes = 1 << 40
        self.calls: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self._root = _Folder()
        self._power = 0

    def crash(self) -> None:
        """Power cut and restart: only what is on disk is left, open appenders are void, the fault is over."""
        with self.lock:
            self.fault = None
            self._power += 1
            _restart(self._root)

    def counted(self, verb: str, path: object, action: Callable[[], R]) -> R:
        """Runs one port call under the fault plan."""
        number = len(self.calls)
        self.calls.append((verb, path.name if isinstance(path, Path) else str(path)))
        fault = self.fault if self.fault and self.fault.at == number else None
        if fault and not fault.performed:
            self._fail_halfway(verb, path)
            raise fault.error
        result = action()
        if fault:
            raise fault.error
        return result

    @property
    def power(self) -> int:
        """Counts restarts; an appender of an earlier one is void."""
        return self._power

    @_counted
    def make_folder(self, folder: Path) -> None:
        self._make_folder(folder, durable=True)

    @_counted
    def add_folder(self, folder: Path) -> None:
        if not isinstance(self._folder(folder.parent).shown.setdefault(folder.name, _Folder()), _Folder):
            raise FileExistsError(errno.EEXIST, "not a folder")

    @_counted
    def remove_folder(self, folder: Path) -> None:
        if self._folder(folder).shown:
            raise OSError(errno.ENOTEMPTY, "not empty")
        del self._folder(folder.parent).shown[folder.name]

    @_counted
    def create(self, path: Path, *, read_only: bool = False) -> Appender:
        folder = self._folder(path.parent)
        if path.name in folder.shown:
            raise FileExistsError(errno.EEXIST, "exists")
        folder.shown[path.name] = _File(mode=0o440 if read_only else 0o640)
        return _LossyAppender(self, path)

    @_counted
    def append(self, path: Path) -> Appender:
        self.node(path)
        return _LossyAppender(self, path)

    @_counted
    def truncate(self, path: Path, size_bytes: int) -> None:
        file = self.node(path)
        file.waiting = [(start, min(end, size_bytes)) for start, end in file.waiting if start < size_bytes]
        del file.shown[size_bytes:]
        file.shown.extend(bytes(size_bytes - len(file.shown)))
        _sync(file)

    @_counted
    def sync_file(self, path: Path) -> None:
        _sync(self.node(path))

    @_counted
    def sync_folder(self, folder: Path) -> None:
        node = self._folder(folder)
        node.disk = dict(node.shown)

    @_counted
    def sync_all(self, folder: Path) -> None:
        self._folder(folder)
        for file in _files_in(self._root):
            _sync(file)
        for one in _folders_in(self._root):
            one.disk = dict(one.shown)

    @_counted
    def read(self, path: Path, offset_bytes: int, size_bytes: int) -> bytes:
        return bytes(self.node(path).shown[offset_bytes : offset_bytes + size_bytes])

    @_counted
    def reread(self, path: Path, visit: Callable[[Block], object]) -> int:
        data = self.node(path).flushed()
        for start in range(0, len(data), BLOCK_BYTES):
            visit(data[start : start + BLOCK_BYTES])
        return len(data)

    @_counted
    def link(self, source: Path, target: Path) -> None:
        file, folder = self.node(source), self._folder(target.parent)
        if target.name in folder.shown:
            raise FileExistsError(errno.EEXIST, "exists")
        folder.shown[target.name] = file

    @_counted
    def replace(self, source: Path, target: Path) -> None:
        file = self.node(source)
        self._folder(target.parent).shown[target.name] = file
        del self._folder(source.parent).shown[source.name]

    @_counted
    def make_read_only(self, path: Path) -> None:
        self.node(path).mode = 0o440

    @_counted
    def make_immutable(self, path: Path) -> bool:
        self.node(path).immutable = True
        return True

    @_counted
    def remove(self, path: Path) -> None:
        if self.node(path).immutable:
            raise PermissionError(errno.EPERM, "immutable")
        del self._folder(path.parent).shown[path.name]

    @_counted
    def names(self, folder: Path) -> list[str]:
        try:
            return sorted(self._folder(folder).shown)
        except FileNotFoundError:
            return []

    @_counted
    def size_bytes(self, path: Path) -> int:
        return len(self.node(path).shown)

    @_counted
    def mode(self, path: Path) -> int:
        return self.node(path).mode

    @_counted
    def space(self, folder: Path) -> Space:
        self._folder(folder)
        used = sum(len(file.shown) for file in _files_below(self._root))
        return Space(total_bytes=self.total_bytes, free_bytes=max(0, self.total_bytes - used))

    def overwrite(self, path: Path, data: bytes) -> None:
        """Damage for tests: what a failing disk, or a hand in the folder, does to a file."""
        file = self.node(path)
        file.shown, file.disk, file.waiting = bytearray(data), data, []

    def node(self, path: Path) -> _File:
        """The file behind a path. Raises FileNotFoundError."""
        found = self._folder(path.parent).shown.get(path.name)
        if not isinstance(found, _File):
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return found

    def _fail_halfway(self, verb: str, path: object) -> None:
        """What a refused call does all the same: a failed sync forgets, a folder is there but not durable."""
        if not isinstance(path, Path):
            return
        if verb in ("sync", "sync_file"):
            self.node(path).waiting.clear()
        elif verb == "sync_all":
            for file in _files_in(self._root):
                file.waiting.clear()
        elif verb == "make_folder":
            self._make_folder(path, durable=False)

    def _make_folder(self, folder: Path, *, durable: bool) -> None:
        parent = self._root
        for name in _parts(folder):
            child = parent.shown.setdefault(name, _Folder())
            if not isinstance(child, _Folder):
                raise NotADirectoryError(errno.ENOTDIR, "not a folder")
            if durable:
                parent.disk[name] = child
            parent = child

    def _folder(self, folder: Path) -> _Folder:
        node: _File | _Folder | None = self._root
        for name in _parts(folder):
            node = node.shown.get(name) if isinstance(node, _Folder) else None
        if not isinstance(node, _Folder):
            raise FileNotFoundError(errno.ENOENT, "no such folder")
        return node


class _LossyAppender:
    def __init__(self, files: LossyFiles, path: Path) -> None:
        self._files = files
        self._path = path
        self._file = files.node(path)
        self._power = files.power
        self._dead = False
        self._size_bytes = len(self._file.shown)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def write(self, block: Block) -> int:
        with self._files.lock:
            self._check_usable()
            self._files.counted("write", self._path, lambda: self._append(bytes(block)))
            self._size_bytes = len(self._file.shown)
            return len(block)

    def sync(self) -> None:
        with self._files.lock:
            self._check_usable()
            try:
                self._files.counted("sync", self._path, lambda: _sync(self._file))
            except OSError:
                self._dead = True
                raise

    def close(self) -> None:
        self._dead = True

    def _append(self, block: bytes) -> None:
        self._file.waiting.append((len(self._file.shown), len(self._file.shown) + len(block)))
        self._file.shown += block

    def _check_usable(self) -> None:
        if self._dead or self._power != self._files.power:
            raise OSError(errno.EIO, "the file is lost or closed")


def _files_below(folder: _Folder) -> Iterator[_File]:
    for child in folder.shown.values():
        if isinstance(child, _Folder):
            yield from _files_below(child)
        else:
            yield child


def _parts(path: Path) -> tuple[str, ...]:
    return path.parts[1:] if path.is_absolute() else path.parts


def _folders_in(folder: _Folder) -> Iterator[_Folder]:
    yield folder
    for child in folder.shown.values():
        if isinstance(child, _Folder):
            yield from _folders_in(child)


def _files_in(folder: _Folder) -> Iterator[_File]:
    for each in _folders_in(folder):
        yield from (child for child in each.shown.values() if isinstance(child, _File))


def _sync(file: _File) -> None:
    file.disk, file.disk_mode = file.flushed(), file.mode
    file.waiting.clear()


def _restart(folder: _Folder) -> None:
    folder.shown = dict(folder.disk)
    for child in folder.shown.values():
        if isinstance(child, _Folder):
            _restart(child)
        else:
            child.shown, child.mode = bytearray(child.disk), child.disk_mode
            child.waiting.clear()
