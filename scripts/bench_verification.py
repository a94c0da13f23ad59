"""What checking costs against hashing the same bytes: a whole collector by its audit, one file by ``zhilu-verify``."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.bench_data import DataSet
from scripts.bench_measure import Round, drop_from_cache, run_measured
from scripts.bench_product import Site
from scripts.demo_processes import BIN, call

HASHERS: Final[Mapping[str, Sequence[str]]] = {
    "sha256sum": ("sha256sum", "--"),
    "openssl dgst -sha256": ("openssl", "dgst", "-sha256"),
}
"""Debian's sha256sum does without the processor's own instructions; openssl does not."""

_ARGUMENTS: Final = 200


def kept(site: Site) -> DataSet:
    """Everything the audit reads again."""
    return DataSet(name="objects of a collector", folder=site.collector_dir / "objects")


def audit(site: Site, data: DataSet) -> Round:
    """``zhilu-collector audit``; raises CalledProcessError unless all holds."""
    return _cold(data.files, [[str(BIN / "zhilu-collector"), "audit", "--data", str(site.collector_dir)]])


def verify(site: Site, data: DataSet, receipt: Path) -> Round:
    """``zhilu-verify`` of the first file."""
    key = site.collector_dir / "log" / "vkey"
    command = [
        str(BIN / "zhilu-verify"), str(data.files[0]), "--receipt", str(receipt), "--log-key", str(key),
    ]  # fmt: skip
    return _cold(data.files[:1], [command])


def hashing(hasher: Sequence[str], files: Sequence[Path]) -> Round:
    """Digests of files, nothing else."""
    pieces = [files[start : start + _ARGUMENTS] for start in range(0, len(files), _ARGUMENTS)]
    return _cold(files, [[*hasher, *map(str, piece)] for piece in pieces])


def receipt_of_first(site: Site, data: DataSet, folder: Path) -> Path:
    """The receipt of the first file, written to ``folder``."""
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-r", data.files[0]], check=True, capture_output=True, text=True
    ).stdout.split()[0]
    call("zhilu-agent", "receipts", "--data", str(site.agent_dir), "--out", str(folder), "--of", digest)
    (receipt,) = folder.iterdir()
    return receipt


def _cold(files: Sequence[Path], commands: Sequence[Sequence[str]]) -> Round:
    """Commands one after the other, ``files`` out of the page cache."""
    drop_from_cache(files)
    begun = time.perf_counter()
    used = [run_measured(command, stdout=subprocess.DEVNULL) for command in commands]
    seconds = time.perf_counter() - begun
    return Round(seconds=seconds, processes={str(number): one for number, one in enumerate(used)})
