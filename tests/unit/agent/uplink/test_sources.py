"""Is what is sent as a bundle the bundle of its members, from whatever byte it goes on?"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.uplink.errors import SourceError
from agent.uplink.sources import PIECE_BYTES, BundleSource, WholeFile
from protocol.bundle import BundleParser, Member
from protocol.digest import Digest
from protocol.upload import Purpose

SIZES = [0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES + 777]
ON_DISK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def bundle(folder: Path, contents: Sequence[bytes]) -> BundleSource:
    members, paths = [], []
    for content in contents:
        member = Member(purpose=Purpose.ORIGINAL, digest=Digest.of(content), size_bytes=len(content))
        path = folder / member.digest.hex
        path.write_bytes(content)
        members.append(member)
        paths.append(path)
    return BundleSource("bundle", members, paths)


def read(source: BundleSource | WholeFile, start: int = 0, end: int | None = None) -> bytes:
    with closing(source.open()) as reader:
        return b"".join(map(bytes, reader.pieces(start, source.size_bytes if end is None else end)))


def some(sizes: Sequence[int]) -> list[bytes]:
    return [number.to_bytes(2) + os.urandom(size) if size else b"" for number, size in enumerate(sizes)]


def test_bundle_is_a_tar_of_its_members(tmp_path: Path) -> None:
    contents = some(SIZES)
    sent = read(bundle(tmp_path, contents))
    with tarfile.open(fileobj=io.BytesIO(sent)) as tar:
        unpacked = [file.read() for member in tar if (file := tar.extractfile(member)) is not None]
    assert unpacked == contents


def test_receiver_takes_every_member_of_a_bundle(tmp_path: Path) -> None:
    source = bundle(tmp_path, some(SIZES))
    parser = BundleParser()
    for _ in parser.feed(memoryview(read(source))):
        pass
    assert (len(parser.members), parser.is_complete) == (len(SIZES), True)


@ON_DISK
@given(sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=6), data=st.data())
def test_bundle_goes_on_at_any_byte(tmp_path: Path, sizes: list[int], data: st.DataObject) -> None:
    source = bundle(tmp_path, [*some(sorted(set(sizes))), b"one more"])
    whole = read(source)
    assert len(whole) == source.size_bytes
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    assert read(source, start, end) == whole[start:end]


def test_pieces_are_as_large_as_the_buffer_not_as_the_bundle(tmp_path: Path) -> None:
    source = bundle(tmp_path, some(SIZES))
    with closing(source.open()) as reader:
        assert max(map(len, reader.pieces(0, source.size_bytes))) <= PIECE_BYTES + 1024


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_file_that_is_not_what_it_was_ends_the_reading(tmp_path: Path, damage: str) -> None:
    source = bundle(tmp_path, some([100, 5000]))
    path = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 4096)
    with pytest.raises(SourceError):
        read(source)


def test_file_is_read_from_any_byte(tmp_path: Path) -> None:
    content = os.urandom(PIECE_BYTES + 5000)
    (tmp_path / "file").write_bytes(content)
    source = WholeFile(path=tmp_path / "file", size_bytes=len(content))
    assert read(source, 4097) == content[4097:]
    with pytest.raises(SourceError):
        read(source, 0, len(content) + 1)
