"""The network between stations and the collector: TCP as asyncio shows it, in memory, with all its bad days.

Both sides' real HTTP code talks over pairs of transports. A connection can be cut with the data under way lost, go
silent in both directions without a word (half-open), or crawl.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any, Final, cast

from tests.campaign.clockwork import Clockwork
from tests.campaign.process import CURRENT, Process

_HIGH_WATER: Final = 65_536
_LATENCY_S: Final = 0.0005


class NetAct(Enum):
    """What happens to a connection when something is written to it."""

    CUT = "cut"
    TRUNCATE = "truncated-write"
    SILENCE = "half-open"
    CRAWL = "throttled"


Decide = Callable[[Process, str], NetAct | None]


@dataclass(eq=False)
class Listener:
    """A server socket. It is a ``asyncio.Server`` as far as aiohttp looks."""

    network: Network
    process: Process
    factory: Callable[[], asyncio.Protocol]
    context: contextvars.Context
    sockets: tuple[()] = ()

    def close(self) -> None:
        if self.network.listener is self:
            self.network.listener = None

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


@dataclass(eq=False)
class Network:
    """One collector, any number of clients. ``is_up`` says whether anything reaches the collector's machine."""

    loop: Clockwork
    rng: Random
    decide: Decide
    is_up: Callable[[str], bool]
    listener: Listener | None = None
    lines: dict[Line, None] = field(default_factory=dict)

    async def listen(self, factory: Callable[[], asyncio.Protocol]) -> Listener:
        process = CURRENT.get()
        assert process is not None
        self.listener = Listener(self, process, factory, contextvars.copy_context())
        process.on_death.append(self.listener.close)
        return self.listener

    async def connect(self, factory: Callable[[], asyncio.Protocol]) -> tuple[End, asyncio.Protocol]:
        process = CURRENT.get()
        assert process is not None
        if not self.is_up(process.machine):
            await asyncio.Event().wait()  # until the caller's patience ends
        await asyncio.sleep(_LATENCY_S)
        listener = self.listener
        if listener is None or not listener.process.alive:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        line = Line(self, process, listener.process)
        self.lines[line] = None
        protocol = factory()
        line.client.begin(protocol, contextvars.copy_context())
        line.server.begin(listener.context.run(listener.factory), listener.context.copy())
        return line.client, protocol

    def drop(self, process: Process, *, silently: bool) -> None:
        """A process ended: its peers are told by its kernel, or, when the machine lost its power, by nobody."""
        for line in list(self.lines):
            if process in (line.client.process, line.server.process):
                line.silence() if silently else line.reset()

    def heal(self) -> None:
        for line in list(self.lines):
            if line.is_silent:
                line.reset()


_numbers = itertools.count(1)


class Line:
    """One connection."""

    def __init__(self, network: Network, client: Process, server: Process) -> None:
        self.network = network
        self.is_silent = False
        self.delay_s = _LATENCY_S
        self.client = End(self, client, server.machine)
        self.server = End(self, server, client.machine)
        self.client.peer, self.server.peer = self.server, self.client

    def reset(self) -> None:
        """Both ends learn of it, and whatever was under way is lost."""
        for end in (self.client, self.server):
            end.lose(ConnectionResetError(errno.ECONNRESET, "connection reset by peer"))

    def silence(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self.is_silent = True
        for end in (self.client, self.server):
            if not end.process.alive:
                end.lose(None)

    def forget(self) -> None:
        if self.client.is_lost and self.server.is_lost:
            self.network.lines.pop(self, None)


class End(asyncio.Transport):
    """One end of a line."""

    peer: End

    def __init__(self, line: Line, process: Process, peer_name: str) -> None:
        super().__init__({"peername": (peer_name, 0), "sockname": (process.machine, 0)})
        self.line = line
        self.process = process
        self.peer_name = peer_name
        self.is_lost = False
        self._closing = False
        self._protocol: asyncio.Protocol
        self._context: contextvars.Context
        self._loop = line.network.loop
        self._inbox: deque[bytes | None] = deque()
        self._reading = True
        self._under_way = 0
        self._paused = False
        self._free_at_s = 0.0
        self.serial = next(_numbers)

    def __hash__(self) -> int:
        return self.serial

    def __eq__(self, other: object) -> bool:
        return self is other

    def begin(self, protocol: asyncio.Protocol, context: contextvars.Context) -> None:
        self._protocol, self._context = protocol, context
        context.run(protocol.connection_made, self)

    # --- asyncio.Transport -------------------------------------------------------------------------------------

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def is_closing(self) -> bool:
        return self._closing or self.is_lost

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._call_soon(self._hand_over)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As they are."""

    def get_write_buffer_size(self) -> int:
        return self._under_way

    def can_write_eof(self) -> bool:
        return False

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self.is_closing() or not data or not self.process.alive:
            return
        piece = bytes(data)
        act = None if self.line.is_silent else self.line.network.decide(self.process, self.peer_name)
        match act:
            case NetAct.CUT:
                self._loop.call_soon(self.line.reset)
                return
            case NetAct.TRUNCATE:
                self._send(piece[: len(piece) // 2])
                self._loop.call_later(2 * self.line.delay_s, self.line.reset)
                return
            case NetAct.SILENCE:
                self.line.is_silent = True
            case NetAct.CRAWL:
                self.line.delay_s = 0.5
        self._send(piece)

    def _send(self, piece: bytes) -> None:
        self._under_way += len(piece)
        if self._under_way > _HIGH_WATER and not self._paused:
            self._paused = True
            self._protocol.pause_writing()
        if not self.line.is_silent:
            self._later(lambda: self._arrive(piece))

    def _later(self, action: Callable[[], None]) -> None:
        """In order, after the line's delay."""
        jitter_s = self.line.network.rng.random() * self.line.delay_s
        self._free_at_s = max(self._free_at_s + 1e-6, self._loop.time() + self.line.delay_s + jitter_s)
        self._loop.call_at(self._free_at_s, action)

    def _arrive(self, piece: bytes) -> None:
        if self.line.is_silent or self.peer.is_lost:
            return
        self._under_way -= len(piece)
        if self._paused and self._under_way <= _HIGH_WATER // 4 and not self.is_lost:
            self._paused = False
            self._context.run(self._protocol.resume_writing)
        self.peer.take(piece)

    def take(self, piece: bytes | None) -> None:
        """From the line; None is the end."""
        self._inbox.append(piece)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._inbox and self._reading and not self.is_lost:
            piece = self._inbox.popleft()
            if piece is None:
                self._end_of_stream()
            else:
                self._context.run(self._protocol.data_received, piece)

    def _end_of_stream(self) -> None:
        self._context.run(self._protocol.eof_received)
        self.lose(None)

    def close(self) -> None:
        if self._closing or self.is_lost:
            return
        self._closing = True
        if not self.line.is_silent:
            self._later(lambda: self.peer.take(None))
        self._call_soon(lambda: self.lose(None))

    def abort(self) -> None:
        self._closing = True
        if not self.line.is_silent:
            self._later(
                lambda: self.peer.lose(ConnectionResetError(errno.ECONNRESET, "connection reset by peer"))
            )
        self._call_soon(lambda: self.lose(None))

    def lose(self, error: Exception | None) -> None:
        """The connection is over for this end."""
        if self.is_lost:
            return
        self.is_lost = True
        self._inbox.clear()
        self._context.run(self._loop.call_soon, self._protocol.connection_lost, error)
        self.line.forget()

    def _call_soon(self, action: Callable[[], None]) -> None:
        self._context.run(self._loop.call_soon, action)
