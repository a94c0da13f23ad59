"""What others take for the same files and the same guarantee: both ends know a digest, the bytes are synced.

Every round begins with empty page cache and empty target and ends with the last byte durable and compared.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from scripts.bench_data import DataSet
from scripts.bench_measure import Round, Usage, prepare, run_measured, since
from scripts.bench_servers import Servers

Work = Callable[[], Mapping[str, Usage]]
"""Does one round; returns what its own processes used."""

Peer = Callable[[DataSet, Path], Round]

_CURL_FILES: Final = 200
"""URLs of one curl: a command line must not grow without limit."""

_ROOT: Final = Path(__file__).parents[1]


def rsync_tls(data: DataSet, scratch: Path) -> Round:
    """``rsync -c --fsync`` to a daemon through stunnel."""
    return _rsync(data, scratch, tls=True)


def rsync_plain(data: DataSet, scratch: Path) -> Round:
    """``rsync -c --fsync`` to a daemon; for information, since the product always encrypts."""
    return _rsync(data, scratch, tls=False)


def curl_nginx(data: DataSet, scratch: Path) -> Round:
    """``curl`` to nginx WebDAV over https, four at a time, then a read-back digest."""
    with ExitStack() as stack:
        servers, target = _servers(scratch, stack)
        base = f"https://127.0.0.1:{servers.nginx(target)}"

        def work() -> Mapping[str, Usage]:
            used = [
                run_measured(_curl(servers, data, base, files)) for files in _pieces(data.files, _CURL_FILES)
            ]
            return {"curl": _sum(used), "read-back": _read_back(data, target)}

        return _round(data, servers, work)


def rclone_webdav(data: DataSet, scratch: Path) -> Round:
    """``rclone copy`` to ``rclone serve webdav`` over https, four at a time, then a read-back digest."""
    with ExitStack() as stack:
        servers, target = _servers(scratch, stack)
        url = f"https://127.0.0.1:{servers.rclone(target)}"
        command = [
            "rclone", "copy", str(data.folder), ":webdav:", "--webdav-url", url, "--config", os.devnull,
            "--ca-cert", str(servers.tls.certificate), "--transfers", "4", "--quiet",
        ]  # fmt: skip

        def work() -> Mapping[str, Usage]:
            return {"rclone": run_measured(command), "read-back": _read_back(data, target)}

        return _round(data, servers, work)


def limit(data: DataSet, scratch: Path) -> Round:
    """One process that does what cannot be left out; see ``bench_limit``."""
    target = scratch / "target"
    command = [sys.executable, "-m", "scripts.bench_limit", str(data.folder), str(target)]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        prepare(data)
        begun = time.perf_counter()
        with TemporaryFile() as spent:
            used = run_measured(command, stdout=spent, cwd=_ROOT)
            seconds = time.perf_counter() - begun
            spent.seek(0)
            return Round(seconds=seconds, processes={"limit": used}, facts=json.load(spent))


def _rsync(data: DataSet, scratch: Path, *, tls: bool) -> Round:
    with ExitStack() as stack:
        servers, target = _servers(scratch, stack)
        port = servers.rsync(target)
        if tls:
            port = servers.tls_tunnel(port)
        command = [
            "rsync", "-r", "-t", "-c", "--fsync", f"{data.folder}/", f"rsync://127.0.0.1:{port}/target/",
        ]  # fmt: skip
        return _round(data, servers, lambda: {"rsync": run_measured(command)})


def _round(data: DataSet, servers: Servers, work: Work) -> Round:
    prepare(data)
    before, begun = servers.usage, time.perf_counter()
    own = work()
    seconds = time.perf_counter() - begun
    return Round(seconds=seconds, processes={**own, **since(before, servers.usage)})


def _servers(scratch: Path, stack: ExitStack) -> tuple[Servers, Path]:
    """Daemons and an empty target; at the end of ``stack`` the daemons end, then their folder goes."""
    stack.callback(shutil.rmtree, scratch, ignore_errors=True)
    target = scratch / "target"
    target.mkdir(parents=True)
    return Servers(scratch / "servers", stack), target


def _curl(servers: Servers, data: DataSet, base: str, files: Sequence[Path]) -> list[str]:
    command = [
        "curl", "-sS", "--fail", "--cacert", str(servers.tls.certificate), "--parallel", "--parallel-max", "4",
        "--no-progress-meter", "-H", "Expect:",
    ]  # fmt: skip
    for path in files:
        command += ["-T", str(path), f"{base}/{path.relative_to(data.folder)}"]
    return command


def _read_back(data: DataSet, target: Path) -> Usage:
    command = [sys.executable, "-m", "scripts.bench_readback", str(data.folder), str(target)]
    return run_measured(command, cwd=_ROOT)


def _pieces(files: Sequence[Path], count: int) -> Sequence[Sequence[Path]]:
    return [files[start : start + count] for start in range(0, len(files), count)]


def _sum(used: Sequence[Usage]) -> Usage:
    return Usage(cpu_s=sum(one.cpu_s for one in used), children_cpu_s=0.0)
