"""Does the log stay one log, whatever file call fails and whenever the power goes?

Every call of an append is failed in turn: refused, or performed and reported as failed; then the collector goes on,
or is restarted, or the power is cut. After each, independent code reads the whole log and holds it against every
checkpoint that was ever given out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from collector.errors import StorageError
from collector.log.tile_files import LogForkError, LogKeyError, LogLockedError, TileFiles, WriterLease
from collector.log.writer import LogWriter
from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.entry import LogEntry
from protocol.errors import MalformedError, ProofError, SignatureError
from protocol.log_reading import LogCopy, check_entries
from protocol.merkle import verify_consistency
from protocol.note import SignerKey
from protocol.statements import Statement, sign_statement
from protocol.tiles import ENTRIES, Tile, tiles_for_size
from protocol.tlog_proof import verify_tlog_proof
from tests.support.collector_lab import LOG_KEY, FailingFiles
from tests.support.evidence import STATION_SEED, inventory

FOLDER = Path("/log")
R = TypeVar("R")


def entry(number: int) -> bytes:
    statement: Statement = inventory(number)
    return LogEntry.of(sign_statement(statement, STATION_SEED), statement).to_bytes()


ENTRIES_MADE = [entry(number) for number in range(600)]


def open_writer(files: FailingFiles, signer: SignerKey = LOG_KEY) -> LogWriter:
    tiles = TileFiles(FOLDER, files)
    tiles.prepare(str(signer.verifier))
    writer = LogWriter(tiles, signer)
    writer.reload()
    return writer


def read_log(files: FailingFiles, published: Sequence[Checkpoint]) -> list[bytes]:
    """All entries, after checking by other code that the log continues everything published."""
    tiles = TileFiles(FOLDER, files)
    note = tiles.checkpoint()
    assert note is not None
    newest = open_checkpoint(note, LOG_KEY.verifier)
    check_entries(LogCopy(note, tiles.read), [*published, newest], {})
    return [data for _, data in open_writer(files).entries(0, newest.size)]


def append_once(writer: LogWriter, batch: Sequence[bytes]) -> None:
    """As the sequencer does after an error: look what became durable, then add only what is missing."""
    writer.reload()
    present = {data for _, data in writer.entries(0, writer.checkpoint.size)}
    if missing := [data for data in batch if data not in present]:
        writer.append(missing)


def calls_of_an_append(before: int, size: int) -> int:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:before])
    files.plan(None)
    writer.append(ENTRIES_MADE[before : before + size])
    durable = max(at for at, call in enumerate(files.calls) if call == ("sync_folder", FOLDER.name))
    return durable + 1  # what comes then is tidying up, see below


class LyingFiles(FailingFiles):
    """The ``lies_at``-th sync from now succeeds, and the disk holds zeros."""

    lies_at = 0

    def counted(self, verb: str, path: object, action: Callable[[], R]) -> R:
        result = super().counted(verb, path, action)
        if verb == "sync" and isinstance(path, Path):
            self.lies_at -= 1
            if self.lies_at == 0:
                self.overwrite(path, bytes(self.size_bytes(path)))
        return result


@pytest.mark.parametrize("lies_at", [1, 2, 3])
def test_a_disk_that_kept_other_bytes_costs_a_batch_and_never_the_log(lies_at: int) -> None:
    files = LyingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:1])
    files.lies_at = lies_at
    with pytest.raises(StorageError):
        writer.append(ENTRIES_MADE[1:4])
    files.crash()
    writer = open_writer(files)
    append_once(writer, ENTRIES_MADE[1:4])
    assert read_log(files, [writer.checkpoint]) == ENTRIES_MADE[:4]


@pytest.mark.parametrize("aftermath", ["goes on", "restarts", "loses power"])
@pytest.mark.parametrize("performs", [False, True], ids=["refused", "performed"])
@pytest.mark.parametrize(("before", "size"), [(1, 3), (254, 4)])
def test_failed_call_never_forks_the_log(before: int, size: int, performs: bool, aftermath: str) -> None:
    for at in range(calls_of_an_append(before, size)):
        files = FailingFiles()
        writer = open_writer(files)
        writer.append(ENTRIES_MADE[:before])
        published = [writer.checkpoint]
        batch = ENTRIES_MADE[before : before + size]
        files.plan(at, performs=performs)
        with pytest.raises(StorageError):
            writer.append(batch)
        assert writer.checkpoint == published[0]
        if aftermath == "loses power":
            files.power_on()
        if aftermath != "goes on":
            writer = open_writer(files)
        writer.reload()
        published.append(writer.checkpoint)
        append_once(writer, batch)
        published.append(writer.checkpoint)
        assert read_log(files, published) == ENTRIES_MADE[: before + size], at
        files.power_on()
        assert read_log(files, published) == ENTRIES_MADE[: before + size], at


def partials(files: FailingFiles) -> set[str]:
    """Places beside which partial tiles lie."""
    found = set()
    for level in files.names(FOLDER / "tile"):
        for name in files.names(FOLDER / "tile" / level):
            if name.endswith(".p") and files.names(FOLDER / "tile" / level / name):
                found.add(f"{level}/{name}")
    return found


def test_partial_tiles_go_when_their_place_is_full_and_are_cut_from_the_full_one() -> None:
    files = FailingFiles()
    writer, tiles = open_writer(files), TileFiles(FOLDER, files)
    ends = (3, 200, 255, 300, 512, 520)
    kept = {}
    for start, end in pairwise((0, *ends)):
        writer.append(ENTRIES_MADE[start:end])
        kept.update({tile: tiles.read(tile) for tile in tiles_for_size(end)})
    assert partials(files) == {"0/002.p", "1/000.p", "entries/002.p"}
    assert {tile: tiles.read(tile) for tile in kept} == kept
    assert read_log(files, [writer.checkpoint]) == ENTRIES_MADE[:520]


def test_partial_tiles_that_stayed_are_swept_at_the_start_but_not_beyond_the_checkpoint() -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:200])
    before = partials(files)
    files.plan(calls_of_an_append(200, 100) - 1)  # all tiles are there, the checkpoint is not durable
    with pytest.raises(StorageError):
        writer.append(ENTRIES_MADE[200:300])
    files.power_on()
    writer = open_writer(files)
    assert writer.checkpoint.size == 200
    assert TileFiles(FOLDER, files).sweep_partials(200) == 0
    assert partials(files) >= before
    assert read_log(files, [writer.checkpoint]) == ENTRIES_MADE[:200]
    assert TileFiles(FOLDER, files).sweep_partials(300) == 2
    assert partials(files) == {"0/001.p", "1/000.p", "entries/001.p"}


@pytest.mark.parametrize("performs", [False, True])
def test_tidying_up_that_fails_harms_nothing(performs: bool) -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:200])
    files.plan(None)
    writer.append(ENTRIES_MADE[200:260])
    for at in range(calls_of_an_append(200, 60), len(files.calls)):
        trial = FailingFiles()
        writer = open_writer(trial)
        writer.append(ENTRIES_MADE[:200])
        trial.plan(at, performs=performs)
        writer.append(ENTRIES_MADE[200:260])
        assert read_log(trial, [writer.checkpoint]) == ENTRIES_MADE[:260]
        trial.power_on()
        assert read_log(trial, [writer.checkpoint]) == ENTRIES_MADE[:260]


@pytest.mark.parametrize("performs", [False, True])
def test_what_a_reload_took_up_survives_a_power_cut(performs: bool) -> None:
    """Between renaming the checkpoint and syncing its folder it is visible and not durable. Whoever publishes it must
    not lose it: the next writer would sign another one of that size."""
    last = calls_of_an_append(1, 3) - 1
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:1])
    files.plan(last, performs=performs)
    with pytest.raises(StorageError):
        writer.append(ENTRIES_MADE[1:4])
    writer.reload()
    published = [writer.checkpoint]
    assert published[0].size == 4
    files.power_on()
    again = open_writer(files)
    again.append(ENTRIES_MADE[10:12])
    assert read_log(files, [*published, again.checkpoint]) == [*ENTRIES_MADE[:4], *ENTRIES_MADE[10:12]]


def test_failed_reload_changes_nothing_and_may_be_repeated() -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:5])
    files.plan(None)
    writer.reload()
    for at in range(len(files.calls)):
        files.plan(at)
        with pytest.raises(StorageError):
            writer.reload()
        assert writer.checkpoint.size == 5
    files.plan(None)
    writer.reload()
    assert read_log(files, [writer.checkpoint]) == ENTRIES_MADE[:5]


def test_files_left_beyond_the_checkpoint_are_replaced() -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:2])
    files.plan(calls_of_an_append(1, 3) - 3)
    with pytest.raises(StorageError):
        writer.append(ENTRIES_MADE[2:5])
    left = TileFiles(FOLDER, files).read(Tile(level=ENTRIES, index=0, width=5))
    writer.reload()
    writer.append(ENTRIES_MADE[100:103])
    assert TileFiles(FOLDER, files).read(Tile(level=ENTRIES, index=0, width=5)) != left
    assert read_log(files, [writer.checkpoint]) == [*ENTRIES_MADE[:2], *ENTRIES_MADE[100:103]]


def test_full_disk_is_not_filled_further_by_trying() -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:2])
    for _ in range(5):
        files.plan(next(at for at, call in enumerate(trace_append()) if call == "write"))
        with pytest.raises(StorageError):
            writer.append(ENTRIES_MADE[2:5])
    assert files.names(FOLDER / ".scratch") == []


def trace_append() -> list[str]:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:2])
    files.plan(None)
    writer.append(ENTRIES_MADE[2:5])
    return [verb for verb, _ in files.calls]


def test_second_writer_is_refused_by_the_swap() -> None:
    files = FailingFiles()
    first = open_writer(files)
    first.append(ENTRIES_MADE[:3])
    second = open_writer(files)
    first.append(ENTRIES_MADE[3:5])
    with pytest.raises(LogForkError):
        second.append(ENTRIES_MADE[20:22])
    assert second.checkpoint.size == 3
    # its tiles have the names of the first one's: what those hold is found out before anything is built on it
    with pytest.raises((ProofError, MalformedError)):
        first.append(ENTRIES_MADE[5:6])


def test_a_log_that_is_gone_is_noticed_by_the_swap() -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:3])
    files.remove(FOLDER / "checkpoint")
    with pytest.raises(LogForkError):
        writer.append(ENTRIES_MADE[3:4])


def test_checkpoint_of_another_key_is_refused() -> None:
    files = FailingFiles()
    open_writer(files).append(ENTRIES_MADE[:3])
    other = LogWriter(TileFiles(FOLDER, files), SignerKey(name=LOG_KEY.name, seed=b"x" * 32))
    with pytest.raises(SignatureError):
        other.reload()


@pytest.mark.parametrize(
    "signer", [SignerKey(name=LOG_KEY.name, seed=b"x" * 32), SignerKey(name="other/log", seed=b"l" * 32)]
)
def test_a_log_keeps_its_name_and_key(signer: SignerKey) -> None:
    files = FailingFiles()
    writer = open_writer(files)
    writer.append(ENTRIES_MADE[:3])
    with pytest.raises(LogKeyError):
        open_writer(files, signer)
    assert files.read(FOLDER / "vkey", 0, 1000) == f"{LOG_KEY.verifier}\n".encode()
    assert read_log(files, [writer.checkpoint]) == ENTRIES_MADE[:3]


@pytest.mark.parametrize("damage", [b"", b"x" * 32 * 3])
def test_damaged_tiles_are_noticed_at_the_start(damage: bytes) -> None:
    files = FailingFiles()
    open_writer(files).append(ENTRIES_MADE[:3])
    files.overwrite(FOLDER / "tile/0/000.p/3", damage)
    with pytest.raises((ProofError, MalformedError)):
        open_writer(files)


def test_proofs_hold_for_any_sizes_not_only_those_of_batches() -> None:
    files = FailingFiles()
    writer = open_writer(files)
    roots = {}
    for start, end in ((0, 3), (3, 250), (250, 513), (513, 600)):
        writer.append(ENTRIES_MADE[start:end])
        roots[end] = writer.checkpoint.root
    single = open_writer(FailingFiles())
    for size in range(1, 12):
        single.append([ENTRIES_MADE[size - 1]])
        roots[size] = single.checkpoint.root
    for old in sorted(roots):
        for new in sorted(roots):
            if old <= new:
                proof = writer.prove_consistency(old, new)
                verify_consistency(old, new, proof, roots[old], roots[new])


@pytest.mark.parametrize(("old", "new"), [(0, 601), (601, 601), (5, 4)])
def test_no_proof_about_sizes_the_log_does_not_have(old: int, new: int) -> None:
    writer = open_writer(FailingFiles())
    writer.append(ENTRIES_MADE)
    with pytest.raises(ProofError):
        writer.prove_consistency(old, new)


def test_inclusion_is_proven_under_one_checkpoint() -> None:
    writer = open_writer(FailingFiles())
    writer.append(ENTRIES_MADE[:300])
    writer.append(ENTRIES_MADE[300:310])
    indices = [0, 1, 255, 256, 299, 300, 309]
    proofs = writer.prove(indices)
    assert {proof.checkpoint_note for proof in proofs} == {writer.checkpoint_note}
    for index, proof in zip(indices, proofs, strict=True):
        verify_tlog_proof(proof, ENTRIES_MADE[index], writer.key)


def test_entries_beyond_the_log_are_an_error_not_an_endless_search() -> None:
    writer = open_writer(FailingFiles())
    writer.append(ENTRIES_MADE[:3])
    assert [data for _, data in writer.entries(1, 3)] == ENTRIES_MADE[1:3]
    with pytest.raises(ProofError):
        list(writer.entries(3, 4))


def test_the_lease_is_one_processs_at_a_time(tmp_path: Path) -> None:
    lease = WriterLease(tmp_path / "log")
    with pytest.raises(LogLockedError):
        WriterLease(tmp_path / "log")
    lease.release()
    WriterLease(tmp_path / "log").release()
