"""The log's files: a C2SP tlog-tiles directory, written so that a checkpoint never covers what is not durable. Every
file is re-read past the page cache and compared before it gets its name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from collector.errors import CollectorError, StorageError, storage_errors
from collector.files import Files
from collector.part_writer import write_all
from protocol.errors import LimitError, MalformedError
from protocol.limits import MAX_NOTE_BYTES
from protocol.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, cut_tile, full_tile, parse_tile_path

_CHECKPOINT: Final = "checkpoint"
_VKEY: Final = "vkey"
_SCRATCH: Final = ".scratch"
_LARGEST_BUNDLE_BYTES: Final = 256 * (65_535 + 2)


class LogForkError(CollectorError):
    """The stored checkpoint is not the one this writer last saw: somebody else writes. Stops the collector."""

    code = "log-fork-prevented"


class LogMissingError(CollectorError):
    """There is no log here yet, or one of its files is missing."""

    code = "log-missing"


class LogLockedError(CollectorError):
    """Another process holds the writer's lease on this log."""

    code = "log-locked"


class LogKeyError(CollectorError):
    """The log in this folder was begun under another name or key, and a log never changes them."""

    code = "log-key-changed"


class TileFiles:
    """Tiles, entry bundles and the checkpoint below one folder. Calls block; use them from worker threads."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self._files = files
        self._made: set[Path] = set()
        """Folders known to be there, their names durable."""

    def prepare(self, vkey: str) -> None:
        """Make the folder and leave the log's public key beside the checkpoint. Idempotent. Raises LogKeyError."""
        with storage_errors("preparing the log"):
            self._files.make_folder(self.folder / _SCRATCH)
            for name in self._files.names(self.folder / _SCRATCH):
                self._files.remove(self.folder / _SCRATCH / name)
        line = vkey.encode() + b"\n"
        if self._read_small(_VKEY) not in (None, line):
            raise LogKeyError(f"the log in {self.folder} has another name or key than {vkey}")
        self._put(self.folder / _VKEY, line)

    def read(self, tile: Tile) -> bytes:
        """The content of a tile that exists, or existed until its place was full. Raises LogMissingError,
        StorageError; MalformedError for a full tile that is damaged."""
        try:
            return self._read_tile(tile)
        except LogMissingError:
            if tile.width == TILE_WIDTH:
                raise
        return cut_tile(tile, self._read_tile(full_tile(tile)))

    def write(self, tiles: Mapping[Tile, bytes]) -> None:
        """Make all of them durable, in the order given.

        A path may hold what a batch left that never got its checkpoint; it is replaced. What a checkpoint covers
        is written once: growth computes the same bytes for it or leaves it alone.
        """
        for tile, data in tiles.items():
            self._put(self.folder / tile.path, data)

    def drop_partials(self, tiles: Iterable[Tile]) -> None:
        """Remove the partial tiles that ended in these full ones, which a stored checkpoint covers (tlog-tiles: partial
        tiles may go once the full one exists). Best effort: what stays is found by ``sweep_partials``."""
        for tile in tiles:
            if tile.width == TILE_WIDTH:
                with contextlib.suppress(OSError):
                    self._drop_folder(self.folder / f"{tile.path}.p")

    def sweep_partials(self, size: int) -> int:
        """``drop_partials`` for the whole of a log of ``size``; returns how many places had some left. At start."""
        covered = [tile for tile in self._places_of_partials("tile") if _is_covered(tile, size)]
        self.drop_partials(covered)
        return len(covered)

    def _places_of_partials(self, folder: str) -> Iterator[Tile]:
        """The full tiles, there or not, beside which partial ones lie."""
        with storage_errors("listing the tiles of the log"):
            names = self._files.names(self.folder / folder)
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith(".p"):
                with contextlib.suppress(MalformedError, LimitError):
                    yield parse_tile_path(path.removesuffix(".p"))
            elif folder == "tile" or name.startswith("x"):
                yield from self._places_of_partials(path)

    def checkpoint(self) -> bytes | None:
        """The stored checkpoint note, None before the first. Seen is not durable: see ``swap_checkpoint``."""
        return self._read_small(_CHECKPOINT)

    def vkey(self) -> str | None:
        """The log's public key as ``prepare`` left it, None where there is no log."""
        line = self._read_small(_VKEY)
        return None if line is None else line.decode("ascii", "replace").strip()

    def swap_checkpoint(self, expected: bytes | None, new: bytes) -> None:
        """Replace the stored checkpoint if it is still ``expected``; durable on return.

        Raises LogForkError if it is not. The lease keeps other writers away, this comparison catches whoever
        ignored it. Swapping a checkpoint for itself makes one durable that only the page cache may have.
        """
        if self.checkpoint() != expected:
            raise LogForkError("the stored checkpoint has changed under its writer")
        self._put(self.folder / _CHECKPOINT, new)

    def _read_tile(self, tile: Tile) -> bytes:
        with storage_errors("reading a tile of the log"):
            try:
                return self._files.read(self.folder / tile.path, 0, _LARGEST_BUNDLE_BYTES)
            except FileNotFoundError as error:
                raise LogMissingError(f"the log has no {tile.path}") from error

    def _drop_folder(self, folder: Path) -> None:
        self._made.discard(folder)
        for name in self._files.names(folder):
            self._files.remove(folder / name)
        with contextlib.suppress(FileNotFoundError):
            self._files.remove_folder(folder)

    def _read_small(self, name: str) -> bytes | None:
        with storage_errors(f"reading the {name} of the log"):
            try:
                return self._files.read(self.folder / name, 0, MAX_NOTE_BYTES)
            except FileNotFoundError:
                return None

    def _put(self, path: Path, data: bytes) -> None:
        scratch = self.folder / _SCRATCH / secrets.token_hex(16)
        with storage_errors(f"writing {path.name} of the log"):
            self._make_folder(path.parent)
            try:
                self._write_scratch(scratch, data)
                self._compare(scratch, data)
                self._files.replace(scratch, path)
            except OSError:
                with contextlib.suppress(OSError):  # a full disk must not fill further with every attempt
                    self._files.remove(scratch)
                raise
            self._files.sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._made:
            self._files.make_folder(folder)
            self._made.add(folder)

    def _write_scratch(self, scratch: Path, data: bytes) -> None:
        appender = self._files.create(scratch)
        try:
            write_all(appender, data)
            appender.sync()
        finally:
            appender.close()

    def _compare(self, scratch: Path, data: bytes) -> None:
        """A disk that says it has the bytes and has others would cost the log its checkpoint at the next start."""
        found: list[bytes] = []
        self._files.reread(scratch, lambda block: found.append(bytes(block)))
        if b"".join(found) != data:
            raise OSError(errno.EIO, "re-read past the page cache, the file has other bytes")


def _is_covered(tile: Tile, size: int) -> bool:
    level = 0 if tile.level == ENTRIES else tile.level
    return tile.index < size >> (TILE_HEIGHT * (level + 1))


class WriterLease:
    """The right to extend the log in this folder, held by one process at a time (flock); given back on exit."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / ".lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise LogLockedError("another collector is writing this log") from error
        except OSError as error:
            os.close(self._descriptor)
            raise StorageError("the log's folder does not support locks") from error

    def release(self) -> None:
        os.close(self._descriptor)
