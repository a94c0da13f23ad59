"""Does the collector's client stay sane whatever answers at the other end?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from agent.uplink.answers import Timeouts
from agent.uplink.collector_http import CollectorClient
from agent.uplink.errors import CollectorAnswerError, CollectorAwayError, CollectorProblemError
from protocol.digest import Digest

STATEMENT = Digest.of(b"statement")


@asynccontextmanager
async def answering(raw: bytes, *, hang: bool = False) -> AsyncIterator[CollectorClient]:
    """A server that answers every request with exactly these bytes."""

    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
            if hang:
                await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    timeouts = Timeouts(connect_s=1, answer_s=0.2, stall_s=0.2)
    async with server, CollectorClient(f"http://127.0.0.1:{port}", timeouts=timeouts) as client:
        yield client
    await asyncio.gather(*serving)


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


PROBLEM = "Content-Type: application/problem+json"


async def test_problem_details_become_a_typed_error() -> None:
    body = b'{"code":"log-stalled","detail":"the disk is full","retryable":true}'
    async with answering(http("507 Insufficient Storage", body, PROBLEM, "Retry-After: 7")) as client:
        with pytest.raises(CollectorProblemError) as caught:
            await client.fetch_receipts([STATEMENT])
    error = caught.value
    assert (error.problem, error.can_retry, error.retry_after_s) == ("log-stalled", True, 7.0)


async def test_collector_that_knows_no_question_for_many_is_asked_for_one() -> None:
    body = b'{"code":"receipt-pending","detail":"not stored yet","retryable":true}'
    async with answering(http("404 Not Found", body, PROBLEM)) as client:
        answer = await client.fetch_receipts([STATEMENT])
    assert (answer.receipts, answer.unknown) == ({}, [])


@pytest.mark.parametrize(
    ("status", "body", "headers", "can_retry"),
    [
        ("502 Bad Gateway", b"<html>proxy</html>", ("Content-Type: text/html",), True),
        ("403 Forbidden", b"", (), False),
        ("500 Oops", b'{"code":1}', (PROBLEM,), True),
        ("400 Bad", b'{"code":"malformed","retryable":"yes"}', (PROBLEM,), False),
        ("429 Slow", b"[" * 9000, (PROBLEM,), True),
        ("302 Found", b"", ("Location: https://elsewhere.example/",), False),
        ("304 Not Modified", b"", (), False),
    ],
)
async def test_any_other_status_is_a_problem_by_its_number(
    status: str, body: bytes, headers: tuple[str, ...], can_retry: bool
) -> None:
    async with answering(http(status, body, *headers)) as client:
        with pytest.raises(CollectorProblemError) as caught:
            await client.fetch_receipts([STATEMENT])
    assert caught.value.can_retry is can_retry


@pytest.mark.parametrize("after", ["soon", "-5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999", "٣"])
async def test_retry_after_that_is_no_number_of_seconds_is_ignored(after: str) -> None:
    async with answering(http("503 Busy", b"", f"Retry-After: {after}")) as client:
        with pytest.raises(CollectorProblemError) as caught:
            await client.fetch_receipts([STATEMENT])
    assert caught.value.retry_after_s is None


async def test_endless_answer_is_given_up() -> None:
    async with answering(http("200 OK", b"x" * 2_000_000)) as client:
        with pytest.raises(CollectorAnswerError, match="more than"):
            await client.fetch_consistency(1, 2)


@pytest.mark.parametrize("raw", [b"", b"\x00\x01\x02", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"])
async def test_answer_that_is_no_http_counts_as_no_answer(raw: bytes) -> None:
    async with answering(raw) as client:
        with pytest.raises(CollectorAwayError):
            await client.fetch_receipts([STATEMENT])


async def test_silence_ends() -> None:
    async with answering(b"", hang=True) as client:
        with pytest.raises(CollectorAwayError):
            await client.fetch_receipts([STATEMENT])


async def test_nobody_there_is_an_error() -> None:
    async with CollectorClient("http://127.0.0.1:9", timeouts=Timeouts(connect_s=1)) as client:
        with pytest.raises(CollectorAwayError):
            await client.post_statements([b"{}"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"from":3,"to":5}',
        b'{"from":3,"to":6,"hashes":[]}',
        b'{"from":3,"to":5,"hashes":["!!!"]}',
        b'{"from":3,"to":5,"hashes":[1]}',
        b'{"from":3,"to":5,"hashes":[' + b'"",' * 63 + b'""]}',
        b'{"from":3,"to":5,"hashes":["' + b"A" * 500 + b'"]}',
        b'{"from":3,"from":3,"to":5,"hashes":[]}',
    ],
)
async def test_consistency_proof_of_another_form_is_refused(body: bytes) -> None:
    async with answering(http("200 OK", body, "Content-Type: application/json")) as client:
        with pytest.raises(CollectorAnswerError):
            await client.fetch_consistency(3, 5)


async def test_consistency_proof_is_read() -> None:
    body = b'{"from":3,"to":5,"hashes":["' + b"A" * 43 + b'="]}'
    async with answering(http("200 OK", body)) as client:
        assert await client.fetch_consistency(3, 5) == [bytes(32)]


async def test_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await CollectorClient("http://127.0.0.1:9").fetch_receipts([STATEMENT])


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:1/x",
        "//elsewhere.example/x",
        "http://127.0.0.1:2/x",
        "http://[",
        "http://user@other/x",
    ],
)
def test_address_outside_the_collector_is_refused(location: str) -> None:
    with pytest.raises(CollectorAnswerError):
        CollectorClient("http://127.0.0.1:1").resolve(location)


@pytest.mark.parametrize("location", ["/api/v1/uploads/1", "http://127.0.0.1:1/api/v1/uploads/1"])
def test_address_at_the_collector_is_resolved(location: str) -> None:
    assert (
        str(CollectorClient("http://127.0.0.1:1").resolve(location)) == "http://127.0.0.1:1/api/v1/uploads/1"
    )
