"""A backup of what cannot be made again (备份): log, objects, registers, settings, CA and, if asked for, keys.

It may be made beside a running collector. The checkpoint comes first: everything it covers was durable before it,
so what is copied afterwards is whole for it. What is copied is hashed on the way and read back; names under which
something whole lies already are passed over. The manifest is replaced last (``bag``). Catalogue, staging and the
broker's files are not kept: the first is made anew, the rest its senders repeat.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from collector.config import CollectorConfig
from collector.errors import ObjectCorruptError
from collector.files import PosixFiles
from collector.keeping import bag, state
from collector.keeping.copying import Copier
from collector.keeping.errors import BackupPlaceError, CatalogueNewerError, telling
from collector.keeping.sealed_keys import seal
from collector.keeping.stored_log import StoredLog
from collector.objects import ObjectClass
from collector.private_files import PUBLIC_MODE, read_private, write_durable
from collector.progress import Progress
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.tiles import Tile, parse_tile_path, tiles_for_size

COPYING: Final = "备份对象 objects"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMade:
    """What one run did. ``problems`` are files of the collector that are missing or damaged: the backup is complete
    without them, and somebody must look. ``only_here`` are objects the collector has lost and the backup holds."""

    entries: int
    files: int
    copied_files: int
    copied_bytes: int
    only_here: int
    keys: state.Keys
    problems: tuple[str, ...]


def back_up(
    config: CollectorConfig,
    place: Path,
    now: datetime,
    progress: Progress,
    *,
    passphrase: bytes | None = None,
    with_plain_keys: bool = False,
    recheck: bool = False,
) -> BackupMade:
    """Bring the backup in ``place`` up to date, or begin one. ``recheck`` also re-reads what it holds already.

    Raises BackupPlaceError, LogDamagedError, CatalogueNewerError when the place holds a later log than the collector
    has, KeyFileError, StorageError. The backup before is then still the one that counts.
    """
    _check_apart(config.data_dir, place)
    with telling(f"backing up to {place}"), _held(place):
        log = StoredLog.open(config.log_dir)
        _check_same(log, place)
        keys = _how(passphrase, with_plain_keys)
        if keys is not state.Keys.NONE:
            state.read_keys(config.data_dir)  # what is missing shows before hours of copying
        work = _Work(config=config, place=place, log=log, progress=progress, recheck=recheck)
        work.copy_log()
        work.copy_objects()
        work.check_payloads()
        current = work.write_state(now, keys, passphrase)
        bag.write_declaration(work.files, place)
        count = bag.write_manifest(work.files, place, work.items(current))
        work.clear_away(current)
    return BackupMade(
        entries=log.checkpoint.size,
        files=count,
        copied_files=work.copier.copied_files,
        copied_bytes=work.copier.copied_bytes,
        only_here=work.only_here,
        keys=keys,
        problems=tuple(work.problems),
    )


@dataclass(slots=True, kw_only=True)
class _Work:
    config: CollectorConfig
    place: Path
    log: StoredLog
    progress: Progress
    recheck: bool
    files: PosixFiles = field(default_factory=PosixFiles)
    copier: Copier = field(init=False)
    only_here: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.copier = Copier(self.files, self.place / bag.SCRATCH)

    def copy_log(self) -> None:
        """Only files the checkpoint covers, after all of them were checked: no damage is copied over what is good."""
        for _ in self.log.entries(self.progress):
            pass
        target = self.place / bag.LOG
        for tile in tiles_for_size(self.log.checkpoint.size):
            if not self._holds(target / tile.path, self.config.log_dir / tile.path):
                with self._tile_file(tile) as source:
                    self.copier.copy(source, target / tile.path)

    @contextlib.contextmanager
    def _tile_file(self, tile: Tile) -> Iterator[Path]:
        """A file with the tile's content. A partial one goes from the log when its place is full."""
        path = self.config.log_dir / tile.path
        if path.exists():
            yield path
            return
        cut = self.place / bag.SCRATCH / secrets.token_hex(16)
        write_durable(cut, self.log.copy.read(tile), mode=PUBLIC_MODE)
        try:
            yield cut
        finally:
            cut.unlink()

    def copy_objects(self) -> None:
        """Whatever lies in the store. One that is damaged there is not copied, and named."""
        for count, path in enumerate(_objects(self.config.objects_dir), start=1):
            source = self.config.objects_dir / path
            target = self.place / bag.OBJECTS / path
            if not self._holds(target, source, Digest.sha256(path.name)):
                try:
                    self.copier.copy(source, target, Digest.sha256(path.name))
                except ObjectCorruptError:
                    self.problems.append(f"objects/{path}: damaged")
            self.progress(COPYING, count, None)

    def check_payloads(self) -> None:
        """Reads the copied log from end to end, checked, and looks for the statement of every entry."""
        copied = self.log.reading_from(self.place / bag.LOG)
        objects = self.place / bag.OBJECTS
        for index, data in copied.entries(self.progress):
            entry = LogEntry.from_bytes(data)
            path = _object_path(entry.agency, ObjectClass.STATEMENTS, entry.statement)
            if not (objects / path).exists():
                self.problems.append(f"objects/{path}: missing, the statement at log index {index}")

    def write_state(self, now: datetime, keys: state.Keys, passphrase: bytes | None) -> Path:
        """A new folder with everything that changes, durable. The registers come after the checkpoint: a code that
        was used is never unused again."""
        folder = self.place / bag.STATE / f"{now:%Y%m%dT%H%M%S%f}"
        self.files.make_folder(folder)
        write_durable(folder / state.CHECKPOINT, self.log.note, mode=PUBLIC_MODE)
        write_durable(folder / state.VKEY, f"{self.log.key}\n".encode(), mode=PUBLIC_MODE)
        write_durable(folder / state.SETTINGS, self.config.path.read_bytes(), mode=PUBLIC_MODE)
        write_durable(folder / state.CA, self.config.trust.ca_certificate.read_bytes(), mode=PUBLIC_MODE)
        if self.config.registers_path.exists():
            _copy_registers(self.config.registers_path, folder / state.REGISTERS)
            self.files.sync_file(folder / state.REGISTERS)
        self._write_keys(folder, keys, passphrase)
        note = state.note_of(self.config, self.log, now, keys, tuple(self.problems))
        write_durable(folder / state.NOTE, note.to_bytes(), mode=PUBLIC_MODE)
        return folder

    def _write_keys(self, folder: Path, keys: state.Keys, passphrase: bytes | None) -> None:
        if keys is state.Keys.SEALED and passphrase is not None:
            write_durable(folder / state.SEALED, seal(state.read_keys(self.config.data_dir), passphrase))
        if keys is state.Keys.PLAIN:
            for name, key in state.read_keys(self.config.data_dir).items():
                path = folder / state.PLAIN / PurePosixPath(name).name
                self.files.make_folder(path.parent)
                write_durable(path, key)
                read_private(path)  # a file system without modes would show it to everybody

    def items(self, current: Path) -> Iterator[bag.Item]:
        """Everything the backup consists of, with its digest: objects by their names, the rest as read back."""
        for tile in tiles_for_size(self.log.checkpoint.size):
            yield self._item(bag.LOG / tile.path)
        for path in _objects(self.place / bag.OBJECTS):
            if not (self.config.objects_dir / path).exists():
                self.only_here += 1
            yield bag.Item(path=bag.OBJECTS / path, digest=Digest.sha256(path.name))
        for file in sorted(path for path in current.rglob("*") if path.is_file()):
            yield self._item(PurePosixPath(file.relative_to(self.place)))

    def _item(self, path: PurePosixPath) -> bag.Item:
        return bag.Item(path=path, digest=self.copier.digest_of(self.place / path))

    def clear_away(self, current: Path) -> None:
        """What only the backup before named. Should this be cut short, the next run goes on with it."""
        for folder in current.parent.iterdir():
            if folder != current:
                shutil.rmtree(folder)
        wanted = {tile.path for tile in tiles_for_size(self.log.checkpoint.size) if tile.width < 256}
        log = self.place / bag.LOG
        for path in log.rglob("*.p/*"):
            if parse_tile_path(path.relative_to(log).as_posix()).path not in wanted:
                path.unlink()

    def _holds(self, target: Path, source: Path, expected: Digest | None = None) -> bool:
        """Whether the copy is there; names appear when bytes are durable, so the length tells."""
        try:
            if self.files.size_bytes(target) != self.files.size_bytes(source):
                return False
        except FileNotFoundError:
            return False
        if not self.recheck:
            return True
        return self.copier.digest_of(target) == (expected or self.copier.digest_of(source))


