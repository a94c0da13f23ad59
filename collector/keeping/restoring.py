"""A collector made again from a backup (恢复), on an empty place.

Every file is compared with the manifest while it is copied, then the log is checked from end to end and the
catalogue made from it. The settings come last: without them no collector starts, so a restore that was cut short is
none, and may be repeated into the same place. The log is held until somebody has decided about going on (``hold``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from collector.config import CollectorConfig
from collector.errors import ObjectCorruptError
from collector.files import PosixFiles
from collector.keeping import bag, state
from collector.keeping.copying import Copier
from collector.keeping.errors import (
    BackupDamagedError,
    BackupUnusableError,
    PassphraseError,
    RestorePlaceError,
    telling,
)
from collector.keeping.hold import Restoration, decided
from collector.keeping.rebuilding import rebuild
from collector.keeping.sealed_keys import unseal
from collector.keeping.stored_log import StoredLog
from collector.log.tile_files import WriterLease
from collector.private_files import PUBLIC_MODE, write_durable
from collector.progress import Progress
from protocol.digest import Digest

RESTORING: Final = "恢复文件 files"
_MARKER: Final = ".restoring"
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored. ``held`` says why the collector must not run yet, None if it may; ``keys`` whether the
    private keys came with it; ``problems`` what the backup could not give."""

    config: CollectorConfig
    note: state.BackupNote
    files: int
    held: str | None
    keys: state.Keys
    problems: tuple[str, ...]


