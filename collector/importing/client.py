"""The collector's HTTP interface as an import uses it: the one that stations use, and nothing besides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp

from collector.errors import CollectorAwayError
from collector.importing.errors import ImportRefusedError
from collector.importing.identity import Importer
from protocol.admission import MAX_RESULTS, Admission, open_admission
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.errors import ProtocolError
from protocol.limits import MAX_MESSAGE_BYTES, MAX_RECEIPT_BYTES
from protocol.receipt import Receipt
from protocol.upload import (
    PART_CONTENT_TYPE,
    TUS_RESUMABLE,
    TUS_VERSION,
    UPLOAD_LENGTH,
    UPLOAD_METADATA,
    UPLOADS_PATH,
    format_metadata,
)
from protocol.verify import VerifiedReceipt, verify_receipt

_MAX_PAGE_BYTES: Final = 4 << 20
_POLL_S: Final = 0.2
_LONGEST_POLL_S: Final = 5.0
_PATIENCE_S: Final = 300.0
"""For one receipt: storing re-reads the whole file, and others are stored too."""

_LIMITS: Final = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
_ENVELOPES_BYTES: Final = MAX_MESSAGE_BYTES - 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClip:
    """A file that an earlier import brought: its manifest, and whether its bytes are stored."""

    manifest: Digest
    stored: bool


class CollectorClient:
    """One session as the importer. Methods raise CollectorAwayError and ImportRefusedError."""

    def __init__(self, importer: Importer, session: aiohttp.ClientSession) -> None:
        self._importer = importer
        self._session = session

    async def known(self, signer: str, path: str, digest: Digest) -> KnownClip | None:
        """What the collector has of this file from this signer."""
        query = {"digest": str(digest), "agency": self._importer.agency, "limit": "100"}
        page = json.loads(await self._get("/api/v1/clips", _MAX_PAGE_BYTES, query))
        for clip in page["clips"]:
            if (clip["station"], clip["name"]) == (signer, path):
                return KnownClip(
                    manifest=Digest.parse(clip["manifest"]), stored=clip["stored_index"] is not None
                )
        return None

    async def announce(self, envelopes: Sequence[Envelope]) -> None:
        """All of them are admitted on return."""
        for batch in _batches([envelope.to_bytes() for envelope in envelopes]):
            body = b'{"envelopes":[' + b",".join(batch) + b"]}"
            answer = await self._send(
                "POST", "/api/v1/statements", body, {"Content-Type": "application/json"}
            )
            for result in self._open(answer).results:
                if result.outcome != "admitted":
                    raise ImportRefusedError(
                        f"the collector refused {result.statement}: {result.code}: {result.detail}"
                    )

    async def upload(
        self, purpose: str, digest: Digest, size_bytes: int, blocks: AsyncIterator[bytes] | bytes
    ) -> None:
        """The bytes are durable with the collector on return; the receipt says when they are stored."""
        metadata = {"purpose": purpose, "agency": self._importer.agency, "digest": str(digest)}
        headers = {
            TUS_RESUMABLE: TUS_VERSION,
            UPLOAD_LENGTH: str(size_bytes),
            UPLOAD_METADATA: format_metadata({key: value.encode() for key, value in metadata.items()}),
            "Content-Type": PART_CONTENT_TYPE,
            "Content-Length": str(size_bytes),
        }
        await self._send("POST", UPLOADS_PATH, blocks, headers)

    async def receipt(self, statement: Digest) -> VerifiedReceipt:
        """Waits until the bytes are stored; verified here."""
        poll_s, ends_at = _POLL_S, asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                data = await self._get(f"/api/v1/receipts/{statement}", MAX_RECEIPT_BYTES)
                return verify_receipt(Receipt.from_bytes(data), self._importer.log_key)
            except _PendingError as pending:
                if asyncio.get_running_loop().time() > ends_at:
                    raise ImportRefusedError(
                        f"no receipt for {statement} after {_PATIENCE_S:.0f} s"
                    ) from pending
            except ProtocolError as error:
                raise ImportRefusedError(f"the receipt for {statement} does not verify: {error}") from error
            await asyncio.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)

    def _open(self, answer: bytes) -> Admission:
        try:
            return open_admission(answer, self._importer.collector_key)
        except ProtocolError as error:
            raise ImportRefusedError(f"an answer that the collector did not sign: {error}") from error

    async def _get(self, path: str, max_bytes: int, query: Mapping[str, str] | None = None) -> bytes:
        return await self._exchange("GET", path, None, {}, max_bytes, query)

    async def _send(
        self, method: str, path: str, body: bytes | AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> bytes:
        return await self._exchange(method, path, body, headers, MAX_MESSAGE_BYTES, None)

    async def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        max_bytes: int,
        query: Mapping[str, str] | None,
    ) -> bytes:
        try:
            async with self._session.request(
                method, f"{self._importer.url}{path}", data=body, headers=headers, params=query
            ) as answer:
                content = await answer.content.read(-1)
                if answer.status >= 400:
                    raise _refusal(answer.status, content)
        except (aiohttp.ClientError, OSError) as error:
            raise CollectorAwayError(f"{method} {path}: {error or type(error).__name__}") from error
        if len(content) > max_bytes:
            raise ImportRefusedError(f"{method} {path}: an answer of {len(content)} bytes")
        return content


class _PendingError(ImportRefusedError):
    """Not stored yet."""


def _refusal(status: int, content: bytes) -> ImportRefusedError:
    try:
        problem = json.loads(content)
        code, detail = str(problem["code"]), str(problem.get("detail", ""))
    except (ValueError, KeyError, TypeError):
        code, detail = f"http-{status}", ""
    kind = _PendingError if code == "receipt-pending" else ImportRefusedError
    return kind(f"the collector answered {status} {code}: {detail[:300]}")


def _batches(envelopes: Sequence[bytes]) -> list[list[bytes]]:
    """As many at once as one request may hold."""
    batches: list[list[bytes]] = []
    room = 0
    for envelope in envelopes:
        if not batches or len(batches[-1]) == MAX_RESULTS or len(envelope) + 1 > room:
            batches.append([])
            room = _ENVELOPES_BYTES
        batches[-1].append(envelope)
        room -= len(envelope) + 1
    return batches


@asynccontextmanager
async def connected(importer: Importer) -> AsyncIterator[CollectorClient]:
    """A client for the time of an import."""
    connector = aiohttp.TCPConnector(ssl=importer.tls, limit=8)
    async with aiohttp.ClientSession(connector=connector, timeout=_LIMITS) as session:
        yield CollectorClient(importer, session)
