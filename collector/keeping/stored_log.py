"""The log as its files tell it at one checkpoint: read and checked, never written.

Beside a running collector it stays valid: a log only grows, and what the checkpoint covers never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from collector.files import PosixFiles
from collector.keeping.errors import LogDamagedError
from collector.log.tile_files import LogMissingError, TileFiles
from collector.progress import Progress
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.errors import ProtocolError
from protocol.log_reading import LogCopy, RootAccumulator, read_entries
from protocol.note import VerifierKey

READING: Final = "日志条目 log entries"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """A log in a folder. ``note`` is the signed checkpoint it was opened at."""

    key: VerifierKey
    note: bytes
    checkpoint: Checkpoint
    copy: LogCopy

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises LogMissingError without a checkpoint, LogDamagedError for one that the log's key did not sign."""
        files = TileFiles(folder, PosixFiles())
        vkey, note = files.vkey(), files.checkpoint()
        if vkey is None or note is None:
            raise LogMissingError(f"the log in {folder} has no checkpoint: restore it from a backup")
        try:
            key = VerifierKey.parse(vkey)
            checkpoint = open_checkpoint(note, key)
        except ProtocolError as error:
            raise LogDamagedError(f"the checkpoint in {folder} cannot be used: {error}. {_ADVICE}") from error
        return cls(key=key, note=note, checkpoint=checkpoint, copy=LogCopy(note, files.read))

    def entries(self, progress: Progress) -> Iterator[tuple[int, bytes]]:
        """Every entry in order, as (index, bytes). The root is known at the end only: what was made of them counts
        when the iteration has ended. Raises LogDamagedError, StorageError."""
        size, tree = self.checkpoint.size, RootAccumulator()
        try:
            for index, data in read_entries(self.copy, 0, size, size):
                tree.add(data)
                progress(READING, index + 1, size)
                yield index, data
        except (ProtocolError, LogMissingError) as error:
            raise LogDamagedError(f"the log is damaged at entry {tree.size}: {error}. {_ADVICE}") from error
        if tree.root() != self.checkpoint.root:
            raise LogDamagedError(
                f"the {size} entries of the log do not have the root its checkpoint signed. {_ADVICE}"
            )


_ADVICE: Final = (
    "Nothing was changed. Keep the damaged folder as it is, and put the files of log/ back from the newest backup: "
    "what a checkpoint covers never changes, so single files may be taken from any backup that has them"
)
