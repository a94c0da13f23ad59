"""A log as files: the layout of C2SP tlog-tiles as arithmetic on sizes and bytes; nothing here does I/O.

A tile holds up to 256 consecutive hashes of height ``8 * level`` in the tree; an entry bundle holds the entries
under a level 0 tile. What stands at a path never changes, so a log grows only by new files. ``grow`` computes
them; the caller makes them durable, in the order given, before it signs a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, TypeAlias

from protocol.errors import LimitError, MalformedError, ProofError
from protocol.limits import MAX_ENTRY_BYTES, MAX_TREE_SIZE
from protocol.merkle import HASH_BYTES, leaf_hash, node_hash, tree_root

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
ENTRIES: Final = -1
"""The level of an entry bundle; in its path it is the word ``entries``."""

_MAX_LEVEL: Final = 63
_MAX_PATH_CHARS: Final = 64
"""An index up to ``MAX_TREE_SIZE`` takes five groups: with level and width, 42 characters."""

_LENGTH_BYTES: Final = 2
_CACHED_TILES: Final = 64
"""Tiles a reader keeps, about 40 KiB each with their inner hashes: proofs for neighbours share nearly all."""

_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One file of the log: its level, its place within the level, how many of its 256 places are filled."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not ENTRIES <= self.level <= _MAX_LEVEL:
            raise MalformedError(f"a tile level is 0 to {_MAX_LEVEL}, not {self.level}")
        if not 0 <= self.index <= MAX_TREE_SIZE // TILE_WIDTH:
            raise LimitError(f"tile index {self.index} is beyond a log of {MAX_TREE_SIZE} entries")
        if not 1 <= self.width <= TILE_WIDTH:
            raise MalformedError(f"a tile is 1 to {TILE_WIDTH} wide, not {self.width}")

    @property
    def path(self) -> str:
        """Relative to the log's root: ``tile/0/x001/234.p/5``, ``tile/entries/000``."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        *upper, last = f"{self.index:,}".split(",")
        groups = [f"x{group:0>3}" for group in upper] + [f"{last:0>3}"]
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{partial}"


TileReader: TypeAlias = Callable[[Tile], bytes]
"""Gives the exact content of a tile or bundle that exists in the log."""


def parse_tile_path(path: str) -> Tile:
    """The inverse of ``Tile.path``. Raises MalformedError for any other spelling, LimitError beyond any log."""
    match = _PATH.fullmatch(path) if len(path) <= _MAX_PATH_CHARS else None
    if match is None:
        raise MalformedError(f"not the path of a tile: {path[:80]!r}")
    tile = Tile(
        level=ENTRIES if match["level"] == "entries" else int(match["level"]),
        index=int(match["index"].replace("x", "").replace("/", "")),
        width=TILE_WIDTH if match["width"] is None else int(match["width"]),
    )
    if tile.path != path:
        raise MalformedError(f"the path of this tile is written {tile.path}, not {path}")
    return tile


