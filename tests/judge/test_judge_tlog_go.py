"""Does Go's own transparency log code, which we did not write, accept our logs and refuse damaged ones?"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.merkle import leaf_hash
from protocol.tiles import ENTRIES, Tile, encode_bundle, parse_bundle, tiles_for_size
from tests.support.material import MATERIAL
from tests.support.memory_log import MemoryLog

GOPATH = Path("/usr/share/gocode")
"""Where Debian's golang-golang-x-mod-dev puts the sources of x/mod."""

OWN = Path(__file__).parent / "go_tlog_judge"
SHARED = MATERIAL / "judges/tlog"
SIZES = [1, 255, 256, 257, 70_000]
BIG = 70_000
OLDER_SIZES = [1, 256, 65_535, 65_536, 69_999, 70_000]

pytestmark = pytest.mark.judge


@dataclass(frozen=True, slots=True)
class Judge:
    """A built judge program; ``accepts`` tells its verdict on a folder."""

    program: Path

    def accepts(self, *arguments: Path) -> bool:
        done = subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode in (0, 1), f"the judge itself failed: {done.stdout}{done.stderr}"
        return done.returncode == 0


def needs_go() -> None:
    """Skip where there is no Go, except in CI: there a judge that is missing is a failure."""
    if shutil.which("go") and (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        return
    reason = "Go with x/mod is missing: apt-get install golang-go golang-golang-x-mod-dev"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module", params=["own", "shared"])
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    needs_go()
    source = OWN if request.param == "own" else SHARED
    if not source.is_dir():
        pytest.skip(f"test material not found at {source}: set ZHILU_TEST_MATERIAL")
    return build(source, tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def own_judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    needs_go()
    return build(OWN, tmp_path_factory.mktemp("judge"))


def build(source: Path, folder: Path) -> Judge:
    program = folder / "judge"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    command = ["go", "build", "-o", str(program), "."]
    subprocess.run(command, cwd=source, env=environment, check=True, timeout=300)
    return Judge(program)


@pytest.fixture(scope="module")
def logs() -> dict[int, MemoryLog]:
    """One log for each size; the big one has grown in uneven steps and kept its older checkpoints' tiles."""
    return {size: grown_to(size) for size in SIZES}


def grown_to(size: int) -> MemoryLog:
    log = MemoryLog()
    for step in [*(older for older in OLDER_SIZES if older < size), size]:
        log.append([b'{"entry":%d}' % number for number in range(log.size, step)])
    return log


def flip_last_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("size", SIZES)
def test_a_log_we_wrote_is_accepted(
    judge: Judge, logs: dict[int, MemoryLog], size: int, tmp_path: Path
) -> None:
    assert judge.accepts(logs[size].write(tmp_path))


@pytest.mark.parametrize("size", [1, 255, 256, 257])
def test_one_bit_changed_in_any_file_of_a_small_log_is_refused(
    judge: Judge, logs: dict[int, MemoryLog], size: int, tmp_path: Path
) -> None:
    for tile in tiles_for_size(size):
        folder = logs[size].write(tmp_path / tile.path.replace("/", "_"))
        flip_last_bit(folder / tile.path)
        assert not judge.accepts(folder), tile.path


@pytest.mark.parametrize(
    "tile",
    [
        Tile(level=ENTRIES, index=0),
        Tile(level=ENTRIES, index=273, width=112),
        Tile(level=0, index=100),
        Tile(level=0, index=273, width=112),
        Tile(level=1, index=0),
        Tile(level=1, index=1, width=17),
        Tile(level=2, index=0, width=1),
    ],
    ids=lambda tile: tile.path,
)
def test_one_bit_changed_in_an_entry_or_tile_of_a_big_log_is_refused(
    own_judge: Judge, logs: dict[int, MemoryLog], tile: Tile, tmp_path: Path
) -> None:
    folder = logs[BIG].write(tmp_path)
    flip_last_bit(folder / tile.path)
    assert not own_judge.accepts(folder)


def test_a_forged_entry_with_a_matching_tile_is_refused(
    own_judge: Judge, logs: dict[int, MemoryLog], tmp_path: Path
) -> None:
    """At this size x/mod before v0.40.0 believes the forged tile (CVE-2026-56865); the judge must not."""
    folder = logs[BIG].write(tmp_path)
    bundle, tile = Tile(level=ENTRIES, index=255), Tile(level=0, index=255)
    entries = [b"forged", *parse_bundle(logs[BIG].read(bundle), bundle.width)[1:]]
    (folder / bundle.path).write_bytes(encode_bundle(entries))
    (folder / tile.path).write_bytes(b"".join(leaf_hash(entry) for entry in entries))
    assert not own_judge.accepts(folder)


@pytest.mark.parametrize("place", [0, 25, 40, -3])
def test_one_bit_changed_in_origin_size_root_or_signature_is_refused(
    judge: Judge, logs: dict[int, MemoryLog], place: int, tmp_path: Path
) -> None:
    folder = logs[257].write(tmp_path)
    checkpoint = bytearray((folder / "checkpoint").read_bytes())
    checkpoint[place] ^= 1
    (folder / "checkpoint").write_bytes(checkpoint)
    assert not judge.accepts(folder)


def test_a_checkpoint_of_another_key_is_refused(
    judge: Judge, logs: dict[int, MemoryLog], tmp_path: Path
) -> None:
    folder = logs[257].write(tmp_path)
    stranger = MemoryLog(seed=b"\x09" * 32)
    (folder / "vkey").write_text(f"{stranger.signer.verifier}\n")
    assert not judge.accepts(folder)


@pytest.mark.parametrize("older_size", OLDER_SIZES)
def test_the_big_log_extends_each_of_its_older_checkpoints(
    own_judge: Judge, logs: dict[int, MemoryLog], older_size: int, tmp_path: Path
) -> None:
    folder = logs[BIG].write(tmp_path)
    older = tmp_path / "older"
    older.write_bytes(grown_to(older_size).checkpoint())
    assert own_judge.accepts(folder, older)


def test_a_log_that_rewrote_its_past_does_not_extend_the_older_checkpoint(
    own_judge: Judge, logs: dict[int, MemoryLog], tmp_path: Path
) -> None:
    rewritten = MemoryLog()
    rewritten.append([b"another", *(b'{"entry":%d}' % number for number in range(1, 300))])
    folder = rewritten.write(tmp_path)
    assert own_judge.accepts(folder)
    older = tmp_path / "older"
    older.write_bytes(logs[257].checkpoint())
    assert not own_judge.accepts(folder, older)


def test_a_log_that_shrank_does_not_extend_the_older_checkpoint(
    own_judge: Judge, logs: dict[int, MemoryLog], tmp_path: Path
) -> None:
    folder = logs[256].write(tmp_path)
    older = tmp_path / "older"
    older.write_bytes(logs[257].checkpoint())
    assert not own_judge.accepts(folder, older)
