"""Where the bytes of a request body come from, filled into buffers of ours.

Two ways. ``StreamBody`` asks aiohttp's stream; ``DirectBody`` takes the connection over, so that TLS decrypts straight
into the buffer: a quarter less CPU time a gigabyte (measured), and none of it per chunk. It is for senders of large
bodies that wait for ``100 Continue``: until they are told to begin, nothing of the body can be anywhere else. Such
senders also learn of a refusal before they send anything.

A body never raises: what cut it short is kept in ``cut``.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiohttp import StreamReader, hdrs, web

DIRECT_FROM_BYTES: Final = 1 << 20
"""A smaller body is not worth a connection, which cannot be used again afterwards."""

IDLE_TIMEOUT_S: Final = 60.0
"""A body silent for so long counts as cut: a dead connection must not keep its buffers."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body(Protocol):
    """A request body that has not been read yet."""

    @property
    def cut(self) -> Exception | None:
        """What ended it early; None while it has not ended and after its proper end."""

    def begin(self) -> None:
        """Tells a sender that waits for it to send. Once, before the first ``fill``."""

    async def fill(self, buffer: memoryview) -> int:
        """Bytes put into ``buffer``; fewer than it holds only at the end."""

    def end(self, reason: Exception) -> None:
        """Ends it now, wherever it is."""

    def close(self) -> bool:
        """Nothing more is wanted of it, before the answer goes out. Whether the connection can serve another request:
        not after bytes aiohttp has not seen, nor where a sender may still begin."""


def body_of(request: web.Request) -> Body:
    """The body of a request, by the best way it offers."""
    waits = request.headers.get(hdrs.EXPECT) is not None and request.content.total_bytes == 0
    size = request.content_length
    if waits and size is not None and size >= DIRECT_FROM_BYTES:
        return DirectBody(request, size)
    return StreamBody(request.content, request if waits else None)


async def expect_later(request: web.Request) -> None:
    """In place of aiohttp's answer to ``Expect``: the body is asked for once it is known to be wanted. Raises
    HTTPExpectationFailed."""
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        raise web.HTTPExpectationFailed


class StreamBody:
    """The body as aiohttp hands it over, in chunks that are copied. ``waiting``: the request whose sender waits to be
    told."""

    def __init__(self, source: StreamReader, waiting: web.Request | None = None) -> None:
        self.cut: Exception | None = None
        self._source = source
        self._waiting = waiting
        self._rest = memoryview(b"")
        self._ended = False

    def begin(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.transport is not None:
            waiting.transport.write(_CONTINUE)

    async def fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                self._rest = memoryview(await self._next())
                if not self._rest:
                    break
            size = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + size] = self._rest[:size]
            self._rest = self._rest[size:]
            filled += size
        return filled

    def end(self, reason: Exception) -> None:
        self._source.set_exception(reason)

    def close(self) -> bool:
        if self._waiting is None:
            return True
        self._source.feed_eof()  # or aiohttp would wait for what nobody will send
        return False

    async def _next(self) -> bytes:
        if self._ended:
            return b""
        chunk = await self._read()
        self._ended = not chunk
        return chunk

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                return await self._source.readany()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # A stopping server puts this exception into the body: not we are cancelled, the body is.
            self.cut = ConnectionAbortedError("the server stopped reading")
        except Exception as error:
            self.cut = error
        return b""


class DirectBody(asyncio.BufferedProtocol):
    """The connection's own protocol while the body lasts. Reading rests whenever there is no buffer to fill, which
    is what makes the sender wait. The connection can only be closed afterwards: aiohttp's parser has not seen the
    body and would take what follows for it."""

    def __init__(self, request: web.Request, size_bytes: int) -> None:
        self.cut: Exception | None = None
        self._request = request
        self._left_bytes = size_bytes
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(b"")
        self._filled = 0
        self._changed = asyncio.Event()

    def begin(self) -> None:
        transport = self._request.transport
        if transport is None:
            self.end(ConnectionResetError("the sender is gone"))
            return
        self._transport = transport
        transport.pause_reading()
        transport.set_protocol(self)
        transport.write(_CONTINUE)

    async def fill(self, buffer: memoryview) -> int:
        self._buffer, self._filled = buffer[: self._left_bytes], 0
        if self._transport is None or self.cut or not self._buffer:
            return 0
        self._transport.resume_reading()
        while not self._has_filled:
            await self._wait()
        self._buffer = memoryview(b"")
        return self._filled

    def end(self, reason: Exception) -> None:
        if self.cut is None and self._left_bytes:
            self.cut = reason
            self._rest_reading()
            self._changed.set()

    @property
    def _has_filled(self) -> bool:
        return self._filled == len(self._buffer) or self.cut is not None

    async def _wait(self) -> None:
        """Until something has changed; a sender silent for too long is cut off."""
        self._changed.clear()
        before = self._filled
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                while not self._has_filled:
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError as error:
            if self._filled == before:
                self.end(error)

    def _rest_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def close(self) -> bool:
        self.end(ConnectionAbortedError("the body is not wanted"))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.set_protocol(self._request.protocol)
        self._request.content.feed_eof()  # or aiohttp would wait for what it will not see
        return False

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self._left_bytes -= nbytes
        if self._filled == len(self._buffer):
            self._rest_reading()
            self._changed.set()

    def eof_received(self) -> bool:
        self.end(ConnectionResetError("the sender ended early"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(exc or ConnectionResetError("the connection was lost"))
        self._request.protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._request.protocol.pause_writing()

    def resume_writing(self) -> None:
        self._request.protocol.resume_writing()
