"""The log, recomputed: every bundle and every tile from the entries, up to the signed checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from collector.audit.report import Tally
from collector.errors import CollectorError
from protocol.checkpoint import Checkpoint
from protocol.errors import ProtocolError
from protocol.log_reading import LogCopy, RootAccumulator, read_entries
from protocol.merkle import leaf_hash, node_hash
from protocol.tiles import TILE_WIDTH, Tile, TileReader


class LogFiles(Protocol):
    """A log's files; ``collector.log.tile_files.TileFiles`` is one."""

    def checkpoint(self) -> bytes | None:
        """The stored checkpoint note."""

    def read(self, tile: Tile) -> bytes:
        """The content of a tile or a bundle. Raises CollectorError."""


class LogCheck:
    """Reads the entries in order and compares everything derived from them. ``checkpoints`` are those the log must
    pass through, signatures verified; the last is the one it is read up to."""

    def __init__(self, log: LogCopy, checkpoints: list[Checkpoint], tally: Tally) -> None:
        self._log = log
        self._roots = {checkpoint.size: checkpoint.root for checkpoint in checkpoints}
        self._size = checkpoints[-1].size
        self._tally = tally

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Every entry with its index. Ends early, with a problem, where a file is missing or is no bundle."""
        root, tiles = RootAccumulator(), _TileComparison(self._log.read, self._tally)
        try:
            for index, data in read_entries(self._log, 0, self._size, self._size):
                with self._tally:
                    self._tally.count(len(data))
                    root.add(data)
                    tiles.add(leaf_hash(data))
                    self._compare_root(root)
                yield index, data
        except (ProtocolError, CollectorError) as error:
            self._tally.problem(error.code, f"entries from {root.size} on", str(error))
            return
        with self._tally:
            tiles.finish()

    def _compare_root(self, root: RootAccumulator) -> None:
        signed = self._roots.get(root.size)
        if signed is not None and root.root() != signed:
            self._tally.problem(
                "log-forked",
                f"checkpoint of {root.size} entries",
                "the entries do not have the root that was signed",
            )


class _TileComparison:
    """Keeps one row of hashes a level, at most a tile of each."""

    def __init__(self, read: TileReader, tally: Tally) -> None:
        self._read = read
        self._tally = tally
        self._rows: list[list[bytes]] = []
        self._full: list[int] = []

    def add(self, node: bytes, level: int = 0) -> None:
        if level == len(self._rows):
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level]
        row.append(node)
        if len(row) == TILE_WIDTH:
            self._compare(level, row)
            self._rows[level] = []
            self._full[level] += 1
            self.add(_top(row), level + 1)

    def finish(self) -> None:
        """The partial tiles at the right edge."""
        for level, row in enumerate(self._rows):
            if row:
                self._compare(level, row)

    def _compare(self, level: int, row: list[bytes]) -> None:
        tile = Tile(level=level, index=self._full[level], width=len(row))
        try:
            stored = self._read(tile)
        except CollectorError as error:
            self._tally.problem(error.code, tile.path, str(error))
            return
        if stored != b"".join(row):
            self._tally.problem(
                "log-tile-altered", tile.path, "the tile is not what the entries below it give"
            )


def _top(row: list[bytes]) -> bytes:
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
