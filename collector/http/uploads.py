"""What happens to uploads, between the tus handlers and the staging folder.

Guarantees: requests for one upload follow one another, the newest ending the one before; every offset answered is
durable; a request once begun finishes its disk work even when its connection is gone; a complete upload reaches
``TusHooks.on_complete`` at least once, over restarts too (``offer_completed``).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, ParamSpec, Protocol, TypeVar

from aiohttp import web

from collector.bundles import BundlePart
from collector.errors import StorageError
from collector.http.bodies import Body
from collector.http.receive import BufferPool, receive
from collector.http.turns import Turns
from collector.part_writer import PartWriter
from collector.staged import StagedUpload
from collector.staging import Staging
from protocol.errors import UploadError
from protocol.upload import (
    Part,
    check_checksum,
    check_declared,
    check_part_type,
    decide_body,
    decide_creation,
    decide_deletion,
    decide_part,
)
from protocol.upload_errors import (
    BundleMalformedError,
    PartCutError,
    SupersededError,
    TooLargeError,
    TooManyUploadsError,
    UploadGoneError,
    UploadNotFoundError,
    UploadStoredError,
)

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

LIFETIME: Final = timedelta(days=7)
"""An upload nobody adds to for so long is removed: longer than a holiday week-end, shorter than a disk fills."""

MAX_OPEN_UPLOADS: Final = 1024
"""Uploads one sender may have open: 20 bays of 50 files; small files travel in bundles."""

_WORKERS: Final = 4
"""Threads for disk and hash: more than the cores of a small collector, since some always wait for the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploader:
    """Who sends: the station (or other owner) and the agencies it may upload for."""

    owner: str
    agencies: frozenset[str]


class TusHooks(Protocol):
    """What the uploads need of the rest of the collector."""

    def authenticate(self, request: web.Request) -> Uploader:
        """Who sends this request. Raises NotAuthenticatedError or another error of the trees. Must not block."""

    async def on_complete(self, upload: StagedUpload) -> None:
        """Every byte is durable and ``actual`` known. May come more than once for one upload. What it raises is
        the answer to the request; the staged bytes stay."""

    def is_stored(self, upload: StagedUpload) -> bool:
        """Whether the upload has become a stored object, so that it can no longer be deleted. Must not block."""


