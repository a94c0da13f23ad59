"""Senders that wait to be told: do they learn of a refusal first, and does every byte still arrive?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collector.http.receive import BufferPool
from protocol.digest import Digest
from tests.support.lossy_files import LossyFiles
from tests.support.tus_server import PART, TUS, TusServer, tus_server

BIG = random.Random(8).randbytes(5_000_001)
DIGEST = Digest.of(BIG)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging") as server:
        yield server


class Sender:
    """One connection, one PATCH, spoken by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def offer(self, path: str, offset: int, size: int) -> None:
        fields: Mapping[str, str] = (
            TUS
            | PART
            | {
                "Host": "collector",
                "Upload-Offset": str(offset),
                "Content-Length": str(size),
                "Expect": "100-continue",
            }
        )
        lines = [f"PATCH {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode())

    async def answer(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        async with asyncio.timeout(20):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers

    async def ended(self) -> bool:
        """Whether the other side hangs up."""
        async with asyncio.timeout(20):
            await self._reader.read()
        return self._reader.at_eof()


@asynccontextmanager
async def sender(server: TusServer) -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("size", [1, 999_999, len(BIG)])
async def test_who_waits_is_told_to_begin_and_every_byte_arrives(server: TusServer, size: int) -> None:
    path = await server.create(size)
    async with sender(server) as line:
        await line.offer(path, 0, size)
        assert (await line.answer())[0] == 100
        line.writer.write(BIG[:size])
        status, headers = await line.answer()
    assert (status, headers["upload-offset"]) == (204, str(size))
    assert [upload.actual for upload in server.hooks.completed] == [Digest.of(BIG[:size])]


async def test_a_refused_body_is_never_sent(server: TusServer) -> None:
    path = await server.create(len(BIG))
    async with sender(server) as line:
        await line.offer(path, 7, len(BIG) - 7)
        status, _ = await line.answer()
        assert status == 409
        assert await line.ended()
    assert (await server.head(path)).offset == 0


async def test_what_had_arrived_of_a_cut_body_is_kept(server: TusServer) -> None:
    path = await server.create(len(BIG))
    async with sender(server) as line:
        await line.offer(path, 0, len(BIG))
        assert (await line.answer())[0] == 100
        line.writer.write(BIG[:3_000_000])
        await line.writer.drain()
        line.writer.close()
        await line.writer.wait_closed()
    offset = (await server.head(path)).offset
    assert 0 < offset <= 3_000_000
    assert (await server.patch(path, offset, BIG[offset:])).status == 204
    assert [upload.actual for upload in server.hooks.completed] == [DIGEST]


async def test_a_newer_request_ends_one_whose_sender_has_fallen_silent(server: TusServer) -> None:
    path = await server.create(len(BIG))
    async with sender(server) as silent:
        await silent.offer(path, 0, len(BIG))
        assert (await silent.answer())[0] == 100
        silent.writer.write(BIG[:2_000_000])
        await silent.writer.drain()
        offset = (await server.head(path)).offset
        assert (await silent.answer())[0] == 409
        assert (await server.patch(path, offset, BIG[offset:])).status == 204
    assert [upload.actual for upload in server.hooks.completed] == [DIGEST]


async def test_one_sender_leaves_room_for_others() -> None:
    pool = BufferPool(max_bodies=4, max_bodies_of_one=2)
    async with pool.pair("greedy"), pool.pair("greedy"):
        third = asyncio.create_task(_hold(pool, "greedy"))
        async with pool.pair("modest"), pool.pair("modest"):
            fifth = asyncio.create_task(_hold(pool, "third"))
            done, _ = await asyncio.wait({third, fifth}, timeout=0)
            assert not done
        await fifth
        assert not third.done()
    await third


async def _hold(pool: BufferPool, owner: str) -> None:
    async with pool.pair(owner):
        return


async def test_an_upload_for_which_there_is_no_room_is_refused_before_it_begins(tmp_path: Path) -> None:
    files = LossyFiles()
    files.make_folder(tmp_path / "staging")
    files.total_bytes = 2_000_000
    async with tus_server(tmp_path / "staging", files=files) as server:
        headers = {"Upload_Length": "5000001"}
        answer = await server.ask("POST", "/api/v1/uploads", **headers)
        assert (answer.status, answer.code, answer.problem["retryable"]) == (507, "storage-full", True)
        assert server.staging.all() == []
        assert (await server.create(1000)).startswith("/api/v1/uploads/")
