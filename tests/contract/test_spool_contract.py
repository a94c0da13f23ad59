"""Do the spool in memory and the spool in a directory behave alike?"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.spool.directory import DirectorySpool
from agent.spool.files import BLOCK_BYTES, PartialFile, Publication, SpoolFiles
from agent.spool.records import Purpose
from protocol.digest import Digest
from tests.support.lossy_spool import LossySpool

ODD = bytes(range(256)) * 64 + b"the odd end"


@dataclass
class Bench:
    """A spool under test and how to look at what it holds."""

    spool: SpoolFiles
    blob: Callable[[Purpose, Digest], bytes | None]


def memory_bench(_: Path) -> Bench:
    spool = LossySpool()
    return Bench(spool, spool.blob)


def directory_bench(folder: Path) -> Bench:
    spool = DirectorySpool(folder / "spool")

    def blob(purpose: Purpose, digest: Digest) -> bytes | None:
        path = spool.path(purpose, digest)
        return path.read_bytes() if path.exists() else None

    return Bench(spool, blob)


@pytest.fixture(params=[memory_bench, directory_bench], ids=["memory", "directory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    made: Bench = request.param(tmp_path)
    return made


def append(partial: PartialFile, data: bytes) -> None:
    buffer = memoryview(mmap.mmap(-1, len(data) + BLOCK_BYTES))
    buffer[: len(data)] = data
    buffer[len(data) :] = b"#" * BLOCK_BYTES
    partial.append(buffer, len(data))


def read_back(partial: PartialFile, offset: int = 0) -> bytes:
    with mmap.mmap(-1, 1 << 20) as pages, memoryview(pages) as view:
        return bytes(view[: partial.read_back(offset, view)])


def publish(spool: SpoolFiles, data: bytes, name: str = "one") -> Digest:
    partial = spool.open_brief(name)
    append(partial, data)
    partial.flush()
    partial.close()
    digest = Digest.of(data)
    spool.publish([Publication(partial=name, purpose=Purpose.ORIGINAL, digest=digest)])
    return digest


@pytest.mark.parametrize("data", [b"", b"x", bytes(BLOCK_BYTES), ODD], ids=["none", "one", "block", "odd"])
def test_what_was_flushed_is_read_back(bench: Bench, data: bytes) -> None:
    partial = bench.spool.open_partial("one", 0)
    append(partial, data)
    assert partial.flush() == len(data) == partial.size_bytes
    assert read_back(partial) == data
    assert (
        read_back(partial, len(data) // BLOCK_BYTES * BLOCK_BYTES)
        == data[len(data) // BLOCK_BYTES * BLOCK_BYTES :]
    )
    partial.close()


def test_pieces_follow_each_other(bench: Bench) -> None:
    partial = bench.spool.open_partial("one", 0)
    append(partial, ODD[: 2 * BLOCK_BYTES])
    append(partial, ODD[2 * BLOCK_BYTES :])
    partial.flush()
    assert read_back(partial) == ODD
    partial.close()


def test_nothing_follows_an_odd_piece(bench: Bench) -> None:
    partial = bench.spool.open_partial("one", 0)
    append(partial, b"odd")
    with pytest.raises(ValueError, match="last piece"):
        append(partial, b"more")
    partial.close()


def test_a_partial_file_is_cut_to_what_is_to_be_kept(bench: Bench) -> None:
    first = bench.spool.open_partial("one", 0)
    append(first, ODD)
    first.flush()
    first.close()
    again = bench.spool.open_partial("one", 2 * BLOCK_BYTES)
    assert again.size_bytes == 2 * BLOCK_BYTES
    append(again, b"other end")
    again.flush()
    assert read_back(again) == ODD[: 2 * BLOCK_BYTES] + b"other end"
    again.close()


def test_keeping_more_than_there_is_keeps_what_there_is(bench: Bench) -> None:
    partial = bench.spool.open_partial("new", 5 * BLOCK_BYTES)
    assert partial.size_bytes == 0
    partial.close()


def test_a_published_blob_has_its_bytes_and_no_partial_file_is_left(bench: Bench) -> None:
    digest = publish(bench.spool, ODD)
    assert bench.spool.has(Purpose.ORIGINAL, digest)
    assert bench.blob(Purpose.ORIGINAL, digest) == ODD
    assert bench.spool.partials() == []


def test_publishing_the_same_bytes_twice_leaves_one_blob(bench: Bench) -> None:
    digest = publish(bench.spool, ODD, "one")
    assert publish(bench.spool, ODD, "two") == digest
    assert bench.blob(Purpose.ORIGINAL, digest) == ODD


def test_partial_files_outlive_the_spool_object_until_discarded(bench: Bench) -> None:
    bench.spool.open_partial("b", 0).close()
    bench.spool.open_partial("a", 0).close()
    assert bench.spool.partials() == ["a", "b"]
    bench.spool.discard_partial("a")
    bench.spool.discard_partial("a")
    assert bench.spool.partials() == ["b"]


def test_a_removed_blob_is_gone_and_can_be_removed_again(bench: Bench) -> None:
    digest = publish(bench.spool, ODD)
    for _ in range(2):
        bench.spool.remove(Purpose.ORIGINAL, digest)
        assert not bench.spool.has(Purpose.ORIGINAL, digest)


def test_a_file_made_elsewhere_is_adopted(bench: Bench, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(ODD)
    bench.spool.adopt(made, Purpose.RENDITION, Digest.of(ODD))
    assert bench.blob(Purpose.RENDITION, Digest.of(ODD)) == ODD
    assert not made.exists()


def test_blobs_on_disk_are_read_only_and_named_by_their_digest(tmp_path: Path) -> None:
    spool = DirectorySpool(tmp_path / "spool")
    digest = publish(spool, ODD)
    path = spool.path(Purpose.ORIGINAL, digest)
    assert path == tmp_path / "spool" / "originals" / digest.hex[:2] / digest.hex
    assert path.stat().st_mode & 0o777 == 0o440
    kept = spool.open_partial("kept", 0)
    kept.flush()
    kept.close()
    spool.publish([Publication(partial="kept", purpose=Purpose.LISTING, digest=Digest.of(b""))])
    assert spool.path(Purpose.LISTING, Digest.of(b"")).stat().st_mode & 0o777 == 0o440


def test_receipts_are_read_where_they_were_put(bench: Bench) -> None:
    spool = bench.spool
    places = [
        *spool.put_receipts([b"one", b"four"]),
        *spool.put_receipts([b""]),
        *spool.put_receipts([b"two"]),
    ]
    assert [spool.read_receipt(place) for place in places] == [b"one", b"four", b"", b"two"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a tmpfs, which refuses direct writes")
def test_a_file_system_without_direct_writes_will_do() -> None:
    folder = Path("/dev/shm") / f"zhilu-spool-{os.getpid()}"
    try:
        digest = publish(DirectorySpool(folder), ODD)
        assert DirectorySpool(folder).path(Purpose.ORIGINAL, digest).read_bytes() == ODD
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
