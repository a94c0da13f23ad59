"""Our tus server asked by well-behaved, unlucky and lying senders, over real sockets and onto a real disk."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import hashlib
import json
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from collector.errors import StorageFullError
from collector.files import BLOCK_BYTES
from protocol.digest import Digest
from protocol.upload import MAX_UPLOAD_BYTES, Checksum, format_metadata, format_repr_digest
from tests.support.lossy_files import Fault, LossyFiles
from tests.support.tus_server import Hooks, ObservedFiles, TusServer, tus_server

UPLOADS = "/api/v1/uploads"
DATA = random.Random(1).randbytes(3 * BLOCK_BYTES + 4321)
DIGEST = Digest.of(DATA)


@pytest.fixture
async def disk() -> ObservedFiles:
    return ObservedFiles(asyncio.get_running_loop())


@pytest.fixture
async def server(tmp_path: Path, disk: ObservedFiles) -> AsyncIterator[TusServer]:
    async with tus_server(tmp_path / "staging", files=disk) as running:
        yield running


def metadata(**fields: str) -> str:
    return format_metadata({key: value.encode() for key, value in fields.items()})


def checksum(algorithm: str, data: bytes) -> str:
    return str(Checksum(algorithm=algorithm, value=hashlib.new(algorithm, data).digest()))


class RawPatch:
    """A PATCH on a bare socket, so that a test decides how many of the promised bytes ever come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def begin(
        cls, server: TusServer, path: str, *, offset: int, length: int, extra: str = ""
    ) -> RawPatch:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Length: {length}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n{extra}\r\n".encode()
        )
        return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def cut(self) -> None:
        self.writer.transport.abort()

    async def answer(self) -> bytes:
        """Everything the server says until it hangs up."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()


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


async def test_hooks_are_told_once_per_completion(tmp_path: Path) -> None:
    hooks = Hooks()
    async with tus_server(tmp_path, hooks=hooks) as server:
        for _ in range(3):
            await server.patch(await server.create(3), 0, b"abc")
        hooks.stored = {upload.upload_id for upload in hooks.completed}
        await server.service.offer_completed()
    assert len(hooks.completed) == 3
