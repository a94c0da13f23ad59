"""Listening for strangers: what anybody who reaches the port can make the collector hold is bounded.

A connection that asks nothing is closed, whether it never asked or stopped asking; a small body must arrive soon
(uploads watch over theirs themselves); above ``MAX_CONNECTIONS`` those quiet for longest go first. Compressed
bodies are not unpacked.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from protocol.upload import UPLOADS_PATH

MAX_CONNECTIONS: Final = 4096
"""A station uses at most 16: two hundred stations, and those who watch. Each costs about 100 KiB."""

QUIET_S: Final = 75.0
"""A connection without a request for so long is closed, as nginx does; senders open another."""

HANDSHAKE_S: Final = 10.0
"""From the connection to the end of the TLS handshake."""

BODY_S: Final = 30.0
"""For a whole body of at most ``MAX_MESSAGE_BYTES``: 9 KB/s."""

_LOOK_EVERY_S: Final = 1.0
_SHUTDOWN_S: Final = 5.0
_ONE_MINUTE_S: Final = 60.0
_FILES: Final = 16_384
"""Open files asked of the system: connections, staged uploads, the databases, and room."""

logger = logging.getLogger(__name__)


class Connections:
    """Which connections are quiet, and since when. ``middleware`` tells it of requests, ``reap`` looks."""

    def __init__(self, *, quiet_s: float = QUIET_S, most: int = MAX_CONNECTIONS) -> None:
        self._quiet_s = quiet_s
        self._most = most
        self._busy: set[RequestHandler] = set()
        self._quiet_since: dict[RequestHandler, float] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Notes the request while it is answered."""
        connection: RequestHandler = request.protocol
        self._busy.add(connection)
        try:
            return await handler(request)
        finally:
            self._busy.discard(connection)
            self._quiet_since[connection] = asyncio.get_running_loop().time()

    def reap(self, connections: Iterable[RequestHandler], now_s: float) -> int:
        """Close what was quiet for too long, and the quietest of too many; returns how many."""
        present = list(connections)
        self._quiet_since = {one: self._quiet_since.get(one, now_s) for one in present}
        quiet = sorted(
            (one for one in present if one not in self._busy), key=lambda one: self._quiet_since[one]
        )
        excess = max(0, len(present) - self._most)
        ended = [
            one
            for place, one in enumerate(quiet)
            if place < excess or now_s - self._quiet_since[one] >= self._quiet_s
        ]
        for one in ended:
            _hang_up(one)
        return len(ended)


def _hang_up(connection: RequestHandler) -> None:
    """At once: TLS would wait half a minute for the farewell of somebody who says nothing."""
    transport = connection.transport
    connection.force_close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


@web.middleware
async def prompt_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Small bodies are read here, in bounded time. Raises HTTPRequestTimeout, HTTPRequestEntityTooLarge."""
    if request.can_read_body and not request.path.startswith(UPLOADS_PATH):
        try:
            async with asyncio.timeout(BODY_S):
                await request.read()
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error
    return await handler(request)


@asynccontextmanager
async def listening(
    app: web.Application, connections: Connections, *, host: str, port: int, context: ssl.SSLContext
) -> AsyncIterator[None]:
    """Serves ``app`` over TLS while the body runs. Raises OSError when the address cannot be had."""
    loop = asyncio.get_running_loop()
    _raise_file_limit()
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a traceback for every malformed request
    logging.getLogger("asyncio").addFilter(_once_a_minute)
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S, auto_decompress=False
    )
    await runner.setup()
    try:
        assert runner.server is not None
        server = await loop.create_server(
            runner.server, host, port, ssl=context, ssl_handshake_timeout=HANDSHAKE_S, reuse_address=True
        )
        reaper = asyncio.create_task(_keep_reaping(connections, runner.server), name="connection-reaper")
        try:
            yield
        finally:
            server.close()
            reaper.cancel()
            with suppress(asyncio.CancelledError):
                await reaper
    finally:
        await runner.cleanup()


async def _keep_reaping(connections: Connections, server: web.Server) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if ended := connections.reap(server.connections, loop.time()):
            logger.info("connections.ended count=%d open=%d", ended, len(server.connections))


class _OnceAMinute(logging.Filter):
    """asyncio reports thousands of times a second that no file is left for a connection: 4 MB of log each second."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if "out of system resource" not in record.getMessage():
            return True
        if record.created - self._last_s < _ONE_MINUTE_S:
            return False
        self._last_s = record.created
        return True


_once_a_minute: Final = _OnceAMinute()


def _raise_file_limit() -> None:
    """Most systems give a service 1024 open files: fewer than the connections we mean to bear."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