def restore(
    place: Path,
    data_dir: Path,
    progress: Progress,
    *,
    seen: Sequence[bytes] = (),
    even_if_older: bool = False,
    passphrase: bytes | None = None,
    accept_loss: bool = False,
) -> Restored:
    """Make the collector of the backup in ``place`` again in ``data_dir``. Blocks; runs its own event loop.

    Raises BackupUnusableError, BackupDamagedError (objects alone may be missing with ``accept_loss``),
    PassphraseError, RestorePlaceError, LogDamagedError, ForkError for a ``seen`` checkpoint that contradicts it.
    """
    with telling(f"restoring {place} into {data_dir}"):
        source = _Source.open(place)
        keys = source.read_keys(passphrase)
        restoration, held = decided(source.restoration(), source.log, seen, even_if_older=even_if_older)
        _claim(data_dir, source.note)
        config = replace(CollectorConfig.load(source.folder), data_dir=data_dir)
        files, problems = _copy_all(source, config, progress, accept_loss=accept_loss)
        _write_state(source, config, keys, restoration)
        _rebuild(config, progress, accept_loss=accept_loss)
        write_durable(config.path, (source.folder / state.SETTINGS).read_bytes(), mode=PUBLIC_MODE)
        (data_dir / _MARKER).unlink()
    return Restored(
        config=config, note=source.note, files=files, held=held, keys=source.note.keys, problems=problems
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A complete backup, its changing part checked."""

    place: Path
    folder: Path
    note: state.BackupNote
    log: StoredLog

    @classmethod
    def open(cls, place: Path) -> _Source:
        items = [item for item in bag.read_manifest(place) if item.path.is_relative_to(bag.STATE)]
        folders = {item.path.relative_to(bag.STATE).parts[0] for item in items}
        if len(folders) != 1:
            raise BackupUnusableError(f"the manifest in {place} is not one that a backup writes")
        for item in items:
            _check(place / item.path, item.digest)
        folder = place / bag.STATE / folders.pop()
        note = state.BackupNote.from_bytes((folder / state.NOTE).read_bytes())
        log = StoredLog.open(folder).reading_from(place / bag.LOG)
        if (log.checkpoint.size, log.checkpoint.root.hex()) != (note.entries, note.root):
            raise BackupUnusableError("the note of this backup tells of another checkpoint than it has")
        return cls(place=place, folder=folder, note=note, log=log)

    def restoration(self) -> Restoration:
        """Undecided."""
        return Restoration(entries=self.note.entries, root=self.note.root, backup_made_at=self.note.made_at)

    def read_keys(self, passphrase: bytes | None) -> dict[str, bytes]:
        """By path; empty where the backup has none. Raises PassphraseError."""
        if self.note.keys is state.Keys.NONE:
            return {}
        if self.note.keys is state.Keys.PLAIN:
            plain = self.folder / state.PLAIN
            return {name: (plain / PurePosixPath(name).name).read_bytes() for name in state.PRIVATE_KEYS}
        if passphrase is None:
            raise PassphraseError("the keys of this backup are sealed: give --passphrase-file")
        return dict(unseal((self.folder / state.SEALED).read_bytes(), passphrase, state.PRIVATE_KEYS))


def _check(path: Path, expected: Digest) -> None:
    try:
        actual = Digest.of(path.read_bytes())
    except FileNotFoundError as error:
        raise BackupDamagedError(f"{path} is missing from the backup") from error
    if actual != expected:
        raise BackupDamagedError(f"{path} is not what the manifest says")


def _claim(data_dir: Path, note: state.BackupNote) -> None:
    """An empty place, or one in which the same restore was cut short."""
    marker, mark = data_dir / _MARKER, f"{note.collector} {note.made_at.isoformat()} {note.root}\n".encode()
    if data_dir.exists() and any(data_dir.iterdir()):
        if not marker.exists():
            raise RestorePlaceError(f"{data_dir} is not empty: a backup is restored into an empty folder")
        if marker.read_bytes() != mark:
            raise RestorePlaceError(f"the restore of another backup was begun in {data_dir}: empty it first")
        return
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durable(marker, mark)


def _copy_all(
    source: _Source, config: CollectorConfig, progress: Progress, *, accept_loss: bool
) -> tuple[int, tuple[str, ...]]:
    """Log and objects. A damaged log helps nobody; damaged objects are named, all of them, before it gives up."""
    copier, count, problems = Copier(PosixFiles(), config.data_dir / bag.SCRATCH), 0, []
    for item in bag.read_manifest(source.place):
        target = _target(item.path, config)
        if target is None:
            continue
        try:
            _copy(copier, source.place, item, target)
        except (ObjectCorruptError, FileNotFoundError) as error:
            problems.append(f"{item.path}: {'missing' if isinstance(error, OSError) else 'altered'}")
            if item.path.is_relative_to(bag.LOG):
                raise BackupDamagedError(f"the log in the backup is damaged: {problems[-1]}") from error
        count += 1
        progress(RESTORING, count, None)
    (config.data_dir / bag.SCRATCH).rmdir()
    if problems and not accept_loss:
        raise BackupDamagedError(
            f"{len(problems)} objects of the backup are missing or altered: {', '.join(problems[:_SHOWN])}. Put them "
            "back from another copy of the backup, or give --accept-loss to go on without them"
        )
    return count, tuple(problems)


def _target(path: PurePosixPath, config: CollectorConfig) -> Path | None:
    if path.is_relative_to(bag.LOG):
        return config.log_dir / path.relative_to(bag.LOG)
    if path.is_relative_to(bag.OBJECTS):
        return config.objects_dir / path.relative_to(bag.OBJECTS)
    return None


def _copy(copier: Copier, place: Path, item: bag.Item, target: Path) -> None:
    is_object = item.path.is_relative_to(bag.OBJECTS)
    if is_object and item.path.name != item.digest.hex:
        raise BackupDamagedError(f"the manifest gives {item.path} another digest than its name")
    if not (target.exists() and copier.digest_of(target) == item.digest):
        copier.copy(place / item.path, target, item.digest, read_only=is_object)


def _write_state(
    source: _Source, config: CollectorConfig, keys: dict[str, bytes], restoration: Restoration
) -> None:
    """The hold before the checkpoint: a log that can be opened is never without it."""
    files = PosixFiles()
    restoration.store(config.log_dir)
    write_durable(config.log_dir / "vkey", f"{source.log.key}\n".encode(), mode=PUBLIC_MODE)
    write_durable(config.log_dir / "checkpoint", source.log.note, mode=PUBLIC_MODE)
    if (source.folder / state.REGISTERS).exists():
        write_durable(config.registers_path, (source.folder / state.REGISTERS).read_bytes())
    for folder in (config.keys_dir, config.trust.path):
        files.make_folder(folder)
        folder.chmod(0o700)
    write_durable(config.trust.ca_certificate, (source.folder / state.CA).read_bytes(), mode=PUBLIC_MODE)
    for name, key in keys.items():
        write_durable(config.data_dir / name, key)


def _rebuild(config: CollectorConfig, progress: Progress, *, accept_loss: bool) -> None:
    lease = WriterLease(config.log_dir)
    try:
        asyncio.run(rebuild(config, progress, accept_loss=accept_loss))
    finally:
        lease.release()


def resume(
    config: CollectorConfig, seen: Sequence[bytes], *, even_if_older: bool
) -> tuple[Restoration, str | None]:
    """Decide about a restored log later on. Returns the note, and why it stays held if it does.

    Raises RestorePlaceError where there is nothing to decide, and as ``decided``.
    """
    restoration = Restoration.load(config.log_dir)
    if restoration is None:
        raise RestorePlaceError("this collector's log is not held: there is nothing to decide")
    log = StoredLog.open(config.log_dir)
    outcome, held = decided(restoration, log, seen, even_if_older=even_if_older)
    outcome.store(config.log_dir)
    return outcome, held
