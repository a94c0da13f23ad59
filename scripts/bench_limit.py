"""The limit: each file read, hashed once, written, synced and read again past the page cache, by one process and one
thread, with nothing else: ``python -m scripts.bench_limit SOURCE TARGET``.

Whoever keeps the promises of a receipt does at least this. All I/O is direct and in reused buffers, the cheapest
way there is on Linux. Prints the seconds each kind of work took, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20
_ALIGNED: Final = 4096


class _Limit:
    def __init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, _BLOCK))
        self.spent: Counter[str] = Counter()

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        begun = time.perf_counter_ns()
        yield
        self.spent[what] += time.perf_counter_ns() - begun

    def copy(self, source: Path, target: Path) -> None:
        reading = os.open(source, os.O_RDONLY | os.O_DIRECT)
        writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o440)
        digest = hashlib.sha256()
        size = 0
        while count := self._read(reading, size, "read"):
            with self._doing("hash"):
                digest.update(self._buffer[:count])
            with self._doing("write"):
                os.pwrite(writing, self._buffer[: -(-count // _ALIGNED) * _ALIGNED], size)
            size += count
        with self._doing("sync"):
            os.ftruncate(writing, size)
            os.fsync(writing)
        again = 0
        while count := self._read(writing, again, "re-read"):
            again += count
        assert again == size
        os.close(reading)
        os.close(writing)

    def _read(self, descriptor: int, offset: int, what: str) -> int:
        if offset % _ALIGNED:  # the end: a direct read from here would be refused
            return 0
        with self._doing(what):
            return os.preadv(descriptor, [self._buffer], offset)


def main(source: Path, target: Path) -> None:
    """Copy the folder ``source`` to the new folder ``target``."""
    limit = _Limit()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        limit.copy(path, place)
    json.dump({what: spent / 1e9 for what, spent in limit.spent.items()}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
