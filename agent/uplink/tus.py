"""Bytes up: a tus 1.0.0 client that resumes wherever the collector says, from a finished file or a growing one.

What to do after each answer is decided by ``protocol.upload_client``; this module carries it out. It never sleeps:
where waiting is called for, it raises, and its caller has the patience. Killed or cut anywhere, the next call with the
same address goes on from the collector's offset. A finished upload proves nothing yet: only the receipt does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Protocol

from yarl import URL

from agent.uplink.answers import Answer
from agent.uplink.arriving import arriving_pieces
from agent.uplink.collector_http import CollectorClient
from agent.uplink.errors import (
    CollectorAnswerError,
    CollectorAwayError,
    CollectorProblemError,
    SourceError,
    UploadDivergedError,
    UploadStuckError,
)
from agent.uplink.sources import OpenSource
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.upload import (
    CONTENT_LENGTH,
    CONTENT_TYPE,
    PART_CONTENT_TYPE,
    REPR_DIGEST,
    TUS_RESUMABLE,
    TUS_VERSION,
    UPLOAD_LENGTH,
    UPLOAD_METADATA,
    UPLOAD_OFFSET,
    UPLOADS_PATH,
    format_metadata,
    parse_repr_digest,
)
from protocol.upload_client import NextStep, Step, decide_after
from protocol.upload_errors import UploadDigestError

MAX_PART_BYTES: Final = 256 * 1024 * 1024
"""One PATCH: after each the collector confirms durable bytes, which is what the bay display shows."""

SMALL_BYTES: Final = 4 * 1024 * 1024
"""Files up to this size travel inside the creation request: one round trip, and little to send again if it is cut."""

_SMALL_PIECE_BYTES: Final = 256 * 1024
"""Of those, handed over at once: each piece has its own time to leave."""

_TELL_EVERY_BYTES: Final = 1024 * 1024
"""Progress is for people: waking the loop for each photograph would cost more than sending it."""

MAX_FRUITLESS_STEPS: Final = 6
"""Requests in a row without a new byte: conflict, question, conflict, question, … is not going anywhere."""


class Source(Protocol):
    """Bytes to send. ``wait_beyond`` returns how many are readable once that is more than ``offset_bytes`` or no more
    will come; it raises AgentError when the whole will never be there. ``is_whole``: it is there already."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def is_whole(self) -> bool: ...

    async def wait_beyond(self, offset_bytes: int) -> int: ...

    def open(self) -> OpenSource:
        """Called once for each upload. Cannot fail: nothing is opened before it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOrder:
    """What the collector is told about the bytes. ``digest`` is None while the file is still being read."""

    agency: str
    purpose: str
    digest: Digest | None

    def metadata(self) -> str:
        pairs = {"agency": self.agency.encode(), "purpose": str(self.purpose).encode()}
        if self.digest is not None:
            pairs["digest"] = str(self.digest).encode()
        return format_metadata(pairs)


UrlKeeper = Callable[[str | None], Awaitable[None]]
"""Makes an upload's address durable before bytes are sent there; None forgets it. The address is kept without host:
the collector may be reached under another one tomorrow."""

ProgressNote = Callable[[int], None]
"""Told how many bytes have left this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """The collector holds all bytes in staging. ``held`` is the digest it reports, None if it reports none."""

    url: str
    held: Digest | None


class TusClient:
    """Uploads files over one collector session; safe for many tasks at once, one per upload."""

    def __init__(self, collector: CollectorClient, *, path: str = UPLOADS_PATH) -> None:
        self._collector = collector
        self._path = path

    async def upload(
        self,
        source: Source,
        order: UploadOrder,
        *,
        url: str | None,
        keep_url: UrlKeeper,
        note_progress: ProgressNote,
    ) -> Uploaded:
        """Bring the whole source to the collector, continuing the upload at ``url`` if there is one.

        Raises CollectorAwayError, UploadStuckError (try later); CollectorProblemError (as its ``can_retry`` says);
        UploadDivergedError (``order.digest`` is not what arrived; that upload is forgotten); SourceError, and what
        ``source.wait_beyond`` raises; CollectorAnswerError.
        """
        with closing(source.open()) as reader:
            run = _Run(self._collector, self._path, source, reader, order, keep_url, note_progress)
            return await run.to_the_end(url)

    async def exists(self, url: str) -> bool:
        """Whether the collector still has the upload. Raises CollectorAwayError, CollectorAnswerError."""
        answer = await self._collector.request("HEAD", self._collector.resolve(url), headers=_VERSION_HEADER)
        return answer.status not in (404, 410)

    async def terminate(self, url: str) -> None:
        """Ask the collector to forget an upload; whether it does changes nothing for this side."""
        await _terminate(self._collector, self._collector.resolve(url))


_VERSION_HEADER: Final[Mapping[str, str]] = {TUS_RESUMABLE: TUS_VERSION}


