"""Our tus server and senders whose checksums, digests, lengths and headers do not hold."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.digest import Digest
from protocol.upload import MAX_UPLOAD_BYTES, format_repr_digest
from tests.support.tus_sender import DATA, DIGEST, UPLOADS, checksum, metadata
from tests.support.tus_server import ObservedFiles, TusServer, tus_server


@pytest.fixture
async def disk() -> ObservedFiles:
    return ObservedFiles(asyncio.get_running_loop())


@pytest.fixture
async def server(tmp_path: Path, disk: ObservedFiles) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging", files=disk) as running:
        yield running


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_checksum_that_holds_is_accepted_at_any_offset(server: TusServer, algorithm: str) -> None:
    path = await server.create(len(DATA))
    for start, end in ((0, 5000), (5000, len(DATA))):
        part = DATA[start:end]
        answer = await server.patch(path, start, part, Upload_Checksum=checksum(algorithm, part))
        assert answer.status == 204
    assert server.hooks.completed[0].actual == DIGEST


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("start", [0, 5000])
async def test_a_checksum_that_does_not_hold_leaves_the_upload_as_it_was(
    server: TusServer, algorithm: str, start: int
) -> None:
    path = await server.create(len(DATA))
    await server.patch(path, 0, DATA[:start])
    wrong = await server.patch(
        path, start, DATA[start:-1] + b"!", Upload_Checksum=checksum(algorithm, DATA[start:])
    )
    assert (wrong.status, wrong.code, wrong.problem["retryable"]) == (460, "upload-checksum-mismatch", True)
    assert (await server.head(path)).offset == start
    right = await server.patch(path, start, DATA[start:], Upload_Checksum=checksum(algorithm, DATA[start:]))
    assert right.headers["Repr-Digest"] == format_repr_digest(DIGEST)


@pytest.mark.parametrize(
    "value", ["md5 CY9rzUYh03PK3k6DJie09g==", "sha1", "sha1 !!!!", "sha1 AAAA", "SHA1 " + "A" * 27 + "="]
)
async def test_a_checksum_we_cannot_check_is_refused_untouched(server: TusServer, value: str) -> None:
    path = await server.create()
    assert (await server.patch(path, 0, b"01234", Upload_Checksum=value)).status == 400
    assert (await server.head(path)).offset == 0


async def test_a_wrong_checksum_with_the_creation_leaves_no_upload(server: TusServer) -> None:
    headers = {"Upload_Length": "10", "Content_Type": "application/offset+octet-stream"}
    answer = await server.ask("POST", UPLOADS, b"01234", Upload_Checksum=checksum("sha1", b"x"), **headers)
    assert answer.status == 460
    assert server.staging.all() == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, "upload-header-invalid"),
        ({"Upload_Length": "-1"}, 400, "upload-header-invalid"),
        ({"Upload_Length": "1e3"}, 400, "upload-header-invalid"),
        ({"Upload_Length": "٣"}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "Upload_Defer_Length": "1"}, 400, "upload-header-invalid"),
        ({"Upload_Defer_Length": "2"}, 400, "upload-header-invalid"),
        ({"Upload_Length": str(MAX_UPLOAD_BYTES + 1)}, 413, "upload-too-large"),
        ({"Upload_Length": "5", "Upload_Metadata": "agency !"}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "Upload_Metadata": "agency aHo=,agency aHo="}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "Upload_Metadata": metadata(purpose="loot")}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "Upload_Metadata": metadata(digest="md5:00")}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "Upload_Metadata": metadata(agency="nb")}, 403, "agency-not-allowed"),
        ({"Upload_Length": "5", "Upload_Metadata": metadata(agency="../..")}, 403, "agency-not-allowed"),
        ({"Upload_Length": "5", "X_Sender": "two"}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "X_Sender": "stranger"}, 401, "not-authenticated"),
        ({"Upload_Length": "5", "Upload_Concat": "partial"}, 400, "upload-header-invalid"),
        ({"Upload_Length": "5", "Tus_Resumable": "0.2.2"}, 412, "tus-version-unsupported"),
    ],
)
async def test_a_creation_that_lies_is_refused_and_leaves_nothing(
    server: TusServer, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await server.ask("POST", UPLOADS, **headers)
    assert (answer.status, answer.problem["status"], answer.code) == (status, status, code)
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert server.staging.all() == []


async def test_a_version_we_do_not_speak_is_told_the_one_we_do(server: TusServer) -> None:
    answer = await server.ask("POST", UPLOADS, Upload_Length="5", Tus_Resumable="2.0.0")
    assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload_Offset": "2"}, 409, "upload-offset-conflict"),
        ({"Upload_Offset": "4"}, 409, "upload-offset-conflict"),
        ({"Upload_Offset": "x"}, 400, "upload-header-invalid"),
        ({"Upload_Offset": "03"}, 400, "upload-header-invalid"),
        ({"Content_Type": "application/octet-stream"}, 415, "upload-content-type"),
        ({"Content_Type": "text/plain"}, 415, "upload-content-type"),
        ({"Content_Encoding": "gzip"}, 415, "upload-content-type"),
    ],
)
async def test_a_part_that_lies_is_refused_and_changes_nothing(
    server: TusServer, headers: dict[str, str], status: int, code: str
) -> None:
    path = await server.create(10)
    await server.patch(path, 0, b"012")
    body = gzip.compress(b"3456") if "Content_Encoding" in headers else b"3456"
    answer = await server.patch(path, 3, body, **headers)
    assert (answer.status, answer.code) == (status, code)
    assert (await server.head(path)).offset == 3


async def test_more_bytes_than_announced_are_refused_and_none_of_them_kept(server: TusServer) -> None:
    path = await server.create(10)
    answer = await server.patch(path, 0, b"0123456789x")
    assert (answer.status, answer.code) == (413, "upload-too-large")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"01234"
        yield b"56789"
        yield b"x"

    headers = {
        "Tus-Resumable": "1.0.0",
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": "0",
    }
    async with server.session.patch(server.url + path, data=chunks(), headers=headers) as response:
        assert response.status == 413
    assert (await server.head(path)).offset == 0
    await server.patch(path, 0, b"0123456789")
    assert (await server.patch(path, 10, b"x")).status == 413
    assert (await server.patch(path, 10, b"")).status == 204


async def test_a_declared_digest_that_does_not_hold_ends_the_upload(server: TusServer) -> None:
    path = await server.create(10, Upload_Metadata=metadata(digest=str(Digest.of(b"something else"))))
    answer = await server.patch(path, 0, b"0123456789")
    assert (answer.status, answer.code) == (460, "upload-digest-mismatch")
    assert answer.problem["actual"] == str(Digest.of(b"0123456789"))
    assert (await server.head(path)).status == 404
    assert server.hooks.completed == []


async def test_a_sender_cannot_open_uploads_without_end(
    server: TusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.http.uploads.MAX_OPEN_UPLOADS", 2)
    paths = [await server.create() for _ in range(2)]
    refused = await server.ask("POST", UPLOADS, Upload_Length="5")
    assert (refused.status, refused.code) == (429, "upload-too-many")
    assert await server.create(X_Sender="station-2")
    await server.ask("DELETE", paths[0])
    assert await server.create()


async def test_base64_of_metadata_is_strict(server: TusServer) -> None:
    sloppy = base64.b64encode(b"hz").decode().rstrip("=")
    assert (
        await server.ask("POST", UPLOADS, Upload_Length="5", Upload_Metadata=f"agency {sloppy}")
    ).status == 400
