"""Files at and beyond 32 bits: really sparse, really read, really hashed; only the disk is spared."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path
from typing import Final

import pytest

from agent.offload.reader import BUFFER_BYTES, block_buffer, copy_file
from agent.spool.records import FileKey
from agent.volumes.tree import TreeVolume
from protocol.digest import Digest
from protocol.upload import format_metadata
from tests.support.tus_server import tus_server

GIB: Final = 1024**3
TAIL: Final = b"the last bytes of a long night"


class CountedPartial:
    """A ``PartialFile`` of zeros and a tail: every appended byte is compared, none is kept."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.path = Path("/dev/null")
        self.tail = b""
        self._zeros = bytes(BUFFER_BYTES)

    def append(self, buffer: memoryview, count: int) -> None:
        piece = buffer[:count].tobytes()  # a memoryview compares its bytes one by one, in Python's time
        if piece != self._zeros[:count]:
            self.tail = piece.lstrip(b"\0")
        self.size_bytes += count

    def flush(self) -> int:
        return self.size_bytes

    def read_back(self, offset: int, into: memoryview) -> int:
        raise AssertionError("the caller re-reads")

    def close(self) -> None: ...


def sparse(path: Path, size_bytes: int) -> Path:
    """Zeros without blocks, and ``TAIL`` at the end."""
    with path.open("wb") as file:
        file.seek(size_bytes - len(TAIL))
        file.write(TAIL)
    assert path.stat().st_blocks * 512 < 1024**2, "this file system makes no sparse files"
    return path


def digest_of_sparse(size_bytes: int) -> Digest:
    running, zeros = hashlib.sha256(), bytes(16 * 1024**2)
    left = size_bytes - len(TAIL)
    while left:
        left -= len(piece := zeros[: min(left, len(zeros))])
        running.update(piece)
    running.update(TAIL)
    return Digest.sha256(running.hexdigest())


@pytest.mark.parametrize("size_bytes", [4 * GIB - 1, 8 * GIB], ids=["4 GiB - 1", "8 GiB"])
def test_a_file_beyond_32_bits_is_read_to_its_last_byte(tmp_path: Path, size_bytes: int) -> None:
    sparse(tmp_path / "LONG.MP4", size_bytes)
    volume = TreeVolume.at(os.fsencode(tmp_path), dock="folder", bay="bay-1", label=None)
    (entry,) = volume.scan()
    assert entry.size_bytes == size_bytes
    key = FileKey(
        recorder_key="ZFY0001", path=entry.raw_path, size_bytes=size_bytes, modified_ns=entry.modified_ns
    )
    partial = CountedPartial()
    copied = copy_file(volume, key, partial, buffer=block_buffer(), stop=threading.Event())
    assert (copied.size_bytes, partial.size_bytes, partial.tail) == (size_bytes, size_bytes, TAIL)


async def test_an_upload_of_8_gib_goes_on_behind_a_restart_and_ends_with_its_digest(tmp_path: Path) -> None:
    """The collector's staging finds a sparse file of 8 GiB less a little, hashes what it finds, and takes the rest."""
    size_bytes, folder = 8 * GIB, tmp_path / "staging"
    fields = {"agency": b"hz", "purpose": b"original"}
    async with tus_server(folder) as server:
        path = await server.create(size_bytes, Upload_Metadata=format_metadata(fields))
    (staged,) = folder.glob("*.bytes")
    os.truncate(staged, size_bytes - len(TAIL))
    async with tus_server(folder) as server:
        wanted = asyncio.create_task(asyncio.to_thread(digest_of_sparse, size_bytes))
        head = await server.head(path)
        assert (head.status, head.offset) == (200, size_bytes - len(TAIL))
        beyond = await server.patch(path, size_bytes - len(TAIL), TAIL + b"!")
        assert (beyond.status, beyond.code) == (413, "upload-too-large")
        low = await server.patch(path, (size_bytes - len(TAIL)) % 2**32, TAIL)
        assert (low.status, low.code) == (409, "upload-offset-conflict")
        last = await server.patch(path, size_bytes - len(TAIL), TAIL)
        assert (last.status, last.offset) == (204, size_bytes)
        (upload,) = server.hooks.completed
        assert (upload.size_bytes, upload.actual) == (size_bytes, await wanted)
