"""Does the log's layout follow the specification, and does growing it give one result however it is cut?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import LimitError, MalformedError, ProofError, ProtocolError
from protocol.limits import MAX_ENTRY_BYTES, MAX_TREE_SIZE
from protocol.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    make_consistency_proof,
    make_inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from protocol.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    TileHashReader,
    cut_tile,
    encode_bundle,
    full_tile,
    grow,
    new_tiles,
    parse_bundle,
    parse_tile_path,
    tile_of,
    tiles_for_size,
)
from tests.support import reference_tree
from tests.support.memory_log import MemoryLog

tiles = st.builds(
    Tile,
    level=st.integers(min_value=ENTRIES, max_value=63),
    index=st.integers(min_value=0, max_value=MAX_TREE_SIZE // TILE_WIDTH),
    width=st.integers(min_value=1, max_value=TILE_WIDTH),
)
small_entries = st.lists(st.binary(max_size=4), max_size=700)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"entry %d" % number for number in range(start, start + count)]


def log_of(count: int) -> MemoryLog:
    log = MemoryLog()
    log.append(numbered(count))
    return log


# Paths


@given(tiles)
def test_a_path_is_read_as_it_was_written(tile: Tile) -> None:
    assert parse_tile_path(tile.path) == tile


@given(
    st.from_regex(r"tile/(entries|[0-9]{0,3})/(x[0-9]{3}/){0,6}x?[0-9]{2,4}(\.p/[0-9]{0,4})?", fullmatch=True)
)
def test_two_paths_never_mean_the_same_tile(path: str) -> None:
    try:
        tile = parse_tile_path(path)
    except ProtocolError:
        return
    assert tile.path == path


@given(st.text(max_size=80))
def test_arbitrary_text_is_refused_as_a_path(path: str) -> None:
    with pytest.raises(ProtocolError):
        parse_tile_path(path)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(level=0, index=0), "tile/0/000"),
        (Tile(level=0, index=1234067), "tile/0/x001/x234/067"),
        (Tile(level=1, index=1000, width=17), "tile/1/x001/000.p/17"),
        (Tile(level=ENTRIES, index=999, width=255), "tile/entries/999.p/255"),
        (Tile(level=63, index=5, width=1), "tile/63/005.p/1"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/00",
        "tile/0/1000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000\n",
        "tile/8/0/000",
        "tile/0/٠٠٠",
        "/tile/0/000",
        "tile/0/../000",
        "tile/0/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x999/" * 2000 + "999",
    ],
)
def test_another_spelling_of_a_path_is_refused(path: str) -> None:
    with pytest.raises(ProtocolError):
        parse_tile_path(path)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**50, 1), (0, 0, 0), (0, 0, 257)]
)
def test_a_tile_that_cannot_exist_cannot_be_made(level: int, index: int, width: int) -> None:
    with pytest.raises(ProtocolError):
        Tile(level=level, index=index, width=width)


# Which tiles there are


def test_the_example_of_the_specification_has_its_tiles() -> None:
    widths: dict[int, list[int]] = {}
    for tile in tiles_for_size(70_000):
        widths.setdefault(tile.level, []).append(tile.width)
    assert widths == {
        ENTRIES: [256] * 273 + [112],
        0: [256] * 273 + [112],
        1: [256, 17],
        2: [1],
    }


def test_a_full_tile_stands_in_a_partial_tile_above_it() -> None:
    hash_tiles = [tile.path for tile in tiles_for_size(256) if tile.level != ENTRIES]
    assert hash_tiles == ["tile/0/000", "tile/1/000.p/1"]


def test_the_empty_log_has_no_tiles() -> None:
    assert list(tiles_for_size(0)) == []


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_new_tiles_are_exactly_those_the_old_log_had_not(one: int, other: int) -> None:
    old_size, new_size = sorted((one, other))
    old = set(tiles_for_size(old_size))
    assert list(new_tiles(old_size, new_size)) == [
        tile for tile in tiles_for_size(new_size) if tile not in old
    ]


@given(st.integers(1, 2**40), st.data())
def test_the_tile_of_a_hash_exists_at_that_size_and_covers_it(size: int, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, size.bit_length() - 1))
    index = data.draw(st.integers(0, (size >> level) - 1))
    tile = tile_of(level, index, size)
    unit = 256**tile.level
    places = size // unit
    assert tile.width == min(256, places - tile.index * 256)
    assert tile.index * 256 * unit <= index << level
    assert (index + 1) << level <= (tile.index * 256 + tile.width) * unit


@pytest.mark.parametrize(("level", "index"), [(-1, 0), (0, 300), (0, -1), (9, 0), (8, 1), (2000, 0)])
def test_a_hash_that_is_not_complete_at_that_size_has_no_tile(level: int, index: int) -> None:
    with pytest.raises(ProofError):
        tile_of(level, index, 300)


# Entry bundles


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_is_read_as_it_was_written(entries: list[bytes]) -> None:
    assert parse_bundle(encode_bundle(entries), len(entries)) == entries


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=10), st.data())
def test_a_cut_bundle_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    bundle = encode_bundle(entries)
    kept = data.draw(st.integers(0, len(bundle) - 1))
    with pytest.raises(MalformedError):
        parse_bundle(bundle[:kept], len(entries))


@given(st.binary(max_size=60), st.integers(0, 256))
def test_any_bytes_are_a_bundle_or_a_protocol_error(data: bytes, count: int) -> None:
    try:
        entries = parse_bundle(data, count)
    except ProtocolError:
        return
    assert encode_bundle(entries) == data


def test_a_bundle_with_another_number_of_entries_is_refused() -> None:
    bundle = encode_bundle([b"a", b""])
    for count in (-1, 0, 1, 3):
        with pytest.raises(MalformedError):
            parse_bundle(bundle, count)


def test_the_longest_entry_fits_and_one_byte_more_does_not() -> None:
    longest = bytes(MAX_ENTRY_BYTES)
    assert parse_bundle(encode_bundle([longest]), 1) == [longest]
    with pytest.raises(LimitError):
        encode_bundle([longest + b"\x00"])


# Reading hashes from tiles


@settings(max_examples=30)
@given(st.integers(1, 700), st.data())
def test_every_older_size_can_be_proved_from_the_tiles(size: int, data: st.DataObject) -> None:
    entries = numbered(size)
    log = MemoryLog()
    old_size = data.draw(st.integers(1, size))
    log.append(entries[:old_size])
    old_root = log.root
    log.append(entries[old_size:])
    index = data.draw(st.integers(0, old_size - 1))
    at_old = make_inclusion_proof(index, old_size, log.hashes(old_size))
    verify_inclusion(leaf_hash(entries[index]), index, old_size, at_old, old_root)
    extends = make_consistency_proof(old_size, size, log.hashes())
    verify_consistency(old_size, size, extends, old_root, log.root)


def test_a_reader_asks_for_each_tile_once_and_only_for_tiles_of_its_size() -> None:
    log = log_of(66_000)
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return log.read(tile)

    hashes = TileHashReader(log.size, read)
    for index in range(1000, 1100):
        make_inclusion_proof(index, log.size, hashes)
    assert len(asked) == len(set(asked))
    assert set(asked) <= set(tiles_for_size(log.size))
    assert len(asked) <= 8


def test_a_reader_keeps_few_tiles_and_stays_right_when_it_reads_one_again() -> None:
    log = log_of(256 * 70)
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return log.read(tile)

    hashes = TileHashReader(log.size, read)
    for _ in range(2):
        for index in range(0, log.size, 256):
            assert hashes(0, index) == leaf_hash(b"entry %d" % index)
    assert len(asked) > 70


@pytest.mark.parametrize("change", [b"", b"\x00" * 31, b"\x00" * 33])
def test_a_tile_of_the_wrong_length_is_refused(change: bytes) -> None:
    with pytest.raises(MalformedError):
        TileHashReader(1, lambda _: change)(0, 0)


# Growing


@settings(max_examples=40)
@given(small_entries, st.data())
def test_growing_in_any_pieces_equals_growing_at_once(entries: list[bytes], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(entries)), max_size=6)))
    pieces = MemoryLog()
    for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        pieces.append(entries[start:end])
    at_once = MemoryLog()
    at_once.append(entries)
    assert (pieces.size, pieces.root) == (at_once.size, at_once.root)
    assert at_once.root == reference_tree.mth(entries)
    assert at_once.files.items() <= pieces.files.items()


@given(st.integers(0, 600), st.integers(0, 600))
@settings(max_examples=40)
def test_growing_gives_exactly_the_new_tiles_in_write_order(old_size: int, count: int) -> None:
    log = log_of(old_size)
    growth = log.append(numbered(count, old_size))
    assert list(growth.tiles) == list(new_tiles(old_size, old_size + count))


def test_growing_one_by_one_past_a_full_tile_keeps_every_root_right() -> None:
    log = MemoryLog()
    for number in range(520):
        log.append(numbered(1, number))
        if number % 40 == 0 or number > 500:
            assert log.root == reference_tree.mth(numbered(number + 1))


def test_a_big_batch_crosses_two_levels() -> None:
    log = log_of(65_000)
    old_size, old_root = log.size, log.root
    log.append(numbered(5_000, 65_000))
    assert log.root == log_of(70_000).root
    verify_consistency(
        old_size, 70_000, make_consistency_proof(old_size, 70_000, log.hashes()), old_root, log.root
    )


@settings(max_examples=10)
@given(st.integers(1, TILE_WIDTH - 1), st.sampled_from([ENTRIES, 0]))
def test_a_partial_tile_is_the_beginning_of_the_full_one(width: int, level: int) -> None:
    young, old = log_of(TILE_WIDTH + width), log_of(2 * TILE_WIDTH)
    tile = Tile(level=level, index=1, width=width)
    assert cut_tile(tile, old.read(full_tile(tile))) == young.read(tile)


def test_a_damaged_full_tile_is_not_cut() -> None:
    for level in (ENTRIES, 0):
        tile = Tile(level=level, index=0, width=9)
        with pytest.raises(MalformedError):
            cut_tile(tile, log_of(TILE_WIDTH).read(full_tile(tile))[:-1])


def test_growing_by_nothing_changes_nothing() -> None:
    log = log_of(300)
    root = log.root
    assert log.append([]).tiles == {}
    assert log.root == root


def test_the_grown_log_can_be_read_before_its_files_are_written() -> None:
    log = log_of(300)
    growth = grow(old_size=300, old_root=log.root, entries=[b"new"], read=log.read)
    hashes = TileHashReader(growth.size, growth.overlay(log.read))
    assert tree_root(growth.size, hashes) == growth.root
    proof = make_inclusion_proof(300, growth.size, hashes)
    verify_inclusion(leaf_hash(b"new"), 300, growth.size, proof, growth.root)


def test_growing_reads_only_the_partial_right_edge_and_each_file_once() -> None:
    log = log_of(66_000)
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return log.read(tile)

    grow(old_size=log.size, old_root=log.root, entries=numbered(1000), read=read)
    edge = {tile for tile in tiles_for_size(66_000) if tile.width < TILE_WIDTH}
    assert set(asked) == edge
    assert len(asked) == len(edge)


@settings(max_examples=60)
@given(st.sampled_from([1, 255, 257, 300, 66_000]), st.data())
def test_damage_anywhere_in_what_is_built_on_is_found_before_anything_is_built(
    size: int, data: st.DataObject
) -> None:
    log = _logs[size]
    edge = [tile for tile in tiles_for_size(size) if tile.width < TILE_WIDTH]
    victim = data.draw(st.sampled_from(edge))
    bit = data.draw(st.integers(0, len(log.files[victim]) * 8 - 1))
    damaged = bytearray(log.files[victim])
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((ProofError, MalformedError)):
        grow(
            old_size=size,
            old_root=log.root,
            entries=[b"new"],
            read=lambda tile: bytes(damaged) if tile == victim else log.read(tile),
        )


def test_a_log_that_is_not_the_one_last_signed_is_not_extended() -> None:
    with pytest.raises(ProofError):
        grow(old_size=0, old_root=bytes(32), entries=[b"x"], read=MemoryLog().read)


def test_an_entry_that_does_not_fit_stops_the_whole_batch() -> None:
    with pytest.raises(LimitError):
        grow(
            old_size=0, old_root=EMPTY_ROOT, entries=[b"x", bytes(MAX_ENTRY_BYTES + 1)], read=MemoryLog().read
        )


def test_a_log_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitError, match=re.escape(str(MAX_TREE_SIZE))):
        grow(old_size=MAX_TREE_SIZE, old_root=EMPTY_ROOT, entries=[b"x"], read=MemoryLog().read)


_logs = {size: log_of(size) for size in (1, 255, 257, 300, 66_000)}