def _objects(root: Path) -> Iterator[PurePosixPath]:
    """Paths of all objects below ``root``, in order; the memory of one folder."""
    for agency in _folders(root):
        for cls in ObjectClass:
            for first in _folders(root / agency / cls.value):
                for second in _folders(root / agency / cls.value / first):
                    folder = PurePosixPath(agency, cls.value, first, second)
                    for name in sorted(os.listdir(root / folder)):
                        yield folder / name


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []


def _object_path(agency: str, cls: ObjectClass, digest: Digest) -> PurePosixPath:
    return PurePosixPath(agency, cls.value, digest.hex[:2], digest.hex[2:4], digest.hex)


def _how(passphrase: bytes | None, with_plain_keys: bool) -> state.Keys:
    if passphrase is not None:
        return state.Keys.SEALED
    return state.Keys.PLAIN if with_plain_keys else state.Keys.NONE


def _copy_registers(source: Path, target: Path) -> None:
    """SQLite's online backup: one state of the database, whoever writes it meanwhile."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(sqlite3.connect(source)) as one,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        one.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _check_apart(data_dir: Path, place: Path) -> None:
    data, backup = data_dir.resolve(), place.resolve()
    if data == backup or data in backup.parents or backup in data.parents:
        raise BackupPlaceError(
            "a backup lies outside the data directory, best on another disk in another house"
        )


def _check_same(log: StoredLog, place: Path) -> None:
    """One place holds backups of one log, and never a later one than is to be backed up."""
    for folder in sorted((place / bag.STATE).glob("*")) if (place / bag.MANIFEST).exists() else []:
        vkey, note = folder / state.VKEY, folder / state.CHECKPOINT
        if not (vkey.exists() and note.exists()):
            continue  # what an interrupted run left
        if vkey.read_text().strip() != str(log.key):
            raise BackupPlaceError(
                f"{place} holds backups of another log: give every collector its own place"
            )
        if log.check_continues(note.read_bytes()).size > log.checkpoint.size:
            raise CatalogueNewerError(
                f"the backup in {place} has more entries than the log: an older copy of the log was put back. Leave "
                "the backup alone: it is the newer one"
            )


@contextlib.contextmanager
def _held(place: Path) -> Iterator[None]:
    """One backup at a time into one place."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (place / bag.MANIFEST).exists() and _is_strange(place):
        raise BackupPlaceError(f"{place} holds other things than a backup: give it an empty folder")
    lease = os.open(place / bag.LEASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BackupPlaceError(f"another backup into {place} is under way") from error
    finally:
        os.close(lease)


def _is_strange(place: Path) -> bool:
    ours = {bag.LEASE, bag.SCRATCH, "data", "bagit.txt", "lost+found"}
    return bool({path.name for path in place.iterdir()} - ours)
