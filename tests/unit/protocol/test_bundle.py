"""Bundles: the sender's layout and the receiver's parser agree, tar agrees with both, and nothing else gets through."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.bundle import (
    BLOCK_BYTES,
    END,
    MAX_MEMBER_BYTES,
    MAX_MEMBERS,
    BundleLayout,
    BundleParser,
    Member,
)
from protocol.digest import Digest
from protocol.limits import MAX_BUNDLE_BYTES
from protocol.upload import Purpose
from protocol.upload_errors import BundleMalformedError
from tests.support.bundles import File, bundle_of, layout_of, member_of

FILES: list[File] = [
    (Purpose.ORIGINAL, b"a photograph" * 100),
    (Purpose.ORIGINAL, b""),
    (Purpose.LISTING, b"x" * BLOCK_BYTES),
    (Purpose.RENDITION, b"y" * (BLOCK_BYTES + 1)),
]

bundles = st.lists(
    st.tuples(
        st.sampled_from([Purpose.ORIGINAL, Purpose.RENDITION, Purpose.LISTING]), st.binary(max_size=1500)
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


def blocks_of(data: bytes, size_bytes: int) -> Iterator[memoryview]:
    for start in range(0, len(data), size_bytes):
        yield memoryview(data)[start : start + size_bytes]


@dataclass
class Receiver:
    """Takes a stream in and keeps what the parser lets through."""

    parser: BundleParser

    def __post_init__(self) -> None:
        self.whole: list[File] = []
        self._open = b""

    def take(self, data: bytes, block_bytes: int = 1000) -> None:
        for block in blocks_of(data, block_bytes):
            for piece in self.parser.feed(block):
                self._open = bytes(piece.data) if piece.starts else self._open + piece.data
                if piece.ends:
                    self.whole.append((piece.member.purpose, self._open))


def received(data: bytes, block_bytes: int = 1000) -> Receiver:
    receiver = Receiver(BundleParser())
    receiver.take(data, block_bytes)
    return receiver


@given(bundles, st.integers(1, 2000))
def test_what_is_sent_arrives_however_it_is_cut(files: list[File], block_bytes: int) -> None:
    receiver = received(bundle_of(files), block_bytes)
    assert receiver.whole == files
    assert receiver.parser.is_complete
    assert list(receiver.parser.members) == [member_of(file) for file in files]


@given(bundles, st.data())
def test_a_sender_may_go_on_at_any_byte(files: list[File], data: st.DataObject) -> None:
    whole = bundle_of(files)
    assert len(whole) == layout_of(files).size_bytes
    offset = data.draw(st.integers(0, len(whole)))
    assert bundle_of(files, offset) == whole[offset:]


@given(bundles, st.data())
def test_a_receiver_may_go_on_behind_the_last_whole_member(files: list[File], data: st.DataObject) -> None:
    whole = bundle_of(files)
    first = received(whole[: data.draw(st.integers(0, len(whole)))])
    boundary = first.parser.boundary_bytes
    assert boundary <= first.parser.position_bytes
    first.whole = first.whole[: len(first.parser.members)]  # the padding of the last one may be missing
    second = Receiver(BundleParser(first.parser.members))
    second.take(bundle_of(files, boundary))
    assert first.whole + second.whole == files
    assert second.parser.is_complete


@given(bundles, st.data())
def test_no_changed_byte_gets_through(files: list[File], data: st.DataObject) -> None:
    damaged = bytearray(bundle_of(files))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= data.draw(st.integers(1, 255))
    receiver = Receiver(BundleParser())
    with contextlib.suppress(BundleMalformedError):
        receiver.take(bytes(damaged))
    assert not receiver.parser.is_complete
    assert set(receiver.whole) <= set(files)


@given(bundles, st.data())
def test_a_bundle_cut_short_is_not_complete(files: list[File], data: st.DataObject) -> None:
    whole = bundle_of(files)
    cut = received(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not cut.parser.is_complete


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_rubbish_is_malformed_or_incomplete(rubbish: bytes, block_bytes: int) -> None:
    receiver = Receiver(BundleParser())
    with contextlib.suppress(BundleMalformedError):
        receiver.take(rubbish, block_bytes)
    assert not receiver.parser.is_complete
    assert receiver.whole == []


@given(bundles)
def test_the_standard_librarys_tarfile_reads_the_same_members(files: list[File]) -> None:
    with tarfile.open(fileobj=io.BytesIO(bundle_of(files)), mode="r:") as tar:
        entries = tar.getmembers()
        contents = [(Purpose(entry.name.partition("/")[0]), tar.extractfile(entry)) for entry in entries]
        assert [(purpose, file.read() if file else None) for purpose, file in contents] == files
    assert {(e.mode, e.uid, e.gid, e.mtime, e.isreg()) for e in entries} == {(0o440, 0, 0, 0, True)}


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
@settings(max_examples=5, deadline=None)
@given(bundles)
def test_gnu_tar_writes_and_lists_the_same_bundle(
    tmp_path_factory: pytest.TempPathFactory, files: list[File]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    names = [member_of(file).name for file in files]
    for name, (_, data) in zip(names, files, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    options = [
        "--format=ustar",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=0440",
        "-b1",
    ]
    written = tar(["-c", *options, *names], folder)
    assert written == bundle_of(files)
    (folder / "bundle.tar").write_bytes(written)
    assert tar(["-tf", "bundle.tar"], folder).decode().split() == names


def tar(arguments: list[str], folder: Path) -> bytes:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        ["tar", *arguments], cwd=folder, env=environment, capture_output=True, check=True
    ).stdout


def test_an_empty_bundle_is_none() -> None:
    with pytest.raises(BundleMalformedError):
        received(END)
    with pytest.raises(BundleMalformedError):
        BundleLayout([])


def test_nothing_follows_the_end() -> None:
    whole = bundle_of(FILES)
    for more in (b"\0", bytes(9216), whole):
        with pytest.raises(BundleMalformedError, match="after its end"):
            received(whole + more, block_bytes=len(whole))


def test_a_name_stands_once_but_the_same_bytes_may_serve_two_purposes() -> None:
    twice = [FILES[0], FILES[0]]
    with pytest.raises(BundleMalformedError, match="twice"):
        layout_of(twice)
    with pytest.raises(BundleMalformedError, match="twice"):
        received(2 * bundle_of([FILES[0]])[: -len(END)])
    other = [FILES[0], (Purpose.RENDITION, FILES[0][1])]
    assert received(bundle_of(other)).whole == other


def foreign(**changes: object) -> bytes:
    """The first member as a tar would hold it that has one thing in its header otherwise."""
    purpose, data = FILES[0]
    entry = tarfile.TarInfo(f"{purpose}/{hashlib.sha256(data).hexdigest()}")
    entry.size, entry.mode, entry.mtime = len(data), 0o440, 0
    for name, value in changes.items():
        setattr(entry, name, value)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()[: 512 + len(data) + -len(data) % 512] + END


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "original/../../etc/passwd"},
        {"name": "/original/" + "0" * 64},
        {"name": "original/" + "A" * 64},
        {"name": "statement/" + "0" * 64},
        {"name": "bundle/" + "0" * 64},
        {"mode": 0o640},
        {"mode": 0o4440},
        {"mtime": 1},
        {"uid": 1},
        {"gid": 1},
        {"uname": "root"},
        {"gname": "root"},
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0},
        {"type": tarfile.LNKTYPE, "linkname": "x", "size": 0},
        {"type": tarfile.DIRTYPE, "size": 0},
        {"type": tarfile.FIFOTYPE, "size": 0},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "size": 0},
        {"type": tarfile.CONTTYPE},
        {"type": tarfile.AREGTYPE},
    ],
)
def test_another_tar_is_no_bundle(changes: dict[str, object]) -> None:
    with pytest.raises(BundleMalformedError):
        received(foreign(**changes))


def test_a_member_larger_than_any_is_refused_at_its_header() -> None:
    largest = replace(member_of(FILES[0]), size_bytes=MAX_MEMBER_BYTES)
    header = bytearray(largest.to_header())
    header[124:135] = b"%011o" % (MAX_MEMBER_BYTES + 1)
    with pytest.raises(BundleMalformedError):
        received(bytes(header))
    with pytest.raises(BundleMalformedError):
        replace(largest, size_bytes=MAX_MEMBER_BYTES + 1)


def numbered(count: int, size_bytes: int = 0) -> list[Member]:
    digests = (Digest.of(str(number).encode()) for number in range(count))
    return [Member(purpose=Purpose.ORIGINAL, digest=digest, size_bytes=size_bytes) for digest in digests]


def test_the_number_of_members_has_a_limit() -> None:
    BundleLayout(numbered(MAX_MEMBERS))
    with pytest.raises(BundleMalformedError):
        BundleLayout(numbered(MAX_MEMBERS + 1))
    files = [(Purpose.ORIGINAL, str(number).encode()) for number in range(MAX_MEMBERS + 1)]
    stream = bundle_of(files[:-1])[: -len(END)] + bundle_of(files[-1:])
    with pytest.raises(BundleMalformedError, match="members"):
        received(stream)


def test_the_length_of_a_bundle_has_a_limit() -> None:
    count = (MAX_BUNDLE_BYTES - len(END)) // numbered(1, MAX_MEMBER_BYTES)[0].span_bytes
    assert BundleLayout(numbered(count, MAX_MEMBER_BYTES)).size_bytes <= MAX_BUNDLE_BYTES
    with pytest.raises(BundleMalformedError):
        BundleLayout(numbered(count + 1, MAX_MEMBER_BYTES))
