"""Reads one file that is not small: resumable, journalled as it goes. Blocking code for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

from agent.core.offload import decide_start
from agent.offload.reader import (
    Copied,
    Prefix,
    ReadObserver,
    Slot,
    examine_partial,
    read_file,
)
from agent.ports import RecorderVolume
from agent.spool.errors import SpoolReadBackError
from agent.spool.files import PartialFile
from agent.spool.journal import Journal
from agent.spool.records import PartialRead, RowToRead


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A read that is ready to go on: its open partial file, what of it is certain, and what the journal says."""

    row: RowToRead
    partial: PartialFile
    prefix: Prefix
    read: PartialRead


def begin_single(
    row: RowToRead, volume: RecorderVolume, journal: Journal, *, new_id: Callable[[], str], now: datetime
) -> Begun:
    """Journal the attempt and find out where reading begins. The caller closes the partial file.

    Raises JournalError, SpoolError and the errors of ``RecorderVolume``.
    """
    read = journal.begin_read(row.key, new_id(), now)
    partial = journal.files.open_partial(read.name, read.durable_bytes)
    try:
        prefix = _prefix(row, volume, partial, read) if read.durable_bytes else Prefix.empty()
        if prefix.size_bytes:
            journal.note_resumed(row.key)
        elif read.durable_bytes:
            journal.note_restarted(row.key, now)
            partial.close()
            partial = journal.files.open_partial(read.name, 0)
    except BaseException:
        partial.close()
        raise
    current = journal.partial(row.key) or read
    return Begun(row=row, partial=partial, prefix=prefix, read=current)


def _prefix(row: RowToRead, volume: RecorderVolume, partial: PartialFile, read: PartialRead) -> Prefix:
    facts, prefix = examine_partial(partial, read, volume, row.key)
    return prefix if decide_start(facts) == prefix.size_bytes else Prefix.empty()


def read_single(
    begun: Begun,
    volume: RecorderVolume,
    journal: Journal,
    *,
    slot: Slot,
    stop: threading.Event,
    observer: ReadObserver,
    re_reader: Executor,
    now: Callable[[], datetime],
) -> Copied:
    """Read the rest. Raises as ``read_file``; bytes the disk did not keep are journalled as gone."""
    try:
        return read_file(
            volume,
            begun.row.key,
            begun.partial,
            prefix=begun.prefix,
            slot=slot,
            stop=stop,
            observer=observer,
            re_reader=re_reader,
        )
    except SpoolReadBackError:
        journal.note_restarted(begun.row.key, now())
        raise
