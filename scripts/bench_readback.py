"""The read-back digest a peer without one needs for the same guarantee:
``python -m scripts.bench_readback SOURCE TARGET``.

Each file at the target is synced and read past the page cache, its SHA-256 compared with that of the source, which
comes from the page cache where the peer has just put it: the cheapest way for the peer. Exit code 1 if any differs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def same(source: Path, target: Path) -> bool:
    """Whether both hold the same bytes; ``target`` durably."""
    with target.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        held = hashlib.file_digest(file, "sha256").digest()
    with source.open("rb") as file:
        return held == hashlib.file_digest(file, "sha256").digest()


def main(source: Path, target: Path) -> int:
    """0 if every file of ``source`` is at ``target``."""
    files = [path for path in source.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        equal = threads.map(lambda path: same(path, target / path.relative_to(source)), files)
        return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
