"""Our tus server's staged uploads: expiry, restarts, full and failing disks, power cuts."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from collector.errors import StorageFullError
from collector.files import BLOCK_BYTES
from protocol.digest import Digest
from protocol.upload import format_repr_digest
from tests.support.lossy_files import Fault, LossyFiles
from tests.support.tus_sender import DATA, DIGEST, UPLOADS, checksum, metadata
from tests.support.tus_server import ObservedFiles, TusServer, tus_server


@pytest.fixture
async def disk() -> ObservedFiles:
    return ObservedFiles(asyncio.get_running_loop())


@pytest.fixture
async def server(tmp_path: Path, disk: ObservedFiles) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging", files=disk) as running:
        yield running


async def try_to_upload(server: TusServer) -> dict[str, int]:
    """Paths the server still answers for, with the offset it last told."""
    answer = await server.ask("POST", UPLOADS, Upload_Length="10")
    if answer.status != 201:
        return {}
    path = answer.headers["Location"]
    for part in (b"012", b"345"):
        head = await server.head(path)
        if head.status == 200:
            await server.patch(path, head.offset, b"0123456789"[head.offset : head.offset + len(part)])
    head = await server.head(path)
    return {path: head.offset} if head.status == 200 else {}


async def test_an_idle_upload_expires_and_adding_to_it_moves_the_time(server: TusServer) -> None:
    path = await server.create()
    server.move_clock(timedelta(days=6))
    assert (await server.patch(path, 0, b"0")).headers["Upload-Expires"] == "Fri, 13 Feb 2026 08:00:00 GMT"
    server.move_clock(timedelta(days=6))
    assert await server.service.expire(server.now) == 0
    server.move_clock(timedelta(days=1))
    assert (await server.head(path)).status == 410
    assert await server.service.expire(server.now) == 1
    assert (await server.head(path)).status == 404


async def test_a_moved_expiry_outlives_a_restart(tmp_path: Path) -> None:
    async with tus_server(tmp_path) as first:
        path = await first.create()
        first.move_clock(timedelta(days=6))
        await first.patch(path, 0, b"0")
        now = first.now
    async with tus_server(tmp_path) as second:
        second.now = now + timedelta(days=6)
        assert (await second.head(path)).offset == 1


async def test_a_restart_finds_every_upload_where_it_was(tmp_path: Path) -> None:
    half = len(DATA) // 2
    async with tus_server(tmp_path) as first:
        path = await first.create(len(DATA), Upload_Metadata=metadata(digest=str(DIGEST), filename="x"))
        deferred = await first.create(None)
        await first.patch(path, 0, DATA[:half])
    async with tus_server(tmp_path) as second:
        head = await second.head(path)
        assert (head.offset, head.headers["Upload-Length"]) == (half, str(len(DATA)))
        assert head.headers["Upload-Metadata"] == metadata(digest=str(DIGEST), filename="x")
        assert (await second.head(deferred)).headers["Upload-Defer-Length"] == "1"
        answer = await second.patch(path, half, DATA[half:], Upload_Checksum=checksum("sha1", DATA[half:]))
        assert answer.headers["Repr-Digest"] == format_repr_digest(DIGEST)


async def test_a_complete_upload_nobody_took_is_offered_again_after_a_restart(tmp_path: Path) -> None:
    async with tus_server(tmp_path) as first:
        first.hooks.failure = StorageFullError("the object store is full")
        path = await first.create(len(DATA))
        answer = await first.patch(path, 0, DATA)
        assert (answer.status, answer.code, answer.problem["retryable"]) == (507, "storage-full", True)
        assert (await first.head(path)).offset == len(DATA)
    async with tus_server(tmp_path) as second:
        await second.service.offer_completed()
        assert [upload.actual for upload in second.hooks.completed] == [DIGEST]
        assert (await second.head(path)).headers["Repr-Digest"] == format_repr_digest(DIGEST)


async def test_a_full_disk_is_said_so_and_the_upload_goes_on_when_there_is_room(tmp_path: Path) -> None:
    files = LossyFiles()
    async with tus_server(tmp_path, files=files) as server:
        path = await server.create(len(DATA))
        files.fault = Fault(at=len(files.calls) + 2, error=OSError(errno.ENOSPC, "full"))
        answer = await server.patch(path, 0, DATA)
        assert (answer.status, answer.code) == (507, "storage-full")
        assert files.calls[files.fault.at][0] == "write"
        offset = (await server.head(path)).offset
        assert offset == BLOCK_BYTES
        assert (await server.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
            DIGEST
        )


async def test_a_write_reported_failed_but_done_does_not_shift_the_bytes(tmp_path: Path) -> None:
    files = LossyFiles()
    async with tus_server(tmp_path, files=files) as server:
        path = await server.create(len(DATA))
        files.fault = Fault(at=len(files.calls) + 2, error=OSError(errno.EIO, "lied"), performed=True)
        assert (await server.patch(path, 0, DATA)).status == 503
        offset = (await server.head(path)).offset
        assert offset == BLOCK_BYTES
        assert (await server.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
            DIGEST
        )


async def test_a_failed_sync_gives_the_upload_up_instead_of_trusting_it(tmp_path: Path) -> None:
    files = LossyFiles()
    async with tus_server(tmp_path, files=files) as server:
        path = await server.create(10)
        files.fault = Fault(at=len(files.calls) + 2, error=OSError(errno.EIO, "disk"))
        assert (await server.patch(path, 0, b"0123456789")).status == 503
        assert files.calls[files.fault.at][0] == "sync"
        assert (await server.head(path)).status == 404
        assert server.hooks.completed == []


async def test_every_offset_ever_answered_survives_a_power_cut(tmp_path: Path) -> None:
    files = LossyFiles()
    async with tus_server(tmp_path, files=files) as first:
        path, offset = await first.create(len(DATA)), 0
        for size in (1, 70_000, BLOCK_BYTES):
            offset = (await first.patch(path, offset, DATA[offset : offset + size])).offset
    files.crash()
    async with tus_server(tmp_path, files=files) as second:
        assert (await second.head(path)).offset == offset
        assert (await second.patch(path, offset, DATA[offset:])).headers["Repr-Digest"] == format_repr_digest(
            DIGEST
        )


async def test_a_failure_at_any_disk_call_never_costs_an_answered_byte(tmp_path: Path) -> None:
    for performed in (False, True):
        for at in range(40):
            files = LossyFiles(fault=None)
            async with tus_server(tmp_path, files=files) as server:
                files.fault = Fault(
                    at=len(files.calls) + at, error=OSError(errno.EIO, "disk"), performed=performed
                )
                acknowledged = await try_to_upload(server)
            files.crash()
            async with tus_server(tmp_path, files=files) as server:
                for path, offset in acknowledged.items():
                    head = await server.head(path)
                    assert head.offset >= offset
                    rest = await server.patch(path, head.offset, b"0123456789"[head.offset :])
                    assert rest.headers["Repr-Digest"] == format_repr_digest(Digest.of(b"0123456789"))


async def test_half_made_uploads_are_cleared_away_and_senseless_ones_left_for_a_person(
    tmp_path: Path,
) -> None:
    async with tus_server(tmp_path) as first:
        path = await first.create()
    (tmp_path / "11111111111111111111111111111111.bytes").write_bytes(b"no info")
    (tmp_path / "22222222222222222222222222222222.new").write_bytes(b"{")
    (tmp_path / "33333333333333333333333333333333.json").write_bytes(b'{"version": 1}')
    (tmp_path / "33333333333333333333333333333333.bytes").write_bytes(b"whose?")
    (tmp_path / "not-an-id.json").write_bytes(b"[]")
    async with tus_server(tmp_path) as second:
        assert (await second.head(path)).offset == 0
        names = {entry.name for entry in tmp_path.iterdir()}
    upload_id = path.rsplit("/", 1)[1]
    assert names == {
        f"{upload_id}.json",
        f"{upload_id}.bytes",
        "33333333333333333333333333333333.json",
        "33333333333333333333333333333333.bytes",
        "not-an-id.json",
    }
