"""When is a file that is being read known to be durable, and when is the recorder done with it?"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.offload import reader
from agent.offload.reader import BUFFER_BYTES, Prefix, ReadObserver, block_buffer, read_file
from agent.offload.window import Window
from agent.spool.directory import DirectorySpool
from agent.spool.records import FileKey
from agent.volumes.tree import TreeVolume


def read_noting(folder: Path, size_bytes: int) -> list[str | int]:
    """Reads a file of so many bytes; how far it was durable, and when the last byte was there."""
    card = folder / "card"
    card.mkdir()
    (card / "clip.mp4").write_bytes(os.urandom(size_bytes))
    volume = TreeVolume.at(os.fsencode(card), dock="folder", bay="bay-1", label=None)
    (entry,) = volume.scan()
    key = FileKey(
        recorder_key="ZFY0001", path=b"clip.mp4", size_bytes=size_bytes, modified_ns=entry.modified_ns
    )
    noted: list[str | int] = []
    partial = DirectorySpool(folder / "spool").open_partial("clip", 0)
    with ThreadPoolExecutor(1) as re_reader:
        read_file(
            volume,
            key,
            partial,
            prefix=Prefix.empty(),
            slot=Window(block_buffer).slot,
            stop=threading.Event(),
            observer=ReadObserver(
                written=lambda _: None,
                durable=lambda size, _: noted.append(size // BUFFER_BYTES),
                whole=lambda: noted.append("whole"),
            ),
            re_reader=re_reader,
        )
    partial.close()
    return noted


def test_the_recorder_is_done_before_the_last_bytes_are_synced_and_re_read(tmp_path: Path) -> None:
    assert read_noting(tmp_path, 3 * BUFFER_BYTES) == ["whole", 3]


def test_near_its_end_a_file_is_synced_in_stretches_as_short_as_what_is_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "DURABLE_EVERY_BYTES", 8 * BUFFER_BYTES)
    monkeypatch.setattr(reader, "DURABLE_LEAST_BYTES", 2 * BUFFER_BYTES)
    assert read_noting(tmp_path, 32 * BUFFER_BYTES) == [8, 16, 24, 28, 30, "whole", 32]
