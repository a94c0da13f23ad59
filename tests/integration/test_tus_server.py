"""Our tus server asked by well-behaved senders, over real sockets and onto a real disk."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collector.files import BLOCK_BYTES
from protocol.digest import Digest
from protocol.upload import MAX_UPLOAD_BYTES, format_repr_digest
from tests.support.tus_sender import DATA, DIGEST, UPLOADS, metadata
from tests.support.tus_server import Hooks, ObservedFiles, TusServer, tus_server


@pytest.fixture
async def disk() -> ObservedFiles:
    return ObservedFiles(asyncio.get_running_loop())


@pytest.fixture
async def server(tmp_path: Path, disk: ObservedFiles) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging", files=disk) as running:
        yield running


async def test_the_server_says_what_it_can_do(server: TusServer) -> None:
    for path in (UPLOADS, await server.create()):
        answer = await server.ask("OPTIONS", path)
        assert answer.status == 204
        assert answer.headers["Tus-Version"] == "1.0.0"
        assert answer.headers["Tus-Max-Size"] == str(MAX_UPLOAD_BYTES)
        assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
        assert set(answer.headers["Tus-Extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "checksum",
            "expiration",
            "termination",
        }


async def test_an_upload_arrives_and_its_digest_is_told(server: TusServer) -> None:
    path = await server.create(
        len(DATA), Upload_Metadata=metadata(agency="hz", purpose="original", digest=str(DIGEST))
    )
    answer = await server.patch(path, 0, DATA)
    assert answer.status == 204
    assert answer.offset == len(DATA)
    assert answer.headers["Repr-Digest"] == format_repr_digest(DIGEST)
    [upload] = server.hooks.completed
    assert (upload.actual, upload.agency, upload.purpose, upload.owner) == (
        DIGEST,
        "hz",
        "original",
        "station-1",
    )
    head = await server.head(path)
    assert (head.status, head.offset, head.headers["Upload-Length"]) == (200, len(DATA), str(len(DATA)))
    assert head.headers["Repr-Digest"] == format_repr_digest(DIGEST)
    assert head.headers["Cache-Control"] == "no-store"
    assert head.headers["Tus-Resumable"] == "1.0.0"


async def test_parts_of_any_size_add_up(server: TusServer) -> None:
    path, rng, offset = await server.create(len(DATA)), random.Random(3), 0
    while offset < len(DATA):
        size = rng.choice([1, 4095, 4096, 100_000, BLOCK_BYTES, BLOCK_BYTES + 1])
        answer = await server.patch(path, offset, DATA[offset : offset + size])
        offset = min(offset + size, len(DATA))
        assert (answer.status, answer.offset) == (204, offset)
    assert server.hooks.completed[0].actual == DIGEST


async def test_metadata_comes_back_as_it_was_sent(server: TusServer) -> None:
    text = metadata(filename="a b.mp4") + ",note,agency aHo="
    path = await server.create(Upload_Metadata=text)
    assert (await server.head(path)).headers["Upload-Metadata"] == text


async def test_the_first_bytes_may_come_with_the_creation(server: TusServer) -> None:
    headers = {"Upload_Length": "10", "Content_Type": "application/offset+octet-stream"}
    answer = await server.ask("POST", UPLOADS, b"01234", **headers)
    assert (answer.status, answer.offset) == (201, 5)
    last = await server.patch(answer.headers["Location"], 5, b"56789")
    assert last.headers["Repr-Digest"] == format_repr_digest(Digest.of(b"0123456789"))


async def test_an_empty_file_is_complete_when_created(server: TusServer) -> None:
    path = await server.create(0)
    assert (await server.head(path)).headers["Repr-Digest"] == format_repr_digest(Digest.of(b""))
    assert [upload.actual for upload in server.hooks.completed] == [Digest.of(b"")]


async def test_a_deferred_length_comes_later_and_then_stays(server: TusServer) -> None:
    path = await server.create(None)
    await server.patch(path, 0, b"012")
    head = await server.head(path)
    assert head.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head.headers
    assert (await server.patch(path, 3, b"34", Upload_Length="2")).status == 400
    assert (await server.patch(path, 3, b"34", Upload_Length="6")).offset == 5
    assert (await server.patch(path, 5, b"5", Upload_Length="7")).status == 400
    assert (await server.patch(path, 5, b"5")).headers["Repr-Digest"] == format_repr_digest(
        Digest.of(b"012345")
    )


async def test_a_deferred_length_may_turn_out_to_be_what_is_there_already(server: TusServer) -> None:
    path = await server.create(None)
    await server.patch(path, 0, b"012")
    answer = await server.patch(path, 3, b"", Upload_Length="3")
    assert answer.headers["Repr-Digest"] == format_repr_digest(Digest.of(b"012"))
    assert len(server.hooks.completed) == 1


async def test_uploads_of_others_do_not_exist(server: TusServer) -> None:
    path = await server.create()
    assert (await server.head(path, X_Sender="station-2")).status == 404
    answer = await server.patch(path, 0, b"0", X_Sender="station-2")
    assert (answer.status, answer.code) == (404, "upload-not-found")
    assert (await server.ask("DELETE", path, X_Sender="station-2")).status == 404
    assert (await server.head(path)).offset == 0


@pytest.mark.parametrize("name", ["0" * 32, "x", "..%2F..%2Fetc%2Fpasswd", "%00", "a" * 5000])
async def test_ids_that_are_none_are_not_found(server: TusServer, name: str) -> None:
    for method in ("HEAD", "PATCH", "DELETE"):
        assert (await server.ask(method, f"{UPLOADS}/{name}")).status == 404


async def test_a_deleted_upload_is_gone_and_its_bytes_too(server: TusServer, tmp_path: Path) -> None:
    path = await server.create()
    await server.patch(path, 0, b"01234")
    assert (await server.ask("DELETE", path)).status == 204
    assert (await server.head(path)).status == 404
    assert list((tmp_path / "staging").iterdir()) == []


async def test_a_stored_upload_is_neither_deleted_nor_extended_and_still_tells_its_digest(
    server: TusServer,
) -> None:
    path = await server.create()
    await server.patch(path, 0, b"0123456789")
    upload_id = path.rsplit("/", 1)[1]
    server.hooks.stored.add(upload_id)
    for _ in range(2):
        deletion = await server.ask("DELETE", path)
        assert (deletion.status, deletion.code) == (403, "upload-stored")
        assert (await server.patch(path, 10, b"")).status == 403
        assert (await server.head(path)).headers["Repr-Digest"] == format_repr_digest(
            Digest.of(b"0123456789")
        )
        await server.service.settle(upload_id)
        server.hooks.stored.clear()


async def test_the_method_can_be_overridden(server: TusServer) -> None:
    path = await server.create()
    part = {"Content_Type": "application/offset+octet-stream", "Upload_Offset": "0"}
    answer = await server.ask("POST", path, b"01234", X_HTTP_Method_Override="PATCH", **part)
    assert (answer.status, answer.offset) == (204, 5)
    assert (await server.ask("POST", path, X_HTTP_Method_Override="HEAD")).offset == 5
    assert (await server.ask("PATCH", path, X_HTTP_Method_Override="DELETE")).status == 204
    refused = await server.ask("GET", path)
    assert (refused.status, refused.headers["Allow"]) == (405, "OPTIONS, HEAD, PATCH, DELETE")


async def test_a_bug_is_answered_without_its_inside(
    server: TusServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.hooks.failure = ValueError("secret /srv/zhilu/key.pem")
    path = await server.create()
    answer = await server.patch(path, 0, b"0123456789")
    assert (answer.status, answer.code) == (500, "internal-error")
    assert "secret" not in json.dumps(dict(answer.problem))
    [record] = [record for record in caplog.records if record.message == "internal-error"]
    assert record.__dict__["incident"] == answer.problem["incident"]


async def test_unknown_paths_are_problems_too(server: TusServer) -> None:
    answer = await server.ask("GET", "/api/v1/nothing")
    assert (answer.status, answer.code) == (404, "not-found")


async def test_hooks_are_told_once_per_completion(tmp_path: Path) -> None:
    hooks = Hooks()
    async with tus_server(tmp_path, hooks=hooks) as server:
        for _ in range(3):
            await server.patch(await server.create(3), 0, b"abc")
        hooks.stored = {upload.upload_id for upload in hooks.completed}
        await server.service.offer_completed()
    assert len(hooks.completed) == 3
