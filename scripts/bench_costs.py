"""What each kind of work of the large-file path costs by itself, and how often a byte meets it: the cost model.

Every kind is measured alone, in reused buffers of 1 MiB, as the product does it; disk and network through the same
calls. CPU seconds are of the thread that works.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash

from agent.uplink.line import PIECE_BYTES
from scripts.bench_data import DataSet
from scripts.bench_measure import Contender
from scripts.bench_report import Table
from scripts.bench_servers import Certificate

_BLOCK: Final = 1 << 20
_END_S: Final = 30.0
_ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one gigabyte."""

    cpu_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """How often a byte of a large file meets one kind of work, at the station and at the collector."""

    work: str
    station: int
    collector: int


MEETINGS: Final = (
    Meeting(work="read past the page cache", station=3, collector=1),
    Meeting(work="SHA-256", station=1, collector=1),
    Meeting(work="XXH3-128", station=2, collector=2),
    Meeting(work="write, sync", station=1, collector=1),
    Meeting(work="TLS out", station=1, collector=0),
    Meeting(work="TLS in", station=0, collector=1),
)
"""Station: read from the recorder, re-read, read for the line (none of it for what is still in memory). Collector: the
re-read. XXH3-128 when bytes pass and when they are re-read."""


def measure(folder: Path, blocks: int) -> Mapping[str, Cost]:
    """Everything, with so many MiB of each."""
    path = folder / "cost.bin"
    buffer = memoryview(mmap.mmap(-1, _BLOCK))
    buffer[:] = os.urandom(_BLOCK)
    try:
        written = _write(path, buffer, blocks)
        found = {"write, sync": written, "read past the page cache": _read(path, buffer, blocks)}
    finally:
        path.unlink(missing_ok=True)
    for name, running in (("SHA-256", hashlib.sha256()), ("XXH3-128", xxhash.xxh3_128())):
        found[name] = _repeated(blocks, lambda running=running: running.update(buffer))  # type: ignore[misc]
    return {**found, **_tls(folder, blocks)}


def cost_of_gigabyte(costs: Mapping[str, Cost], mine: Contender, data: DataSet) -> Table:
    """CPU seconds for a gigabyte of clips."""
    title = "cost model: CPU seconds for a gigabyte of clips"
    return _cost_model(title, costs, mine, share=data.size_bytes / 1e9, factor=1.0)


def cost_of_photo(costs: Mapping[str, Cost], mine: Contender, data: DataSet) -> Table:
    """CPU milliseconds for a photo: what its bytes cost as part of a large file, and the rest."""
    count = len(data.files)
    factor = data.size_bytes / count / 1e9 * 1000
    return _cost_model("cost model: CPU ms for a photo", costs, mine, share=count / 1000, factor=factor)


def _cost_model(
    title: str, costs: Mapping[str, Cost], mine: Contender, *, share: float, factor: float
) -> Table:
    """A gigabyte's costs times ``factor``; measured is what the last round used, divided by ``share``. What was used
    beyond the sum is ``everything else``: statements, log, catalogue, requests, threads handing over."""
    rows: list[tuple[str, ...]] = []
    sums = [0.0, 0.0]
    for meeting in MEETINGS:
        cost = costs[meeting.work]
        times = (meeting.station, meeting.collector)
        shares = [count * cost.cpu_s * factor for count in times]
        sums = [total + one for total, one in zip(sums, shares, strict=True)]
        alone = (f"{cost.seconds * factor:.2f}", f"{cost.cpu_s * factor:.2f}")
        rows.append((meeting.work, *alone, *map(str, times), *(f"{one:.2f}" for one in shares)))
    used = [mine.rounds[-1].processes[name].cpu_s / share for name in ("agent", "collector")]
    rest = [total - modelled for total, modelled in zip(used, sums, strict=True)]
    rows.append(("everything else", "", "", "", "", *(f"{one:.2f}" for one in rest)))
    rows.append(("measured, last round", "", "", "", "", *(f"{one:.2f}" for one in used)))
    head = ("work", "wall, alone", "CPU, alone", "× station", "× collector", "station", "collector")
    return Table(title=title, head=head, rows=rows)


@contextmanager
def _spending(blocks: int) -> Iterator[list[Cost]]:
    found: list[Cost] = []
    cpu, begun = time.thread_time(), time.perf_counter()
    yield found
    gigabytes = blocks * _BLOCK / 1e9
    found.append(
        Cost(
            cpu_s=(time.thread_time() - cpu) / gigabytes,
            seconds=(time.perf_counter() - begun) / gigabytes,
        )
    )


def _repeated(blocks: int, work: Callable[[], object]) -> Cost:
    with _spending(blocks) as found:
        for _ in range(blocks):
            work()
    return found[0]


def _write(path: Path, buffer: memoryview, blocks: int) -> Cost:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o600)
    try:
        with _spending(blocks) as found:
            for number in range(blocks):
                os.pwrite(descriptor, buffer, number * _BLOCK)
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    return found[0]


def _read(path: Path, buffer: memoryview, blocks: int) -> Cost:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with _spending(blocks) as found:
            for number in range(blocks):
                os.preadv(descriptor, [buffer], number * _BLOCK)
    finally:
        os.close(descriptor)
    return found[0]


class _Receiver(asyncio.BufferedProtocol):
    """As the collector's ``DirectBody``: TLS decrypts into one buffer."""

    def __init__(self, size_bytes: int, done: asyncio.Future[None]) -> None:
        self._left_bytes = size_bytes
        self._done = done
        self._transport: asyncio.BaseTransport
        self._buffer = memoryview(mmap.mmap(-1, _BLOCK))
        self._filled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled = (self._filled + nbytes) % _BLOCK
        self._left_bytes -= nbytes
        if self._left_bytes == 0 and not self._done.done():
            self._done.set_result(None)
            self._transport.close()


def _tls(folder: Path, blocks: int) -> Mapping[str, Cost]:
    """A sender in a process of its own, as the station's line; received by an event loop here."""
    certificate = Certificate.make(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        command = [
            sys.executable, "-m", "scripts.bench_costs",
            str(listener.getsockname()[1]), str(certificate.certificate), str(blocks),
        ]  # fmt: skip
        sender = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT))
        received = asyncio.run(_receive(listener, context, blocks))
        output, _ = sender.communicate()
    return {"TLS in": received, "TLS out": Cost(**json.loads(output))}


async def _receive(listener: socket.socket, context: ssl.SSLContext, blocks: int) -> Cost:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    with _spending(blocks) as found:
        server = await loop.create_server(
            lambda: _Receiver(blocks * _BLOCK, done), sock=listener, ssl=context
        )
        await done
        server.close()
    return found[0]


def send(port: int, certificate: str, blocks: int) -> Cost:
    """The other end of ``_tls``."""
    buffer = memoryview(bytearray(_BLOCK))
    context = ssl.create_default_context(cafile=certificate)
    plain = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as line:
        with _spending(blocks) as found:
            for start in list(range(0, _BLOCK, PIECE_BYTES)) * blocks:
                line.sendall(buffer[start : start + PIECE_BYTES])
        line.settimeout(_END_S)
        with suppress(OSError):
            line.recv(1)  # until the other end has everything and goes
    return found[0]


if __name__ == "__main__":
    cost = send(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    json.dump({"cpu_s": cost.cpu_s, "seconds": cost.seconds}, sys.stdout)
