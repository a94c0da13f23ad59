"""Receipts on disk: lines of numbered files, appended and synced many at a time.

A file for each receipt would cost more than its verification (a name, a sync and 4 KiB of metadata for each of
thousands of photographs). A line is a whole receipt, so that ``grep`` finds one without the journal.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

from agent.spool.records import ReceiptPlace

FILE_BYTES: Final = 64 * 1024 * 1024
"""A file is followed by the next when it has so many: four thousand photographs' receipts, easily copied and read."""

_MODE: Final = 0o640


class ReceiptFiles:
    """The files of one folder. Each process begins a new one, so that no line follows one torn by a power cut. Those
    ``earlier`` folders have are read too, and numbers go on after theirs."""

    def __init__(self, folder: Path, *earlier: Path) -> None:
        self._folder = folder
        self._folders = (folder, *earlier)
        self._lock = threading.Lock()
        self._number: int | None = None
        self._size_bytes = 0

    def put(self, receipts: Sequence[bytes]) -> Sequence[ReceiptPlace]:
        """Append and sync. Raises OSError; then what was appended is nobody's, and the next call begins a new file.
        ValueError for a receipt of more than one line."""
        lines = [receipt + b"\n" for receipt in receipts]
        if any(line.index(b"\n") != len(line) - 1 for line in lines):
            raise ValueError("a receipt is one line")
        with self._lock:
            if self._number is None or self._size_bytes >= FILE_BYTES:
                self._begin()
            number, start = self._number, self._size_bytes
            assert number is not None, "one was just begun"
            self._number = None
            self._append(number, b"".join(lines))
            self._number = number
        offsets = accumulate(map(len, lines), initial=start)
        return [
            ReceiptPlace(number, offset, len(line) - 1) for offset, line in zip(offsets, lines, strict=False)
        ]

    def _begin(self) -> None:
        files = (path for folder in self._folders for path in folder.glob("*.jsonl"))
        taken = (int(path.stem) for path in files if path.stem.isdecimal())
        number = max(taken, default=0) + 1
        os.close(os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._number, self._size_bytes = number, 0

    def _append(self, number: int, data: bytes) -> None:
        descriptor = os.open(self._path(number), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._size_bytes += len(data)

    def read(self, place: ReceiptPlace) -> bytes:
        """Raises OSError, also when the file ends before the receipt."""
        descriptor = os.open(self._path(place.file), os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, place.size_bytes, place.offset)
        finally:
            os.close(descriptor)
        if len(data) != place.size_bytes:
            raise OSError(f"{self._path(place.file)} ends before byte {place.offset + place.size_bytes}")
        return data

    def _path(self, number: int) -> Path:
        name = f"{number:08d}.jsonl"
        return next(
            (path for folder in self._folders if (path := folder / name).exists()), self._folder / name
        )
