"""Strangers who connect and say nothing, or say it slowly: what they hold is given back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from collector.ca_files import TrustFolder
from collector.http import listening as module
from collector.http.listening import Connections, listening, prompt_bodies
from collector.http.problems import problems_middleware
from tests.support.processes import free_port

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Door:
    """A server behind ``listening`` with one route that waits to be let go and one that reads a body."""

    def __init__(self, folder: Path, connections: Connections) -> None:
        self.trust = TrustFolder(path=folder)
        self.trust.prepare(["127.0.0.1"], datetime.now(UTC))
        self.connections = connections
        self.port = free_port()
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()

    async def _body(self, _request: web.Request) -> web.Response:
        return web.Response(text="read")

    async def _slow(self, _request: web.Request) -> web.Response:
        self.entered.set()
        await self.let_go.wait()
        return web.Response(text="done")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        app = web.Application(middlewares=[self.connections.middleware, problems_middleware, prompt_bodies])
        app.router.add_get("/slow", self._slow)
        app.router.add_post("/body", self._body)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.trust.server_certificate, self.trust.server_key)
        async with listening(app, self.connections, host="127.0.0.1", port=self.port, context=context):
            yield

    async def connect(self) -> Line:
        context = ssl.create_default_context(cafile=str(self.trust.ca_certificate))
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context)


async def _until_closed(line: Line) -> bytes:
    async with asyncio.timeout(30):
        try:
            return await line[0].read()
        except OSError:
            return b""
        finally:
            line[1].transport.abort()


async def test_a_connection_that_asks_nothing_is_closed_and_one_that_waits_for_its_answer_is_not(
    tmp_path: Path,
) -> None:
    door = Door(tmp_path, Connections(quiet_s=0.5))
    async with door.open():
        waiting, silent, slow_head = [await door.connect() for _ in range(3)]
        waiting[1].write(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        slow_head[1].write(b"GET /slow HTTP/1.1\r\nHos")
        await asyncio.wait_for(door.entered.wait(), 30)
        assert await _until_closed(silent) == b""
        assert b"HTTP" not in await _until_closed(slow_head)
        door.let_go.set()
        assert (await _until_closed(waiting)).endswith(b"done")


async def test_of_too_many_the_quietest_go_first(tmp_path: Path) -> None:
    door = Door(tmp_path, Connections(most=3))
    async with door.open():
        first = await door.connect()
        later = [await door.connect() for _ in range(4)]
        assert await _until_closed(first) == b""
        for _, writer in later:
            writer.transport.abort()


async def test_a_small_body_that_never_comes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_S", 0.2)
    door = Door(tmp_path, Connections())
    async with door.open():
        line = await door.connect()
        line[1].write(b"POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nab")
        assert b" 408 " in (await _until_closed(line)).split(b"\r\n")[0]
