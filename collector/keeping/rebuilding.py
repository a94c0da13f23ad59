"""The catalogue made anew from log and objects (重建目录), and put in the place of the one that is there.

The new one is made in a file of its own. The old one stays until the new one is whole, checked and durable; the
change of the two is one rename. Nothing else is touched, and nothing is asked of the old catalogue but how far it
went: one that shows more than the log has is the only witness that the log was put back, and is not thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from collector.catalogue import Catalogue, LoggedStatement
from collector.config import CollectorConfig
from collector.files import PosixFiles
from collector.keeping.comparison import Difference, differences
from collector.keeping.errors import CatalogueNewerError, CatalogueUnusableError, PayloadsMissingError
from collector.keeping.stored_log import StoredLog
from collector.listings import ListingBlobs
from collector.logged import read_logged
from collector.objects import ObjectStore
from collector.objects.directory import DirectoryObjectStore
from collector.progress import Progress

_BATCH_ENTRIES: Final = 1000
"""Entries of one transaction: the memory of one batch, whatever the length of the log."""

_SHOWN_DIFFERENCES: Final = 20
"""What differs usually differs for one reason; the first few show it."""

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A catalogue of the first ``size`` entries. ``lost`` are the log indices whose statement could not be read."""

    path: Path
    size: int
    lost: tuple[int, ...]