class UploadService:
    """Uploads of all senders. ``now`` is the clock, ``lifetime`` how long an idle upload is kept."""

    def __init__(
        self,
        staging: Staging,
        hooks: TusHooks,
        *,
        now: Callable[[], datetime],
        lifetime: timedelta = LIFETIME,
    ) -> None:
        self.hooks = hooks
        self._staging = staging
        self._now = now
        self._lifetime = lifetime
        self._turns = Turns()
        self._buffers = BufferPool()
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="uploads")
        self._running: set[asyncio.Task[StagedUpload]] = set()

    async def start(self) -> None:
        """Finds what an earlier run left. Before the first request."""
        for name in await self._in_thread(self._staging.recover):
            log.error("staged-upload-damaged", extra={"file": name})

    async def stop(self) -> None:
        """Ends running requests, keeping what arrived, and waits until all of it is durable."""
        self._turns.end_all()
        while self._running:
            await asyncio.wait(self._running)
        await asyncio.to_thread(self._threads.shutdown)

    async def create(self, uploader: Uploader, headers: Mapping[str, str], body: Body | None) -> StagedUpload:
        """A new upload, with the first bytes if there is a ``body``. A creation that fails leaves nothing, since
        its sender was never told where it is. Raises UploadError subclasses, AgencyNotAllowedError, StorageError."""
        creation = decide_creation(headers, agencies=uploader.agencies)
        part = None
        if body is not None:
            check_part_type(headers)
            part = decide_body(headers, offset_bytes=0, size_bytes=creation.size_bytes)
        if self._staging.open_uploads(uploader.owner) >= MAX_OPEN_UPLOADS:
            raise TooManyUploadsError(f"more than {MAX_OPEN_UPLOADS} uploads are open")
        await self._in_thread(self._staging.require_room, uploader.owner, creation.size_bytes or 0)

        async def work() -> StagedUpload:
            upload = await self._in_thread(
                self._staging.create,
                creation,
                upload_id=secrets.token_hex(16),
                owner=uploader.owner,
                expires_at=self._expiry(),
            )
            if body is None or part is None:
                return await self._finish(upload)
            async with self._turns.take(upload.upload_id, _giving_way(body)):
                return await self._first_part(upload, part, body)

        return await self._to_the_end(work(), "upload-create")

    async def append(
        self, uploader: Uploader, upload_id: str, headers: Mapping[str, str], body: Body
    ) -> StagedUpload:
        """One PATCH. Raises UploadError subclasses and StorageError; what had arrived of a cut part is kept."""
        self._find(uploader, upload_id)

        async def work() -> StagedUpload:
            async with self._turns.take(upload_id, _giving_way(body)):
                upload = self._find(uploader, upload_id)
                if self._is_stored(upload):
                    raise UploadStoredError("the upload is stored and takes no more bytes")
                part = decide_part(headers, offset_bytes=upload.offset_bytes, size_bytes=upload.size_bytes)
                if part.size_bytes is not None and upload.size_bytes is None:
                    upload = await self._in_thread(self._staging.set_length, upload_id, part.size_bytes)
                if upload.is_complete:
                    return await self._finish(await _nothing_more(upload, body))
                return await self._take_in(upload, part, body)

        return await self._to_the_end(work(), f"upload-append-{upload_id}")

    async def look(self, uploader: Uploader, upload_id: str) -> StagedUpload:
        """The upload as it stands (HEAD). Ends a request that is still adding to it, so that the offset told is
        the one to go on from. Raises UploadNotFoundError or UploadGoneError."""
        upload = self._find(uploader, upload_id)
        if not upload.is_complete:
            async with self._turns.take(upload_id):
                upload = self._find(uploader, upload_id)
        if upload.is_complete and not upload.is_measured:
            upload = await self._in_thread(self._staging.measure, upload_id)
        return upload

    async def delete(self, uploader: Uploader, upload_id: str) -> None:
        """Terminates an upload, durably. Raises UploadStoredError once it became evidence."""
        self._find(uploader, upload_id)
        async with self._turns.take(upload_id):
            upload = self._find(uploader, upload_id)
            decide_deletion(stored=self._is_stored(upload))
            await self._in_thread(self._staging.remove, upload_id)

    async def settle(self, upload_id: str) -> None:
        """The object store has the bytes: the staged copy goes, a late HEAD still learns that all arrived."""
        await self._in_thread(self._staging.settle, upload_id)

    async def discard(self, upload_id: str) -> None:
        """The bytes are of no use (re-read, they are not what was announced): the sender must start over."""
        await self._in_thread(self._staging.remove, upload_id)

    async def offer_completed(self) -> None:
        """Calls ``on_complete`` for every upload that is complete and not stored: after a restart, and whenever
        statements may have come that earlier ones waited for. Failures are logged, the others go on."""
        for upload in self._staging.all():
            if upload.is_complete and not self._turns.is_taken(upload.upload_id):
                await self._offer(upload.upload_id)

    async def expire(self, now: datetime) -> int:
        """Removes uploads whose time is over and that nobody uses; returns how many."""
        removed = 0
        for upload_id in self._staging.expired(now):
            if self._turns.is_taken(upload_id):
                continue
            async with self._turns.take(upload_id):
                if upload_id in self._staging.expired(now):
                    await self._in_thread(self._staging.remove, upload_id)
                    removed += 1
        return removed

    async def _first_part(self, upload: StagedUpload, part: Part, body: Body) -> StagedUpload:
        try:
            return await self._take_in(upload, part, body)
        except Exception:
            held = self._staging.find(upload.upload_id)
            if held and not held.is_complete:
                await self._in_thread(self._staging.remove, upload.upload_id)
            raise

    async def _take_in(self, upload: StagedUpload, plan: Part, body: Body) -> StagedUpload:
        part = await self._in_thread(self._staging.part, upload.upload_id, plan.checksum)
        try:
            ended_by = await self._receive(part, plan, body, upload.owner)
            if isinstance(ended_by, TooLargeError):
                raise ended_by
            # A part that was cut cannot be checked; it is kept all the same ("as much as possible"), as it would be
            # after a crash here: the digest of the whole decides in the end.
            if plan.checksum and ended_by is None:
                check_checksum(plan.checksum, part.checksum)
        except BundleMalformedError:
            await self._in_thread(self._staging.roll_back, part)
            await self._in_thread(self._staging.remove, upload.upload_id)
            raise
        except BaseException:
            await self._in_thread(self._staging.roll_back, part)
            raise
        upload = await self._in_thread(self._staging.commit, part, expires_at=self._expiry())
        upload = await self._finish(upload)
        if ended_by:
            raise _told(ended_by)
        return upload

    async def _receive(
        self, part: PartWriter | BundlePart, plan: Part, body: Body, owner: str
    ) -> Exception | None:
        """What ended the body early, a full disk included; None at its proper end."""

        async def write(block: memoryview) -> None:
            await self._in_thread(part.write, block)

        try:
            return await receive(
                body,
                write,
                self._buffers,
                owner=owner,
                start_bytes=plan.offset_bytes,
                room_bytes=plan.room_bytes,
            )
        except StorageError as error:
            return error

    async def _finish(self, upload: StagedUpload) -> StagedUpload:
        """Passes a complete upload on."""
        if not upload.is_complete:
            return upload
        if not upload.is_measured:
            upload = await self._in_thread(self._staging.measure, upload.upload_id)
        if upload.actual is not None:
            try:
                check_declared(upload.declared, upload.actual)
            except UploadError:
                await self._in_thread(self._staging.remove, upload.upload_id)
                raise
        if not self._is_stored(upload):
            await self.hooks.on_complete(upload)
        return upload

    async def _offer(self, upload_id: str) -> None:
        try:
            async with self._turns.take(upload_id):
                upload = self._staging.find(upload_id)
                if upload:
                    await self._finish(upload)
        except Exception:
            log.exception("complete-upload-not-taken", extra={"upload_id": upload_id})

    def _find(self, uploader: Uploader, upload_id: str) -> StagedUpload:
        upload = self._staging.find(upload_id)
        if upload is None or upload.owner != uploader.owner:
            raise UploadNotFoundError("no such upload")
        if upload.expires_at <= self._now() and not upload.stored and not self._turns.is_taken(upload_id):
            raise UploadGoneError("the upload expired")
        return upload

    def _is_stored(self, upload: StagedUpload) -> bool:
        return upload.stored or self.hooks.is_stored(upload)

    def _expiry(self) -> datetime:
        return self._now() + self._lifetime

    async def _to_the_end(self, work: Coroutine[None, None, StagedUpload], name: str) -> StagedUpload:
        """Lets disk work finish even if the request that wanted it is cancelled."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))


def _giving_way(body: Body) -> Callable[[], None]:
    return lambda: body.end(SupersededError("a newer request for this upload ended this one"))


async def _nothing_more(upload: StagedUpload, body: Body) -> StagedUpload:
    """A complete upload takes an empty part and never touches its file for it."""
    body.begin()
    if await body.fill(memoryview(bytearray(1))):
        raise TooLargeError("the upload is complete")
    return upload


def _told(ended_by: Exception) -> Exception:
    """What the sender is told about a body that ended early."""
    if isinstance(ended_by, UploadError | StorageError):
        return ended_by
    cut = PartCutError("the body ended early; what had arrived is kept")
    cut.__cause__ = ended_by
    return cut
