"""The collector's HTTP interface as the station uses it: one session, typed errors, nothing taken on trust.

Answers are read up to a named limit and parsed strictly; signatures are checked by the callers. Redirects are not
followed: the client certificate is shown to the enrolled origin and to nobody else. Every request ends: by an
answer, or by CollectorAwayError.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from agent.errors import AgentError
from agent.uplink.answers import (
    MAX_PROBLEM_BYTES,
    MAX_RECEIPTS_BYTES,
    RECEIPT_PENDING,
    STATEMENT_UNKNOWN,
    Answer,
    ReceiptAnswer,
    Timeouts,
    parse_receipts,
    problem_of,
)
from agent.uplink.errors import CollectorAnswerError, CollectorAwayError
from agent.uplink.line import Lines, Pieces
from protocol.canonical import Fields, parse_json
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.limits import MAX_ENVELOPE_BYTES, MAX_PROOF_HASHES, MAX_RECEIPT_BYTES
from protocol.lines import decode_base64
from protocol.merkle import HASH_BYTES

MAX_CONSISTENCY_BYTES: Final = 8_192
"""63 hashes of 44 characters, quoted."""

_ASKED_SINGLY: Final = 32
"""Receipts asked for one by one at a time, where the collector knows no other way."""

MAX_CONNECTIONS: Final = 16
"""Four uploads, four questions, statements, and room for early deliveries."""

_READ_BYTES: Final = 65_536


class CollectorClient:
    """One TLS session with the collector. Use as a context manager; safe for many tasks at once."""

    def __init__(
        self, origin: str, *, tls: ssl.SSLContext | None = None, timeouts: Timeouts | None = None
    ) -> None:
        """``origin`` is ``https://host[:port]`` as enrolled; ``tls`` carries the station's certificate. Without
        ``tls`` the origin must be plain http, which only tests use."""
        self.origin = URL(origin)
        self.timeouts = timeouts or Timeouts()
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._lines: Lines | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls or True, limit=MAX_CONNECTIONS)
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=self.timeouts.connect_s, sock_read=self.timeouts.answer_s
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers={"Accept-Encoding": "identity"},  # a limit on unpacked bytes is no limit on memory
            trust_env=False,
            auto_decompress=False,
        )
        self._lines = Lines(self.origin, self._tls, self.timeouts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._lines is not None:
            await asyncio.to_thread(self._lines.close)
            self._lines = None

    async def send_body(self, method: str, url: URL, headers: Mapping[str, str], pieces: Pieces) -> Answer:
        """One request with a large body, made in a thread; see ``Lines.send``."""
        if self._lines is None:
            raise RuntimeError("the collector client is not open")
        return await self._lines.send(method, url, headers, pieces)

    async def post_statements(self, envelopes: Sequence[bytes]) -> bytes:
        """Offer envelopes (at most 64 and 256 KiB, the caller's care); returns the signed admission, unverified.

        Raises CollectorAwayError, CollectorProblemError, CollectorAnswerError.
        """
        body = b'{"envelopes":[' + b",".join(envelopes) + b"]}"
        answer = await self.request(
            "POST",
            "/api/v1/statements",
            headers={"Content-Type": "application/json"},
            body=body,
            max_bytes=MAX_ENVELOPE_BYTES,
        )
        return _success(answer)

    async def fetch_receipts(self, statements: Sequence[Digest]) -> ReceiptAnswer:
        """What there is for these statements, at most ``MAX_ASKED``, unverified. A collector that cannot be asked for
        many is asked for the first of them one by one. Raises as ``post_statements``."""
        names = ",".join(f'"{statement}"' for statement in statements)
        answer = await self.request(
            "POST",
            "/api/v1/receipts",
            headers={"Content-Type": "application/json"},
            body=f'{{"statements":[{names}]}}'.encode(),
            max_bytes=MAX_RECEIPTS_BYTES,
        )
        if answer.status in (404, 405):
            return await self._fetch_one_by_one(statements[:_ASKED_SINGLY])
        body = _success(answer)
        try:
            return await asyncio.to_thread(parse_receipts, body)
        except ProtocolError as error:
            raise CollectorAnswerError(f"no answer about receipts: {error}") from error

    async def _fetch_one_by_one(self, statements: Sequence[Digest]) -> ReceiptAnswer:
        receipts: dict[Digest, object] = {}
        unknown: list[Digest] = []
        for statement in statements:
            path = f"/api/v1/receipts/{statement}"
            answer = await self.request("GET", path, max_bytes=MAX_RECEIPT_BYTES)
            problem = answer.problem
            if problem is None:
                receipts[statement] = answer.body
            elif problem.problem == STATEMENT_UNKNOWN:
                unknown.append(statement)
            elif problem.problem != RECEIPT_PENDING:
                raise problem
        return ReceiptAnswer(receipts=receipts, unknown=unknown)

    async def fetch_consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The consistency proof between two sizes of the log, unverified. Raises as ``post_statements``."""
        path = f"/api/v1/log/consistency?from={old_size}&to={new_size}"
        body = _success(await self.request("GET", path, max_bytes=MAX_CONSISTENCY_BYTES))
        try:
            return _parse_consistency(body, old_size, new_size)
        except ProtocolError as error:
            raise CollectorAnswerError(f"no consistency proof: {error}") from error

    def resolve(self, location: str, base: URL | None = None) -> URL:
        """An address the collector gave, absolute. Raises CollectorAnswerError if it leads to another origin."""
        try:
            url = (base or self.origin).join(URL(location))
            foreign = url.origin() != self.origin.origin()
        except ValueError as error:
            raise CollectorAnswerError(f"not an address: {location[:80]!r}") from error
        if foreign:
            raise CollectorAnswerError(f"an address outside the collector: {location[:80]!r}")
        return url

    async def request(
        self,
        method: str,
        path: str | URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterator[bytes] | None = None,
        max_bytes: int = MAX_PROBLEM_BYTES,
    ) -> Answer:
        """One request and its whole answer, of whatever status. A streamed ``body`` needs Content-Length in
        ``headers`` and is given ``stall_s`` per piece.

        Raises CollectorAwayError, or CollectorAnswerError when the answer exceeds ``max_bytes``.
        """
        if self._session is None:
            raise RuntimeError("the collector client is not open")
        url = path if isinstance(path, URL) else self.origin.join(URL(path, encoded=True))
        async with self._reaching(method, url) as watch:
            data = watch.pieces(body) if isinstance(body, AsyncIterator) else body
            async with self._session.request(
                method, url, headers=headers, data=data, allow_redirects=False
            ) as response:
                content = await _read_limited(response.content, response.status, max_bytes)
                return Answer(
                    status=response.status,
                    headers=response.headers,
                    url=url,
                    body=content,
                    problem=problem_of(response.status, response.headers, content),
                )

    @asynccontextmanager
    async def _reaching(self, method: str, url: URL) -> AsyncGenerator[_Watch]:
        limits = self.timeouts
        try:
            async with asyncio.timeout(limits.connect_s + limits.stall_s + limits.answer_s) as deadline:
                watch = _Watch(deadline, limits)
                try:
                    yield watch
                finally:
                    watch.end()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if watch.failure is not None:
                raise watch.failure from error
            reason = str(error) or type(error).__name__
            raise CollectorAwayError(f"{method} {url.path}: {reason}") from error


class _Watch:
    """The deadline of one request, pushed forward as long as its body keeps leaving.

    aiohttp reports a body that cannot be read as a broken connection: ``failure`` keeps the true cause.
    """

    def __init__(self, deadline: asyncio.Timeout, limits: Timeouts) -> None:
        self._deadline: asyncio.Timeout | None = deadline
        self._limits = limits
        self.failure: AgentError | None = None

    def end(self) -> None:
        """The writing task may outlive its request by a moment and must not touch the deadline then."""
        self._deadline = None

    async def pieces(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        try:
            async for piece in body:
                self._push(self._limits.stall_s)
                yield piece
        except AgentError as error:
            self.failure = error
            raise
        self._push(self._limits.stall_s + self._limits.answer_s)

    def _push(self, seconds: float) -> None:
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + seconds)


async def _read_limited(content: aiohttp.StreamReader, status: int, max_bytes: int) -> bytes:
    limit = max_bytes if status < 400 else MAX_PROBLEM_BYTES
    body = bytearray()
    while piece := await content.read(_READ_BYTES):
        body += piece
        if len(body) > limit:
            raise CollectorAnswerError(f"an answer of more than {limit} bytes to a request for less")
    return bytes(body)


def _success(answer: Answer) -> bytes:
    if answer.problem is not None:
        raise answer.problem
    return answer.body


def _parse_consistency(body: bytes, old_size: int, new_size: int) -> list[bytes]:
    fields = Fields(parse_json(body, max_bytes=MAX_CONSISTENCY_BYTES, what="consistency proof"), "proof")
    if (fields.integer("from"), fields.integer("to")) != (old_size, new_size):
        raise CollectorAnswerError("a consistency proof between other sizes than asked for")
    hashes: list[bytes] = []
    for item in fields.items("hashes", max_items=MAX_PROOF_HASHES):
        if not isinstance(item, str) or len(item) > 2 * HASH_BYTES:
            raise CollectorAnswerError("a hash in a proof is a base64 text of 32 bytes")
        hashes.append(decode_base64(item, "a hash in a proof"))
    return hashes
