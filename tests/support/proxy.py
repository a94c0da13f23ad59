"""A TCP proxy that misbehaves on demand: cuts, resets, stalls and half-open connections between two real programs.

Each accepted connection takes the next planned fault, or is forwarded faithfully when none is planned. Bytes are
counted from the client to the server, on one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

_READ_BYTES = 65_536


class How(StrEnum):
    """What happens once enough bytes have passed."""

    CLOSE = "close"
    """Both sides get a normal end of stream."""
    RESET = "reset"
    """Both sides get a reset, as from a pulled cable with an eager switch."""
    STALL = "stall"
    """Nothing passes any more and nothing is closed: the half-open connection."""
    MUTE = "mute"
    """The server gets everything, its answer is lost: the connection is reset instead."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for one connection; ``after_bytes`` counts what the client sent."""

    how: How
    after_bytes: int = 0


class FaultyProxy:
    """Listens on a free loopback port and forwards to one server; use as an async context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults: deque[Fault] = deque()
        self.connections = 0
        self.happened = asyncio.Event()
        """Set whenever a fault has struck; clear it to wait for the next."""
        self.refusing = False
        """While true, new connections are reset at once: the collector is away."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.drop_all()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def plan(self, *faults: Fault) -> None:
        self.faults.extend(faults)

    async def drop_all(self) -> None:
        """Reset every connection there is now."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            _reset(writer)
            return
        fault = self.faults.popleft() if self.faults else None
        task = asyncio.create_task(self._serve(reader, writer, fault), name="proxied connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        mute = fault is not None and fault.how is How.MUTE
        down = asyncio.create_task(self._down(up_reader, writer, mute=mute), name="proxy down")
        up = asyncio.create_task(self._up(reader, up_writer, fault), name="proxy up")
        try:
            await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
            struck = up.done() and not up.cancelled() and up.result()
            if up.done() and not struck:  # the client ended its half: let the answer finish
                await down
            if struck and fault is not None and fault.how is How.STALL:
                down.cancel()
                self.happened.set()
                await asyncio.Event().wait()
            if struck and fault is not None and fault.how is How.CLOSE:
                return
            if struck or mute:
                _reset(writer)
                _reset(up_writer)
        finally:
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)
            for side in (writer, up_writer):
                side.close()
            if fault is not None:
                self.happened.set()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> bool:
        """True when the fault struck, False when the client had no more to say."""
        left = fault.after_bytes if fault is not None and fault.how is not How.MUTE else None
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES if left is None else min(_READ_BYTES, left + 1)):
                if left is not None:
                    data, left = data[:left], left - len(data)
                writer.write(data)
                await writer.drain()
                if left is not None and left < 0:
                    return True
        return False

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mute: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                if mute:
                    return
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN: no time to linger."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
