"""Our tus server and senders that break off, hang, race each other or are still sending when it stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collector.files import BLOCK_BYTES
from protocol.upload import format_repr_digest
from tests.support.tus_sender import DATA, DIGEST, RawPatch
from tests.support.tus_server import ObservedFiles, TusServer, tus_server


@pytest.fixture
async def disk() -> ObservedFiles:
    return ObservedFiles(asyncio.get_running_loop())


@pytest.fixture
async def server(tmp_path: Path, disk: ObservedFiles) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging", files=disk) as running:
        yield running


async def test_a_connection_cut_in_a_part_loses_nothing_that_was_written(
    server: TusServer, disk: ObservedFiles
) -> None:
    path = await server.create(len(DATA))
    patch = await RawPatch.begin(server, path, offset=0, length=len(DATA))
    await patch.send(DATA[: 2 * BLOCK_BYTES])
    await disk.written(2 * BLOCK_BYTES)
    patch.cut()
    offset = (await server.head(path)).offset
    assert offset == 2 * BLOCK_BYTES
    assert (await server.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
        DIGEST
    )


async def test_many_cuts_anywhere_still_end_in_the_right_bytes(server: TusServer) -> None:
    path, rng, offset = await server.create(len(DATA)), random.Random(5), 0
    for _ in range(12):
        patch = await RawPatch.begin(server, path, offset=offset, length=len(DATA) - offset)
        await patch.send(DATA[offset : offset + rng.randrange(400_000)])
        patch.cut()
        held = (await server.head(path)).offset
        assert offset <= held <= len(DATA)
        offset = held
    assert (await server.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
        DIGEST
    )


async def test_asking_for_the_offset_ends_a_request_that_hangs_and_keeps_its_bytes(
    server: TusServer, disk: ObservedFiles, caplog: pytest.LogCaptureFixture
) -> None:
    path = await server.create(len(DATA))
    hanging = await RawPatch.begin(server, path, offset=0, length=len(DATA))
    await hanging.send(DATA[: BLOCK_BYTES + 5])
    await disk.written(BLOCK_BYTES)
    offset = (await server.head(path)).offset
    assert offset >= BLOCK_BYTES
    answer = await hanging.answer()
    assert answer.startswith(b"HTTP/1.1 409")
    assert b"upload-superseded" in answer
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert (await server.patch(path, offset, DATA[offset:])).status == 204
    assert server.hooks.completed[0].actual == DIGEST


async def test_two_parts_racing_for_one_offset_give_one_of_them_the_upload(server: TusServer) -> None:
    for _ in range(5):
        path = await server.create(len(DATA))
        answers = await asyncio.gather(
            *(server.patch(path, 0, DATA) for _ in range(4)), return_exceptions=True
        )
        statuses = [answer.status for answer in answers if not isinstance(answer, BaseException)]
        assert statuses.count(204) <= 1
        assert set(statuses) <= {204, 409, 413}
        offset = (await server.head(path)).offset
        assert (await server.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
            DIGEST
        )


async def test_stopping_the_server_in_a_part_keeps_what_arrived(tmp_path: Path, disk: ObservedFiles) -> None:
    async with tus_server(tmp_path, files=disk) as first:
        path = await first.create(len(DATA))
        patch = await RawPatch.begin(first, path, offset=0, length=len(DATA))
        await patch.send(DATA[:BLOCK_BYTES])
        await disk.written(BLOCK_BYTES)
    await patch.answer()
    async with tus_server(tmp_path) as second:
        offset = (await second.head(path)).offset
        assert offset == BLOCK_BYTES
        assert (await second.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
            DIGEST
        )
