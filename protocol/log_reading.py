"""Reading a copy of a log entry by entry, trusting only checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from protocol.checkpoint import Checkpoint
from protocol.entry import KEY_KINDS, LogEntry
from protocol.errors import ForkError, ProofError
from protocol.merkle import EMPTY_ROOT, leaf_hash, node_hash
from protocol.tiles import ENTRIES, TILE_WIDTH, Tile, TileReader, parse_bundle


@dataclass(frozen=True, slots=True)
class LogCopy:
    """A tlog-tiles log at hand: its newest checkpoint note and a reader for its tiles."""

    checkpoint: bytes
    read: TileReader


class RootAccumulator:
    """The Merkle root of a growing list of leaves (RFC 6962 §2.1) from the roots of its complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, entry: bytes) -> None:
        node, size = leaf_hash(entry), self.size
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node


def read_entries(log: LogCopy, start: int, end: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Entries ``start`` to ``end`` of a log of ``size``, as (index, bytes). Not checked against any root.

    Raises ProofError for an ``end`` beyond the log.
    """
    if end > size:
        raise ProofError(f"a log of {size} entries has none up to {end}")
    index = start
    while index < end:
        bundle = index // TILE_WIDTH
        width = min(TILE_WIDTH, size - bundle * TILE_WIDTH)
        entries = parse_bundle(log.read(Tile(level=ENTRIES, index=bundle, width=width)), width)
        for entry in entries[index - bundle * TILE_WIDTH : end - bundle * TILE_WIDTH]:
            yield index, entry
            index += 1


def check_entries(
    log: LogCopy, checkpoints: Sequence[Checkpoint], wanted: Mapping[int, bytes]
) -> list[tuple[int, LogEntry]]:
    """Recompute the tree from every entry; it must pass through all ``checkpoints`` and hold ``wanted``.

    Returns the entries about keys, with their indices. Raises ForkError when a root differs, ProofError when a
    wanted entry is not at its index.
    """
    roots = _roots(checkpoints)
    size = max(roots)
    tree, about_keys = RootAccumulator(), []
    for index, data in read_entries(log, 0, size, size):
        if wanted.get(index, data) != data:
            raise ProofError(f"entry {index} of the log at hand is not the one in the receipt")
        entry = LogEntry.from_bytes(data)
        if entry.kind in KEY_KINDS:
            about_keys.append((index, entry))
        tree.add(data)
        if tree.size in roots and tree.root() != roots[tree.size]:
            raise ForkError(f"the first {tree.size} entries do not have the root that was signed")
    return about_keys


def _roots(checkpoints: Sequence[Checkpoint]) -> dict[int, bytes]:
    """Root by size. Two roots for one size are a fork, whichever of them the log at hand has."""
    roots: dict[int, bytes] = {}
    for checkpoint in checkpoints:
        if roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            raise ForkError(f"two logs of {checkpoint.size} entries are signed by one key")
    return roots