def new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Every file a log of ``new_size`` has and the same log at ``old_size`` had not, in write order.

    Bundles come first, then tiles from level 0 up, each level from the left.
    """
    yield from _new_on_level(ENTRIES, old_size, new_size)
    level = 0
    while new_size:
        yield from _new_on_level(level, old_size, new_size)
        old_size >>= TILE_HEIGHT
        new_size >>= TILE_HEIGHT
        level += 1


def tiles_for_size(size: int) -> Iterator[Tile]:
    """Every bundle and tile a log of this size consists of, in write order."""
    return new_tiles(0, size)


def tile_of(level: int, index: int, size: int) -> Tile:
    """The tile that, in a log of ``size``, holds or determines the hash of a complete subtree.

    ``level`` and ``index`` are those of ``merkle.HashReader``; the tile is as wide as it is at that size. Raises
    ProofError if the subtree is not complete at that size.
    """
    if level < 0 or not 0 <= index < size >> level:
        raise ProofError(f"no complete subtree {index} of 2**{level} leaves in a log of {size}")
    tile_level, inner = divmod(level, TILE_HEIGHT)
    tile_index = index >> (TILE_HEIGHT - inner)
    count = size >> (TILE_HEIGHT * tile_level)
    return Tile(level=tile_level, index=tile_index, width=min(TILE_WIDTH, count - tile_index * TILE_WIDTH))


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Each entry behind its length as a big-endian uint16. Raises LimitError for too long an entry."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise LimitError(f"a log entry has at most {MAX_ENTRY_BYTES} bytes, not {len(entry)}")
        parts += (len(entry).to_bytes(_LENGTH_BYTES, "big"), entry)
    return b"".join(parts)


def parse_bundle(data: bytes, count: int) -> list[bytes]:
    """Exactly ``count`` entries and nothing after them; otherwise raises MalformedError."""
    entries: list[bytes] = []
    position = 0
    for _ in range(count):
        start = position + _LENGTH_BYTES
        end = start + int.from_bytes(data[position:start], "big")
        if end > len(data):
            raise MalformedError(f"the bundle ends inside entry {len(entries)} of {count}")
        entries.append(data[start:end])
        position = end
    if position != len(data):
        raise MalformedError(f"the bundle has {len(data) - position} bytes after its {count} entries")
    return entries


def full_tile(tile: Tile) -> Tile:
    """The full tile in the place of a partial one."""
    return replace(tile, width=TILE_WIDTH)


def cut_tile(tile: Tile, full: bytes) -> bytes:
    """The content of a partial tile, from that of the full one: what stands in it never changes, so a log need not
    keep both. Raises MalformedError for a full one of the wrong form."""
    if tile.level == ENTRIES:
        return encode_bundle(parse_bundle(full, TILE_WIDTH)[: tile.width])
    return b"".join(_split_hashes(full_tile(tile), full)[: tile.width])


class TileHashReader:
    """Answers ``merkle.HashReader`` for one tree size from the tiles of that size.

    Asks ``read`` for each tile at the width it has at that size and keeps the last few. Tiles are believed: a
    wrong one gives a wrong root or proof, which checking against a signed root reveals. Raises ProofError for
    hashes outside the tree, MalformedError for a tile of the wrong length.
    """

    def __init__(self, size: int, read: TileReader) -> None:
        self._size = size
        self._read = read
        self._rows: dict[tuple[int, int], list[list[bytes]]] = {}

    def __call__(self, level: int, index: int, /) -> bytes:
        if level >= 0 <= index < self._size >> level:
            tile_level, inner = divmod(level, TILE_HEIGHT)
            rows = self._rows.get((tile_level, index >> (TILE_HEIGHT - inner)))
            if rows is not None:
                return rows[inner][index & ((TILE_WIDTH >> inner) - 1)]
        return self._load(level, index)

    def _load(self, level: int, index: int) -> bytes:
        tile = tile_of(level, index, self._size)
        if len(self._rows) == _CACHED_TILES:
            del self._rows[next(iter(self._rows))]
        self._rows[tile.level, tile.index] = _subtree_rows(_split_hashes(tile, self._read(tile)))
        return self(level, index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What appending entries makes of a log: size, root, and the new files in the order to write them."""

    size: int
    root: bytes
    tiles: Mapping[Tile, bytes]

    def overlay(self, read: TileReader) -> TileReader:
        """Reads the grown log before its files are written: new files from here, the others through ``read``."""
        return _overlay(self.tiles, read)


