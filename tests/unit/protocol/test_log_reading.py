"""Can a copy of a log be read entry by entry, believing only its checkpoints?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol.checkpoint import Checkpoint
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.errors import ForkError, MalformedError, ProofError, ProtocolError
from protocol.ids import COLLECTOR
from protocol.log_reading import LogCopy, RootAccumulator, check_entries, read_entries
from protocol.merkle import EMPTY_ROOT
from protocol.statements import Statement, sign_statement
from protocol.tiles import ENTRIES, Tile
from tests.support.evidence import (
    COLLECTOR_SEED,
    STATION_SEED,
    EvidenceLog,
    enrolled,
    inventory,
    manifest,
    revoked,
)
from tests.support.memory_log import MemoryLog

SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 600]


def long_log(size: int) -> MemoryLog:
    log = MemoryLog()
    log.append([b"entry %d" % number for number in range(size)])
    return log


@pytest.fixture(scope="module")
def longest() -> MemoryLog:
    return long_log(SIZES[-1])


def as_copy(log: MemoryLog) -> LogCopy:
    return LogCopy(log.checkpoint(), log.read)


@pytest.mark.parametrize("size", SIZES)
def test_all_entries_of_a_log_are_read_in_order(size: int) -> None:
    log = long_log(size)
    expected = [(number, b"entry %d" % number) for number in range(size)]
    assert list(read_entries(as_copy(log), 0, size, size)) == expected


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 1), (255, 257), (256, 512), (200, 600), (599, 600), (600, 600), (9, 3)]
)
def test_any_range_of_entries_is_read(longest: MemoryLog, start: int, end: int) -> None:
    read = list(read_entries(as_copy(longest), start, end, 600))
    assert read == [(number, b"entry %d" % number) for number in range(start, end)]


def test_only_the_bundles_of_the_range_are_asked_for(longest: MemoryLog) -> None:
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return longest.read(tile)

    list(read_entries(LogCopy(b"", read), 300, 520, 600))
    assert asked == [Tile(level=ENTRIES, index=1), Tile(level=ENTRIES, index=2, width=88)]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_a_bundle_of_another_length_is_malformed(
    longest: MemoryLog, damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(MalformedError):
        list(read_entries(LogCopy(b"", lambda tile: damage(longest.read(tile))), 0, 600, 600))


def test_the_root_of_a_growing_list_is_that_of_the_log(longest: MemoryLog) -> None:
    tree = RootAccumulator()
    assert tree.root() == EMPTY_ROOT
    for _, entry in read_entries(as_copy(longest), 0, 600, 600):
        tree.add(entry)
    assert (tree.size, tree.root()) == (600, longest.root)


# A log of real entries: collector, station, inventory, manifest, station revoked.

STATEMENTS: list[tuple[Statement, bytes]] = [
    (enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED),
    (enrolled(STATION_SEED), COLLECTOR_SEED),
    (inventory(), STATION_SEED),
    (manifest(b"clip", Digest.of(b"i")), STATION_SEED),
    (revoked(STATION_SEED), COLLECTOR_SEED),
]


def grown(size: int = len(STATEMENTS)) -> EvidenceLog:
    log = EvidenceLog()
    for statement, seed in STATEMENTS[:size]:
        log.add(statement, seed)
    return log


def entry(index: int) -> bytes:
    statement, seed = STATEMENTS[index]
    return LogEntry.of(sign_statement(statement, seed), statement).to_bytes()


def test_a_log_passes_through_its_checkpoints_and_tells_what_concerns_keys() -> None:
    log = grown()
    checkpoints = [grown(size).checkpoint for size in (5, 1, 3)]
    about_keys = check_entries(log.copy(), checkpoints, {2: entry(2), 4: entry(4)})
    assert [(index, found.kind) for index, found in about_keys] == [
        (0, "enrolled"),
        (1, "enrolled"),
        (4, "revoked"),
    ]


def test_an_empty_log_has_no_entries() -> None:
    empty = EvidenceLog()
    assert check_entries(empty.copy(), [empty.checkpoint], {}) == []


def test_another_entry_at_a_wanted_index_is_refused() -> None:
    with pytest.raises(ProofError, match="entry 2"):
        check_entries(grown().copy(), [grown().checkpoint], {2: entry(3)})


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_checkpoint_of_another_history_is_a_fork(size: int) -> None:
    fork = replace(grown(size).checkpoint, root=bytes(32))
    with pytest.raises(ForkError, match=f"the first {size} entries|two logs of {size} entries"):
        check_entries(grown().copy(), [grown().checkpoint, fork], {})


def test_one_changed_byte_in_the_entries_is_found() -> None:
    log = grown()
    bundle = Tile(level=ENTRIES, index=0, width=5)
    for position in range(0, len(log.tiles[bundle]), 29):
        data = bytearray(grown().tiles[bundle])
        data[position] ^= 1
        log.tiles[bundle] = bytes(data)
        with pytest.raises(ProtocolError):
            check_entries(log.copy(), [log.checkpoint], {})


def test_entries_that_are_none_of_ours_are_malformed_even_under_a_good_root(longest: MemoryLog) -> None:
    checkpoint = Checkpoint(origin="log", size=600, root=longest.root)
    with pytest.raises(MalformedError):
        check_entries(as_copy(longest), [checkpoint], {})
