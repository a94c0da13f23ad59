"""Blocking sockets on the simulated network, for code that talks from a thread of its own.

They block the worker that uses them and nobody else; time-outs are those of virtual time.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from tests.campaign.clockwork import Clockwork
from tests.campaign.network import End, Network

T = TypeVar("T")


class _Wire(asyncio.Protocol):
    """What arrives, until somebody takes it."""

    def __init__(self) -> None:
        self.arrived = bytearray()
        self.is_over = False
        self.error: Exception | None = None
        self.may_write = True
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.arrived += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over, self.error = True, exc
        self._news.set()

    def pause_writing(self) -> None:
        self.may_write = False

    def resume_writing(self) -> None:
        self.may_write = True
        self._news.set()

    async def news(self) -> None:
        self._news.clear()
        await self._news.wait()


class SimSocket:
    """The part of ``socket.socket`` that ``http.client`` uses. Methods are called on workers, ``shutdown`` anywhere."""

    def __init__(self, loop: Clockwork, end: End, wire: _Wire, timeout_s: float | None) -> None:
        self._loop = loop
        self._end = end
        self._wire = wire
        self._timeout_s = timeout_s

    def settimeout(self, seconds: float | None) -> None:
        self._timeout_s = seconds

    def setsockopt(self, *_: object) -> None:
        """Options of real networks."""

    def sendall(self, data: Any) -> None:
        self._check()
        self._end.write(bytes(data))
        while not self._wire.may_write and not self._wire.is_over:
            _block(self._loop, self._wire.news(), self._timeout_s)
        self._check()

    def _check(self) -> None:
        if self._wire.is_over:
            raise self._wire.error or BrokenPipeError("broken pipe")

    def recv_into(self, buffer: Any) -> int:
        wire = self._wire
        while not wire.arrived and not wire.is_over:
            _block(self._loop, wire.news(), self._timeout_s)
        if not wire.arrived and wire.error is not None:
            raise wire.error
        size = min(len(buffer), len(wire.arrived))
        buffer[:size] = wire.arrived[:size]
        del wire.arrived[:size]
        return size

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self))

    def shutdown(self, how: int) -> None:
        self._end.abort()

    def close(self) -> None:
        self._end.close()


class _Raw(io.RawIOBase):
    def __init__(self, sock: SimSocket) -> None:
        super().__init__()
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._sock.recv_into(buffer)


def _block(loop: Clockwork, work: Coroutine[Any, Any, T], timeout_s: float | None) -> T:
    """From a worker: until the coroutine is done."""
    return loop.run_threadsafe(asyncio.wait_for(work, timeout_s), loop).result()


def socket_module(loop: Clockwork, network: Network) -> SimpleNamespace:
    """What stands in for the module."""

    def create_connection(
        address: object, timeout: float | None = None, *_: object, **__: object
    ) -> SimSocket:
        end, wire = _block(loop, network.connect(_Wire), timeout)
        return SimSocket(loop, end, cast(_Wire, wire), timeout)

    real = {name: getattr(socket, name) for name in dir(socket) if not name.startswith("_")}
    return SimpleNamespace(**real | {"socket": SimSocket, "create_connection": create_connection})
