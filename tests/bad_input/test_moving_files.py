"""Files of a real folder that change under the hands of whoever reads them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.offload.reader import BUFFER_BYTES, Copied, Prefix, ReadObserver, block_buffer, read_file
from agent.offload.window import Window
from agent.spool.directory import DirectorySpool
from agent.spool.records import FileKey
from agent.volumes.tree import TreeVolume
from protocol.digest import Digest

NAME = b"clip.mp4"
SIZE_BYTES = 4 * BUFFER_BYTES + 5


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    made = tmp_path / "card" / os.fsdecode(NAME)
    made.parent.mkdir()
    made.write_bytes(b"x" * SIZE_BYTES)
    return made


@pytest.fixture
def re_reader() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def read(clip: Path, re_reader: ThreadPoolExecutor, after_first_piece: Callable[[], object]) -> Copied:
    """Read the clip into a spool; something happens to it once the first piece has been read."""
    volume = TreeVolume.at(os.fsencode(clip.parent), dock="folder", bay="bay-1", label=None)
    (entry,) = volume.scan()
    key = FileKey(
        recorder_key="ZFY0001", path=NAME, size_bytes=entry.size_bytes, modified_ns=entry.modified_ns
    )
    happened = threading.Event()

    def written(_: int) -> None:
        if not happened.is_set():
            happened.set()
            after_first_piece()

    partial = DirectorySpool(clip.parents[1] / "spool").open_partial("clip", 0)
    try:
        return read_file(
            volume,
            key,
            partial,
            prefix=Prefix.empty(),
            slot=Window(block_buffer).slot,
            stop=threading.Event(),
            observer=ReadObserver(written=written, durable=lambda *_: None, whole=lambda: None),
            re_reader=re_reader,
        )
    finally:
        partial.close()


def append(clip: Path) -> None:
    with clip.open("ab") as file:
        file.write(b"more")


def write_into(clip: Path) -> None:
    with clip.open("r+b") as file:
        file.seek(SIZE_BYTES - 1)
        file.write(b"?")


def replace_file(clip: Path) -> None:
    other = clip.with_name("other")
    other.write_bytes(b"y" * SIZE_BYTES)
    os.utime(other, ns=(clip.stat().st_atime_ns, clip.stat().st_mtime_ns))
    other.rename(clip)


def test_a_file_that_rests_is_read_whole(clip: Path, re_reader: ThreadPoolExecutor) -> None:
    assert read(clip, re_reader, lambda: None).digest == Digest.of(b"x" * SIZE_BYTES)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (append, "file-changed-while-read"),
        (lambda clip: os.truncate(clip, SIZE_BYTES - 1), "file-changed-while-read"),
        (lambda clip: os.truncate(clip, 0), "file-changed-while-read"),
        (lambda clip: os.utime(clip, ns=(0, 0)), "file-changed-while-read"),
        (write_into, "file-changed-while-read"),
    ],
    ids=["grows", "shrinks", "is emptied", "is touched", "is written into"],
)
def test_a_file_that_changes_while_it_is_read_is_no_original(
    clip: Path, re_reader: ThreadPoolExecutor, change: Callable[[Path], object], code: str
) -> None:
    with pytest.raises(AgentError) as refused:
        read(clip, re_reader, lambda: change(clip))
    assert (refused.value.code, refused.value.retryable) == (code, True)


@pytest.mark.parametrize("change", [replace_file, Path.unlink], ids=["replaced", "unlinked"])
def test_a_file_replaced_while_it_is_read_is_the_one_that_was_listed(
    clip: Path, re_reader: ThreadPoolExecutor, change: Callable[[Path], None]
) -> None:
    """It is held open: its bytes are those of the name when it was listed, not of the other file."""
    assert read(clip, re_reader, lambda: change(clip)).digest == Digest.of(b"x" * SIZE_BYTES)