class _Run:
    """One upload from its first step to its last."""

    def __init__(
        self,
        collector: CollectorClient,
        path: str,
        source: Source,
        reader: OpenSource,
        order: UploadOrder,
        keep_url: UrlKeeper,
        note_progress: ProgressNote,
    ) -> None:
        self._collector = collector
        self._path = path
        self._source = source
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._order = order
        self._keep_url = keep_url
        self._note_progress = note_progress
        self._url: URL | None = None
        self._furthest = -1
        self._fruitless = 0

    async def to_the_end(self, url: str | None) -> Uploaded:
        self._url = None if url is None else self._collector.resolve(url)
        next_step = NextStep(step=Step.RESTART if url is None else Step.ASK)
        while True:
            answer = await self._take(next_step)
            next_step = self._decide(answer)
            if next_step.step is Step.DONE and self._url is not None:
                held = None if answer is None else _held(answer)
                return Uploaded(url=str(self._url.relative()), held=held)
            await self._check(next_step, answer)

    async def _take(self, next_step: NextStep) -> Answer | None:
        """The answer to the step's request; None when a part was cut off on its way."""
        if next_step.step is Step.RESTART or self._url is None:
            return await self._create()
        if next_step.step is Step.ASK:
            return await self._collector.request("HEAD", self._url, headers=_VERSION_HEADER)
        try:
            return await self._send(self._url, next_step.offset_bytes)
        except CollectorAwayError:
            return None

    def _decide(self, answer: Answer | None) -> NextStep:
        if answer is None:
            return decide_after(None, {}, size_bytes=self._source.size_bytes)
        return decide_after(
            answer.status,
            answer.headers,
            size_bytes=self._source.size_bytes,
            digest=self._order.digest,
            code=None if answer.problem is None else answer.problem.problem,
        )

    async def _check(self, next_step: NextStep, answer: Answer | None) -> None:
        """Raises where going on at once would be useless or wrong."""
        problem = None if answer is None else answer.problem
        if next_step.step in (Step.WAIT, Step.STOP):
            raise problem or CollectorAnswerError("the collector's answer leaves nothing to do")
        if next_step.step is Step.RESTART and answer is not None:
            await self._forget(answer, problem)
        self._count(next_step)

    def _count(self, next_step: NextStep) -> None:
        if next_step.step is Step.SEND and next_step.offset_bytes > self._furthest:
            self._furthest = next_step.offset_bytes
            self._fruitless = 0
            self._note_progress(next_step.offset_bytes)
        self._fruitless += 1
        if self._fruitless > MAX_FRUITLESS_STEPS:
            raise UploadStuckError(f"{self._fruitless} requests moved nothing beyond byte {self._furthest}")

    async def _forget(self, answer: Answer, problem: CollectorProblemError | None) -> None:
        """This upload leads nowhere; if its bytes were other bytes, the caller has to know before sending again."""
        lost, self._url = self._url, None
        self._furthest = -1
        await self._keep_url(None)
        held, expected = _held(answer), self._order.digest
        if expected is not None and held is not None and held != expected:
            if lost is not None:
                await _terminate(self._collector, lost)
            raise UploadDivergedError(expected=str(expected), actual=str(held))
        if expected is not None and problem is not None and problem.problem == UploadDigestError.code:
            raise UploadDivergedError(expected=str(expected), actual="another, see the collector's log")

    async def _create(self) -> Answer:
        size = self._source.size_bytes
        headers = {
            TUS_RESUMABLE: TUS_VERSION,
            UPLOAD_LENGTH: str(size),
            UPLOAD_METADATA: self._order.metadata(),
        }
        at_once = 0 < size <= SMALL_BYTES and self._source.is_whole
        if at_once:
            headers |= {CONTENT_TYPE: PART_CONTENT_TYPE, CONTENT_LENGTH: str(size)}
        body = self._small(size) if at_once else None
        answer = await self._collector.request("POST", self._path, headers=headers, body=body)
        if answer.status == 201:
            self._url = self._collector.resolve(_location(answer), answer.url)
            await self._keep_url(str(self._url.relative()))
            if at_once:
                self._note_progress(size)
        return answer

    async def _send(self, url: URL, start: int) -> Answer:
        end = await self._part_end(start)
        headers = {
            TUS_RESUMABLE: TUS_VERSION,
            UPLOAD_OFFSET: str(start),
            CONTENT_TYPE: PART_CONTENT_TYPE,
            CONTENT_LENGTH: str(end - start),
        }
        return await self._collector.send_body("PATCH", url, headers, lambda: self._told(start, end))

    def _told(self, start: int, end: int) -> Iterator[memoryview]:
        """The part's pieces, in the line's thread; progress is told on the loop."""
        told = start
        for piece in arriving_pieces(self._source, self._reader, start, end, self._loop):
            yield piece
            start += len(piece)
            if start - told >= _TELL_EVERY_BYTES or start == end or (told < start and not piece):
                told = start
                self._loop.call_soon_threadsafe(self._note_progress, start)

    async def _part_end(self, start: int) -> int:
        """Of a file that is still growing the part may end where nothing is yet; it begins where something is."""
        size = self._source.size_bytes
        available = await self._source.wait_beyond(start)
        if available <= start:
            raise SourceError(f"{self._source.name} ends at byte {available}, not at {size}")
        return min(size, start + MAX_PART_BYTES)

    async def _small(self, size: int) -> AsyncGenerator[bytes]:
        """A small file's bytes. They are copies: a transport keeps a reference to what it could not send at once,
        and a buffer filled again underneath it would change the bytes on the wire."""
        whole = await asyncio.to_thread(self._copy, size)
        for start in range(0, size, _SMALL_PIECE_BYTES):
            yield whole[start : start + _SMALL_PIECE_BYTES]

    def _copy(self, size: int) -> bytes:
        return b"".join(map(bytes, self._reader.pieces(0, size)))


async def _terminate(collector: CollectorClient, url: URL) -> None:
    try:
        await collector.request("DELETE", url, headers=_VERSION_HEADER)
    except (CollectorAwayError, CollectorAnswerError):
        return


def _location(answer: Answer) -> str:
    location = answer.headers.get("Location")
    if not location:
        raise CollectorAnswerError("an upload was created without an address")
    return location


def _held(answer: Answer) -> Digest | None:
    try:
        return parse_repr_digest(answer.headers.get(REPR_DIGEST, ""))
    except ProtocolError:
        return None
