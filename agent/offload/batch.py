"""Reads small files together, so that they share their syncs and one commit. Blocking code for threads.

A small file is read again as a whole after any trouble; until it is published nothing of it is journalled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from agent.core.offload import Trouble
from agent.errors import AgentError
from agent.offload.reader import Copied, block_buffer, copy_file, re_read
from agent.offload.troubles import trouble_of
from agent.ports import RecorderVolume
from agent.spool.errors import SpoolError
from agent.spool.files import PartialFile, SpoolFiles
from agent.spool.records import RowToRead

_ENDS_BATCH: Final = frozenset({Trouble.VANISHED, Trouble.SPOOL_FULL, Trouble.SPOOL, Trouble.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedRow:
    """One file copied into a partial file that is still open."""

    row: RowToRead
    name: str
    partial: PartialFile
    copied: Copied
    started_at: datetime
    finished_at: datetime


@dataclass(slots=True)
class Batch:
    """What became of a batch: files copied, files in trouble, files not tried after one whose trouble is common."""

    copied: list[CopiedRow] = field(default_factory=list)
    troubled: list[tuple[RowToRead, AgentError]] = field(default_factory=list)
    untried: list[RowToRead] = field(default_factory=list)


def copy_batch(
    volume: RecorderVolume,
    rows: Sequence[RowToRead],
    files: SpoolFiles,
    *,
    new_id: Callable[[], str],
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> Batch:
    """Copy the files one after the other. One file's trouble is noted and the next is read; what concerns all of
    them ends the batch, with what was copied before it."""
    batch = Batch()
    buffer = block_buffer()
    for number, row in enumerate(rows):
        try:
            batch.copied.append(_copy_row(volume, row, files, new_id(), buffer, clock, stop))
        except AgentError as error:
            batch.troubled.append((row, error))
            if trouble_of(error) in _ENDS_BATCH:
                batch.untried.extend(rows[number + 1 :])
                break
    return batch


def _copy_row(
    volume: RecorderVolume,
    row: RowToRead,
    files: SpoolFiles,
    name: str,
    buffer: memoryview,
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> CopiedRow:
    started_at = clock()
    partial = files.open_brief(name)
    try:
        copied = copy_file(volume, row.key, partial, buffer=buffer, stop=stop)
    except BaseException:
        partial.close()
        files.discard_partial(name)
        raise
    return CopiedRow(
        row=row, name=name, partial=partial, copied=copied, started_at=started_at, finished_at=clock()
    )


def make_durable(batch: Batch, files: SpoolFiles) -> list[CopiedRow]:
    """Flush all, then re-read all, and close them. Those the disk did not keep become troubled."""
    try:
        files.flush_all([copied.partial for copied in batch.copied])
    except SpoolError as error:
        for copied in batch.copied:
            _drop(batch, files, copied, error)
        return []
    buffer = block_buffer()
    return [copied for copied in batch.copied if _is_kept(batch, files, copied, buffer)]


def _is_kept(batch: Batch, files: SpoolFiles, copied: CopiedRow, buffer: memoryview) -> bool:
    try:
        re_read(copied.partial, copied.copied, buffer)
    except SpoolError as error:
        _drop(batch, files, copied, error)
        return False
    copied.partial.close()
    return True


def _drop(batch: Batch, files: SpoolFiles, copied: CopiedRow, error: SpoolError) -> None:
    copied.partial.close()
    files.discard_partial(copied.name)
    batch.troubled.append((copied.row, error))