def grow(*, old_size: int, old_root: bytes, entries: Sequence[bytes], read: TileReader) -> Growth:
    """Append ``entries`` to a log, reading only the partial tiles and the partial bundle at its right edge.

    What is read is checked against ``old_root`` before anything is built on it, so that damage in storage cannot
    become a signed fork. Raises ProofError or MalformedError for such damage, LimitError for an entry or a log
    that gets too large. The result holds all new files at once: the caller chooses the size of a batch.
    """
    new_size = old_size + len(entries)
    if new_size > MAX_TREE_SIZE:
        raise LimitError(f"a log has at most {MAX_TREE_SIZE} entries")
    read = cache(read)  # what was checked is what is used, whatever happens to the storage meanwhile
    if tree_root(old_size, TileHashReader(old_size, read)) != old_root:
        raise ProofError(f"the stored tiles do not have the root of the log of {old_size} entries")
    tiles = _new_bundles(old_size, entries, read)
    tiles.update(_new_hash_tiles(old_size, entries, read))
    root = tree_root(new_size, TileHashReader(new_size, _overlay(tiles, read)))
    return Growth(size=new_size, root=root, tiles=tiles)


def _overlay(tiles: Mapping[Tile, bytes], read: TileReader) -> TileReader:
    return lambda tile: tiles[tile] if tile in tiles else read(tile)


def _new_on_level(level: int, old_count: int, new_count: int) -> Iterator[Tile]:
    if old_count == new_count:
        return
    for index in range(old_count // TILE_WIDTH, -(-new_count // TILE_WIDTH)):
        yield Tile(level=level, index=index, width=min(TILE_WIDTH, new_count - index * TILE_WIDTH))


def _edge(level: int, count: int) -> Tile | None:
    """The partial tile at the right edge of a level of ``count`` hashes or entries, if there is one."""
    index, width = divmod(count, TILE_WIDTH)
    return Tile(level=level, index=index, width=width) if width else None


def _new_bundles(old_size: int, entries: Sequence[bytes], read: TileReader) -> dict[Tile, bytes]:
    edge = _edge(ENTRIES, old_size)
    if edge is None or not entries:
        return _pack(ENTRIES, old_size, entries, encode_bundle)
    present = parse_bundle(read(edge), edge.width)
    hashes = Tile(level=0, index=edge.index, width=edge.width)
    if [leaf_hash(entry) for entry in present] != _split_hashes(hashes, read(hashes)):
        raise ProofError(f"the stored entries of {edge.path} are not those of the log")
    return _pack(ENTRIES, old_size - edge.width, [*present, *entries], encode_bundle)


def _new_hash_tiles(old_size: int, entries: Sequence[bytes], read: TileReader) -> dict[Tile, bytes]:
    tiles: dict[Tile, bytes] = {}
    level, count = 0, old_size
    fresh = [leaf_hash(entry) for entry in entries]
    while fresh:
        edge = _edge(level, count)
        row = [*_split_hashes(edge, read(edge)), *fresh] if edge else fresh
        tiles.update(_pack(level, count - count % TILE_WIDTH, row, b"".join))
        full = len(row) - len(row) % TILE_WIDTH
        fresh = [_subtree_rows(row[at : at + TILE_WIDTH])[-1][0] for at in range(0, full, TILE_WIDTH)]
        level, count = level + 1, count >> TILE_HEIGHT
    return tiles


def _pack(
    level: int, start: int, items: Sequence[bytes], encode: Callable[[Sequence[bytes]], bytes]
) -> dict[Tile, bytes]:
    """Tiles of one level from the items that begin at place ``start``, which begins a tile."""
    return {
        tile: encode(items[at : at + TILE_WIDTH])
        for at, tile in zip(
            range(0, len(items), TILE_WIDTH), _new_on_level(level, start, start + len(items)), strict=True
        )
    }


def _split_hashes(tile: Tile, data: bytes) -> list[bytes]:
    if len(data) != tile.width * HASH_BYTES:
        raise MalformedError(f"{tile.path} must have {tile.width * HASH_BYTES} bytes, it has {len(data)}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _subtree_rows(hashes: list[bytes]) -> list[list[bytes]]:
    """The hashes of a tile and, row above row, those of all complete subtrees over them."""
    rows = [hashes]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append([node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])
    return rows
