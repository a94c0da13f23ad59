"""A real tus server of ours on loopback, its hooks in the test's hands, and a client that shows every header."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy

from collector.errors import NotAuthenticatedError
from collector.files import Appender, Block, Files, PosixFiles
from collector.http.problems import problems_middleware
from collector.http.tus import add_tus_routes
from collector.http.uploads import Uploader, UploadService
from collector.staged import StagedUpload
from collector.staging import Staging

TUS = {"Tus-Resumable": "1.0.0"}
PART = {"Content-Type": "application/offset+octet-stream"}
START = datetime(2026, 1, 31, 8, tzinfo=UTC)


@dataclass
class Hooks:
    """Knows senders by the X-Sender header (``station-1`` without one) and notes completions."""

    completed: list[StagedUpload] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    failure: Exception | None = None

    def authenticate(self, request: web.Request) -> Uploader:
        sender = request.headers.get("X-Sender", "station-1")
        if sender == "stranger":
            raise NotAuthenticatedError("who are you?")
        agencies = {"two": frozenset({"hz", "nb"})}.get(sender, frozenset({"hz"}))
        return Uploader(owner=sender, agencies=agencies)

    async def on_complete(self, upload: StagedUpload) -> None:
        if self.failure:
            raise self.failure
        self.completed.append(upload)

    def is_stored(self, upload: StagedUpload) -> bool:
        return upload.upload_id in self.stored


class ObservedFiles(PosixFiles):
    """Real files that tell how many bytes were written, so that tests wait for facts instead of sleeping. While the
    ``gate`` is shut no more is written: the sender runs into full sockets, wherever it is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._written = 0
        self._changed = asyncio.Condition()
        self.gate = threading.Event()
        self.gate.set()

    def append(self, path: Path) -> Appender:
        return _Observed(super().append(path), self._report, self.gate)

    async def written(self, size_bytes: int) -> None:
        """Waits until so many bytes of parts were handed to the disk since the server began."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._written >= size_bytes)

    def _report(self, size_bytes: int) -> None:
        asyncio.run_coroutine_threadsafe(self._count(size_bytes), self._loop)

    async def _count(self, size_bytes: int) -> None:
        async with self._changed:
            self._written += size_bytes
            self._changed.notify_all()


class _Observed:
    def __init__(self, inner: Appender, report: Callable[[int], None], gate: threading.Event) -> None:
        self._inner = inner
        self._gate = gate
        self._report = report
        self.sync = inner.sync
        self.close = inner.close

    @property
    def size_bytes(self) -> int:
        return self._inner.size_bytes

    def write(self, block: Block) -> int:
        written = self._inner.write(block)
        self._report(written)
        self._gate.wait()
        return written


@dataclass(frozen=True)
class Answer:
    """Status, headers and problem (if any) of one answer."""

    status: int
    headers: CIMultiDictProxy[str]
    problem: Mapping[str, object]

    @property
    def code(self) -> object:
        return self.problem.get("code")

    @property
    def offset(self) -> int:
        return int(self.headers["Upload-Offset"])


@dataclass
class TusServer:
    """One running server. ``now`` is its clock and may be moved."""

    port: int
    hooks: Hooks
    service: UploadService
    staging: Staging
    session: aiohttp.ClientSession
    now: datetime

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, method: str, path: str, data: bytes | None = None, /, **headers: str) -> Answer:
        """One request with the tus version; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = None if data is None else io.BytesIO(data)
        async with self.session.request(method, self.url + path, data=body, headers=TUS | named) as response:
            problem = response.content_type == "application/problem+json" and method != "HEAD"
            return Answer(response.status, response.headers, await response.json() if problem else {})

    async def create(self, size_bytes: int | None = 10, **headers: str) -> str:
        """A new upload's path."""
        length = {"Upload_Defer_Length": "1"} if size_bytes is None else {"Upload_Length": str(size_bytes)}
        answer = await self.ask("POST", "/api/v1/uploads", **(length | headers))
        assert answer.status == 201, answer
        return answer.headers["Location"]

    async def patch(self, path: str, offset: int, data: bytes, **headers: str) -> Answer:
        """One part."""
        named = {"Content_Type": PART["Content-Type"], "Upload_Offset": str(offset)} | headers
        return await self.ask("PATCH", path, data, **named)

    async def head(self, path: str, **headers: str) -> Answer:
        """How far the upload is."""
        return await self.ask("HEAD", path, **headers)

    def move_clock(self, by: timedelta) -> None:
        """Time passes."""
        self.now += by


@asynccontextmanager
async def tus_server(
    folder: Path, *, files: Files | None = None, hooks: Hooks | None = None
) -> AsyncIterator[TusServer]:
    """Serves uploads from ``folder``; leaving it is an orderly stop."""
    hooks = hooks or Hooks()
    staging = Staging(files or PosixFiles(), folder)
    service = UploadService(staging, hooks, now=lambda: server.now)
    app = web.Application(middlewares=[problems_middleware])
    add_tus_routes(app, service)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        server = TusServer(
            port=port, hooks=hooks, service=service, staging=staging, session=session, now=START
        )
        try:
            yield server
        finally:
            await runner.cleanup()
