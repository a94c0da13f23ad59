"""A machine's disk: real files in memory (tmpfs), and beside them what a power cut would leave.

What programs see is the real folder, reached by the real calls. What is durable is noted when they ask for it: the
content of a file when the file is synced, the names in a folder when the folder is synced, as POSIX promises and no
more. ``cut_power`` puts the folder back to what is durable. SQLite's files are left out: what it committed counts as
durable, and nothing else is in them after it was opened again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_BY_SQLITE: Final = (".sqlite", ".sqlite-wal", ".sqlite-shm")
_open, _close, _read, _pwrite = os.open, os.close, os.read, os.pwrite
_link, _unlink, _rmdir, _mkdir, _chmod = os.link, os.unlink, os.rmdir, os.mkdir, os.chmod
_scandir, _stat, _fstat = os.scandir, os.stat, os.fstat


@dataclass(slots=True)
class _Durable:
    content: bytes
    mode: int


@dataclass(eq=False)
class Disk:
    """The folder ``root``; everything in it when this is made is durable."""

    root: Path
    _files: dict[int, _Durable] = field(default_factory=dict)
    _folders: dict[int, dict[str, int]] = field(default_factory=dict)
    _marks: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._take_over(str(self.root))

    def _take_over(self, folder: str) -> None:
        names = {}
        for entry in _scandir(folder):
            if entry.name.endswith(_BY_SQLITE):
                continue
            names[entry.name] = entry.inode()
            if entry.is_dir(follow_symlinks=False):
                self._take_over(entry.path)
            else:
                self._files[entry.inode()] = _Durable(_content(entry.path), entry.stat().st_mode & 0o777)
        self._folders[_stat(folder).st_ino] = names

    # --- what programs ask for ---------------------------------------------------------------------------------

    def sync(self, descriptor: int) -> None:
        """fsync or fdatasync of anything."""
        facts = _fstat(descriptor)
        path = f"/proc/self/fd/{descriptor}"
        if stat.S_ISDIR(facts.st_mode):
            with _scandir(path) as entries:
                found = [entry for entry in entries if not entry.name.endswith(_BY_SQLITE)]
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        self._folders.setdefault(entry.inode(), {})
                self._folders[facts.st_ino] = {entry.name: entry.inode() for entry in found}
        else:
            self._files[facts.st_ino] = _Durable(_content(path), facts.st_mode & 0o777)

    def sync_all(self) -> None:
        """syncfs: everything on the disk, names and bytes."""
        self._note_all(str(self.root))

    def _note_all(self, folder: str) -> None:
        names: dict[str, int] = {}
        with _scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(_BY_SQLITE):
                    continue
                names[entry.name] = entry.inode()
                if entry.is_dir(follow_symlinks=False):
                    self._note_all(entry.path)
                else:
                    self._note_file(entry)
        self._folders[_stat(folder).st_ino] = names

    def _note_file(self, entry: os.DirEntry[str]) -> None:
        facts = entry.stat(follow_symlinks=False)
        mark = (facts.st_size, facts.st_mtime_ns, facts.st_mode)
        if self._marks.get(facts.st_ino) != mark:
            self._files[facts.st_ino] = _Durable(_content(entry.path), facts.st_mode & 0o777)
            self._marks[facts.st_ino] = mark

    def waiting(self) -> list[str]:
        """Files whose bytes are not durable."""
        return [path for path in self._all_files(str(self.root)) if self._is_waiting(path)]

    def _all_files(self, folder: str) -> Iterator[str]:
        with _scandir(folder) as entries:
            for entry in sorted(entries, key=lambda found: found.name):
                if entry.is_dir(follow_symlinks=False):
                    yield from self._all_files(entry.path)
                elif not entry.name.endswith(_BY_SQLITE):
                    yield entry.path

    def _is_waiting(self, path: str) -> bool:
        known = self._files.get(_stat(path).st_ino)
        return known is None or known.content != _content(path)

    def lose_waiting(self, paths: Iterable[str]) -> None:
        """These files' bytes never reach the disk, whatever it says."""
        for path in paths:
            facts = _stat(path)
            _overwrite(path, _holes(self._files.get(facts.st_ino), facts.st_size))

    def forget(self, descriptor: int) -> None:
        """A sync that failed: what was waiting never reaches the disk, and the next sync does not know of it."""
        facts = _fstat(descriptor)
        if stat.S_ISREG(facts.st_mode):
            known = self._files.get(facts.st_ino)
            _overwrite(f"/proc/self/fd/{descriptor}", _holes(known, facts.st_size))

    def damage(self, descriptor: int) -> bool:
        """A sync that lies: it succeeds, and the disk holds other bytes. Whether there were any to damage."""
        facts = _fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
            return False
        known = self._files.get(facts.st_ino)
        wanted = _content(f"/proc/self/fd/{descriptor}")
        left = _holes(known, facts.st_size)
        if left == wanted:
            return False
        _overwrite(f"/proc/self/fd/{descriptor}", left)
        return True

    # --- what is left ------------------------------------------------------------------------------------------

    def durable_files(self) -> Iterator[tuple[str, bytes]]:
        """Path below the root and content of everything a power cut now would leave."""
        return self._walk(_stat(self.root).st_ino, "")

    def _walk(self, number: int, above: str) -> Iterator[tuple[str, bytes]]:
        for name, child in self._folders.get(number, {}).items():
            if child in self._folders:
                yield from self._walk(child, f"{above}{name}/")
            else:
                found = self._files.get(child)
                yield f"{above}{name}", b"" if found is None else found.content

    def read_durable(self, path: str) -> bytes | None:
        """Content of one file, by its path below the root, as a power cut now would leave it."""
        number = _stat(self.root).st_ino
        for name in path.split("/"):
            child = self._folders.get(number, {}).get(name)
            if child is None:
                return None
            number = child
        found = self._files.get(number)
        return b"" if found is None else found.content

    def cut_power(self) -> None:
        """Only what is durable is left. Nothing may be open."""
        self._restore(str(self.root), _stat(self.root).st_ino, {})

    def _restore(self, folder: str, number: int, placed: dict[int, str]) -> None:
        wanted = self._folders.setdefault(number, {})
        there = {}
        for entry in list(_scandir(folder)):
            if entry.name.endswith(_BY_SQLITE):
                continue
            if wanted.get(entry.name) != entry.inode():
                _remove(entry.path, entry.is_dir(follow_symlinks=False))
            else:
                there[entry.name] = entry.inode()
        for name, child in list(wanted.items()):
            path = f"{folder}/{name}"
            if self._is_folder(child):
                wanted[name] = self._restore_folder(path, child, name in there, placed)
            else:
                wanted[name] = self._restore_file(path, child, name in there, placed)

    def _is_folder(self, number: int) -> bool:
        return number in self._folders and number not in self._files

    def _restore_folder(self, path: str, number: int, is_there: bool, placed: dict[int, str]) -> int:
        if not is_there:
            _mkdir(path, 0o750)
            fresh = _stat(path).st_ino
            self._folders[fresh] = self._folders.pop(number, {})
            number = fresh
        self._restore(path, number, placed)
        return number

    def _restore_file(self, path: str, number: int, is_there: bool, placed: dict[int, str]) -> int:
        durable = self._files.setdefault(number, _Durable(b"", 0o600))
        if number in placed:
            if not is_there:
                _link(placed[number], path)
            return _stat(path).st_ino
        if is_there:
            if _content(path) != durable.content:
                _overwrite(path, durable.content)
            _chmod(path, durable.mode)
            placed[number] = path
            return number
        _create(path, durable)
        fresh = _stat(path).st_ino
        self._files[fresh] = durable
        placed[number] = placed[fresh] = path
        return fresh


def _holes(known: _Durable | None, size: int) -> bytes:
    """What the disk holds of a file of this size: what was synced before, and zeros where nothing was."""
    before = b"" if known is None else known.content
    return before[:size].ljust(size, b"\0")


def _content(path: str) -> bytes:
    descriptor = _open(path, os.O_RDONLY)
    try:
        pieces = []
        while piece := _read(descriptor, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        _close(descriptor)


def _overwrite(path: str, content: bytes) -> None:
    mode = _stat(path).st_mode & 0o777
    _chmod(path, 0o600)
    descriptor = _open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        _pwrite(descriptor, content, 0)
    finally:
        _close(descriptor)
    _chmod(path, mode)


def _create(path: str, durable: _Durable) -> None:
    descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _pwrite(descriptor, durable.content, 0)
    finally:
        _close(descriptor)
    _chmod(path, durable.mode)


def _remove(path: str, is_folder: bool) -> None:
    if is_folder:
        for entry in list(_scandir(path)):
            if not entry.name.endswith(_BY_SQLITE):
                _remove(entry.path, entry.is_dir(follow_symlinks=False))
        _rmdir(path)
    else:
        _unlink(path)
