"""The log as its files tell it at one checkpoint: read and checked, never written.

Beside a running collector it stays valid: a log only grows, and what the checkpoint covers never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from collector.files import PosixFiles
from collector.keeping.errors import LogDamagedError
from collector.log.tile_files import LogMissingError, TileFiles
from collector.progress import Progress, in_silence
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.errors import ForkError, ProofError, ProtocolError
from protocol.log_reading import LogCopy, read_entries
from protocol.merkle import leaf_hash, node_hash, tree_root
from protocol.note import VerifierKey
from protocol.tiles import TILE_WIDTH, Tile, TileHashReader, TileReader

READING: Final = "日志条目 log entries"

_ADVICE: Final = (
    "Nothing was changed. Keep the damaged folder as it is, and put the files of log/ back from the newest backup: "
    "what a checkpoint covers never changes, so single files may be taken from any backup that has them"
)


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

    def reading_from(self, folder: Path) -> Self:
        """The same checkpoint over another copy of the files."""
        return replace(self, copy=LogCopy(self.note, TileFiles(folder, PosixFiles()).read))

    def entries(self, progress: Progress) -> Iterator[tuple[int, bytes]]:
        """Every entry in order, as (index, bytes), while every file of the log is checked against every other. The
        root is known at the end only: what was made of the entries counts when the iteration has ended. Raises
        LogDamagedError, StorageError."""
        size, tiles, done = self.checkpoint.size, _TileCheck(self.copy.read), 0
        try:
            for index, data in read_entries(self.copy, 0, size, size):
                tiles.add(leaf_hash(data))
                done = index + 1
                progress(READING, done, size)
                yield index, data
            tiles.finish()
            if tree_root(size, TileHashReader(size, self.copy.read)) != self.checkpoint.root:
                raise ProofError(f"its {size} entries do not have the root that was signed")
        except (ProtocolError, LogMissingError) as error:
            raise LogDamagedError(f"the log is damaged, at entry {done}: {error}. {_ADVICE}") from error

    def check_continues(self, note: bytes) -> Checkpoint:
        """The checkpoint of ``note``, if this log's key signed it and this log holds what it covers or ends before.

        Raises ForkError when the two contradict each other, another ProtocolError for a note that is none,
        LogDamagedError.
        """
        seen = open_checkpoint(note, self.key)
        if seen.size <= self.checkpoint.size:
            hashes = TileHashReader(self.checkpoint.size, self.copy.read)
            if tree_root(seen.size, hashes) != seen.root:
                for _ in self.entries(in_silence):
                    pass  # a damaged tile looks like another history: only a whole log may accuse
                raise ForkError(
                    f"the log's first {seen.size} entries are not those of the checkpoint: two histories are signed"
                )
        return seen


class _TileCheck:
    """Compares the hash tiles of a log with what its entries give, level above level, as the entries pass."""

    def __init__(self, read: TileReader) -> None:
        self._read = read
        self._levels: list[tuple[int, list[bytes]]] = []

    def add(self, node: bytes, level: int = 0) -> None:
        if level == len(self._levels):
            self._levels.append((0, []))
        index, row = self._levels[level]
        row.append(node)
        if len(row) == TILE_WIDTH:
            self._compare(level, index, row)
            self._levels[level] = (index + 1, [])
            self.add(_root_of(row), level + 1)

    def finish(self) -> None:
        """The partial tiles at the right edge."""
        for level, (index, row) in enumerate(self._levels):
            if row:
                self._compare(level, index, row)

    def _compare(self, level: int, index: int, row: list[bytes]) -> None:
        tile = Tile(level=level, index=index, width=len(row))
        if self._read(tile) != b"".join(row):
            raise ProofError(f"the hashes in {tile.path} are not those of the entries")


def _root_of(row: list[bytes]) -> bytes:
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