async def rebuild(config: CollectorConfig, progress: Progress, *, accept_loss: bool = False) -> Rebuilt:
    """Make the catalogue anew and put it in place. The caller holds the log's lease: no collector runs here.

    Raises LogDamagedError, CatalogueNewerError, PayloadsMissingError unless ``accept_loss``; the old catalogue is
    then still there, untouched.
    """
    log = await asyncio.to_thread(StoredLog.open, config.log_dir)
    _check_not_ahead(config.catalogue_path, log.checkpoint.size)
    with scratch_database(config.catalogue_path, "rebuilt") as scratch:
        rebuilt = await project(config, log, scratch, progress)
        if rebuilt.lost and not accept_loss:
            raise PayloadsMissingError(_missing(rebuilt.lost))
        await asyncio.to_thread(_put_in_place, scratch, config.catalogue_path)
    return Rebuilt(path=config.catalogue_path, size=rebuilt.size, lost=rebuilt.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The catalogue at hand against one made anew, both of the first ``size`` entries. ``first`` are some of the
    ``count`` rows that differ."""

    size: int
    count: int
    first: tuple[Difference, ...]
    lost: tuple[int, ...]


async def compare(config: CollectorConfig, progress: Progress) -> Comparison:
    """Make the catalogue anew beside the one there is, which may be in use, and compare. Changes nothing.

    Raises CatalogueUnusableError, CatalogueNewerError, LogDamagedError, StorageError.
    """
    with (
        scratch_database(config.catalogue_path, "copy") as copy,
        scratch_database(config.catalogue_path, "fresh") as fresh,
    ):
        await asyncio.to_thread(_copy_now, config.catalogue_path, copy)
        size = projected_size(copy)
        log = await asyncio.to_thread(StoredLog.open, config.log_dir)
        _check_not_ahead(copy, log.checkpoint.size)
        await _catch_up(config, copy)
        rebuilt = await project(config, log, fresh, progress, size=size)
        count, first = await asyncio.to_thread(_count, copy, fresh, progress)
    return Comparison(size=size, count=count, first=first, lost=rebuilt.lost)


def _copy_now(path: Path, copy: Path) -> None:
    """The catalogue as it is at this moment, whoever writes it meanwhile."""
    projected_size(path)
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        raise CatalogueUnusableError(f"the catalogue at {path} cannot be read: {error}") from error


def _count(copy: Path, fresh: Path, progress: Progress) -> tuple[int, tuple[Difference, ...]]:
    count, first = 0, []
    try:
        for difference in differences(copy, fresh, progress):
            count += 1
            if count <= _SHOWN_DIFFERENCES:
                first.append(difference)
    except sqlite3.Error as error:
        raise CatalogueUnusableError(f"the catalogue cannot be compared: {error}") from error
    return count, tuple(first)


async def project(
    config: CollectorConfig, log: StoredLog, path: Path, progress: Progress, *, size: int | None = None
) -> Rebuilt:
    """Make the catalogue of the first ``size`` entries (None: of all) in the new file ``path``; all of the log is
    checked. Raises LogDamagedError, StorageError."""
    objects = DirectoryObjectStore(PosixFiles(), config.objects_dir)
    read_listing = ListingBlobs(objects, asyncio.get_running_loop())
    catalogue = await asyncio.to_thread(Catalogue.open, path, read_listing=read_listing)
    wanted, lost = log.checkpoint.size if size is None else size, []
    try:
        entries = log.entries(progress)
        while batch := await asyncio.to_thread(lambda: list(islice(entries, _BATCH_ENTRIES))):
            logged = await _with_payloads(objects, [entry for entry in batch if entry[0] < wanted])
            lost += [one.index for one in logged if one.statement is None]
            await asyncio.to_thread(catalogue.apply, logged)
        await asyncio.to_thread(catalogue.catch_up)
    finally:
        await asyncio.to_thread(catalogue.close)
    return Rebuilt(path=path, size=wanted, lost=tuple(lost))


async def _catch_up(config: CollectorConfig, copy: Path) -> None:
    """What a running collector does a moment after a commit must be done before anything is compared."""
    objects = DirectoryObjectStore(PosixFiles(), config.objects_dir)
    read_listing = ListingBlobs(objects, asyncio.get_running_loop())
    catalogue = await asyncio.to_thread(Catalogue.open, copy, read_listing=read_listing)
    try:
        await asyncio.to_thread(catalogue.catch_up)
    finally:
        await asyncio.to_thread(catalogue.close)


async def _with_payloads(objects: ObjectStore, batch: list[tuple[int, bytes]]) -> list[LoggedStatement]:
    return await asyncio.gather(*(read_logged(objects, index, data) for index, data in batch))


def projected_size(path: Path) -> int:
    """How many entries the catalogue in this file shows. Raises CatalogueUnusableError."""
    if not path.exists():
        raise CatalogueUnusableError(f"there is no catalogue at {path}: zhilu-collector rebuild makes it")
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            row = connection.execute("SELECT projected_size FROM projection").fetchone()
    except sqlite3.Error as error:
        raise CatalogueUnusableError(f"the catalogue at {path} cannot be read: {error}") from error
    return 0 if row is None else int(row[0])


def _check_not_ahead(path: Path, log_size: int) -> None:
    try:
        shown = projected_size(path)
    except CatalogueUnusableError:
        return  # a lost catalogue is what rebuilding is for
    if shown > log_size:
        raise CatalogueNewerError(
            f"the catalogue shows {shown} entries, the log has {log_size}: an older copy of the log was put back. "
            "Put the newest log back; a collector that goes on from here signs a second history of what was lost"
        )


@contextlib.contextmanager
def scratch_database(beside: Path, purpose: str) -> Iterator[Path]:
    """A path for a new database next to another; whatever is there before and afterwards is removed."""
    path = beside.with_name(f"{beside.name}.{purpose}")
    remove_database(path)
    try:
        yield path
    finally:
        remove_database(path)


def remove_database(path: Path) -> None:
    """Remove a SQLite file and what SQLite keeps beside it."""
    for suffix in ("", *_SIDE_FILES):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _put_in_place(new: Path, path: Path) -> None:
    """The old one gets a second name, the new one is renamed over the first: at any moment one of them is whole."""
    _check(new)
    before = path.with_name(f"{path.name}.before")
    remove_database(before)
    _settle(path)
    if path.exists():
        os.link(path, before)
    new.rename(path)
    PosixFiles().sync_folder(path.parent)
    remove_database(before)


def _check(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        problems = [row[0] for row in connection.execute("PRAGMA quick_check(1)") if row[0] != "ok"]
    if problems:
        raise CatalogueUnusableError(f"the new catalogue did not survive its own making: {problems[0]}")
    PosixFiles().sync_file(path)


def _settle(path: Path) -> None:
    """Bring a write-ahead log into its database. A damaged database's is set aside: left there, SQLite would play it
    into the new file."""
    if path.exists():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in _SIDE_FILES:
        side = Path(f"{path}{suffix}")
        if side.exists():
            side.rename(f"{path}.before{suffix}")


def _missing(lost: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, lost[:10]))
    return (
        f"{len(lost)} statements of the log are missing or damaged in the object store (log indices {shown}"
        f"{', …' if len(lost) > 10 else ''}). The old catalogue stays. Put objects/ back from a backup and repeat, or "
        "give --accept-loss for a catalogue without them"
    )
