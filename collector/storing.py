"""From staged bytes to ``stored``: matches complete uploads with admitted promises and says so in the log.

Either half may come first. What joins them is the digest, so it does not matter which upload, station or visit
brought the bytes. The order for each promise: object durable and re-read, ``stored`` committed, staging given up,
receipt announced. What fails is tried again; at the start a sweep finds whatever a crash left between two of these.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from collector.catalogue import Catalogue, LoggedStatement, Promise
from collector.errors import CollectorError
from collector.objects import CLASS_OF, ObjectClass, ObjectStore
from collector.staged import StagedUpload
from collector.staging import Staging
from collector.voice import Voice
from protocol.digest import Digest
from protocol.errors import ChainError, DigestMismatchError, UploadError
from protocol.statements import Inventory, Manifest, Rendition, Stored
from protocol.verify import promised_blob

logger = logging.getLogger(__name__)

RETRY_S: Final = 10.0
"""Until something that failed is tried again: long enough for a full disk not to be asked all the time."""

SWEEP_S: Final = 600.0
"""Between sweeps. Everything is announced to the storer or tried again; sweeps are for what nobody foresaw."""

_WORKERS: Final = 64
"""Keys under way. Most of them wait for the log, which takes them in one batch."""

_READERS: Final = 2
"""Objects re-read at a time. That is disk-bound: more at once only makes each slower."""

_SWEEP_ROWS: Final = 1000

Key = tuple[str, Digest]


class Storer:
    """Works on keys (agency, digest), never twice at once on the same. ``announce`` must not block."""

    def __init__(
        self,
        *,
        staging: Staging,
        objects: ObjectStore,
        catalogue: Catalogue,
        voice: Voice,
        announce: Callable[[Promise], None],
        retry_s: float = RETRY_S,
    ) -> None:
        self._staging = staging
        self._objects = objects
        self._catalogue = catalogue
        self._voice = voice
        self._announce = announce
        self._retry_s = retry_s
        self._disk = asyncio.Semaphore(_READERS)
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._running: dict[Key, bool] = {}
        self._uploads: dict[Key, set[str]] = {}

    @property
    def backlog(self) -> int:
        """Keys to be looked at, those under way included."""
        return len(self._queued) + len(self._running)

    def upload_completed(self, upload: StagedUpload) -> None:
        """A complete upload lies in staging."""
        if upload.actual is not None and not upload.stored:
            key = (upload.agency, upload.actual)
            self._uploads.setdefault(key, set()).add(upload.upload_id)
            self._enqueue(key)

    def statements_committed(self, batch: Sequence[LoggedStatement]) -> None:
        """New promises may be fulfilled already."""
        for logged in batch:
            statement = logged.statement
            if isinstance(statement, Inventory | Manifest | Rendition):
                try:
                    digest, _ = promised_blob(statement)
                except ChainError:
                    continue
                self._enqueue((statement.header.agency, digest))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_WORKERS):
                group.create_task(self._work(), name=f"storer-{number}")
            group.create_task(self._sweep_for_ever(), name="storer-sweep")

    def _enqueue(self, key: Key) -> None:
        if key in self._running:
            self._running[key] = True  # once more after the present round, which may have looked too early
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            self._running[key] = False
            if not await self._try_to_settle(key):
                asyncio.get_running_loop().call_later(self._retry_s, self._enqueue, key)
            if self._running.pop(key):
                self._enqueue(key)

    async def _try_to_settle(self, key: Key) -> bool:
        try:
            await self._settle(key)
        except CollectorError as error:
            logger.warning("storing.failed code=%s digest=%s", error.code, key[1])
        except Exception:
            logger.exception("storing.crashed digest=%s", key[1])
        else:
            return True
        return False

    async def _sweep_for_ever(self) -> None:
        while True:
            pause_s = SWEEP_S
            try:
                await self.sweep()
            except CollectorError as error:
                logger.warning("storing.sweep_failed code=%s", error.code)
                pause_s = self._retry_s
            await asyncio.sleep(pause_s)

    async def sweep(self) -> None:
        """Look at everything that waits: bytes whose promise may be here, promises whose bytes may be here."""
        for upload in self._staging.all():
            if upload.is_complete:
                await self._offer(upload.upload_id)
        for key in list(self._uploads):
            self._forget_ended_uploads(key)
        after = -1
        while batch := await asyncio.to_thread(self._catalogue.all_awaiting, _SWEEP_ROWS, after):
            for promise in batch:
                key = (promise.agency, promise.digest)
                if key in self._uploads or await self._objects.exists(*_place(promise)):
                    self._enqueue(key)
            after = batch[-1].entry_index

    async def _offer(self, upload_id: str) -> None:
        try:
            self.upload_completed(await asyncio.to_thread(self._staging.measure, upload_id))
        except (CollectorError, UploadError) as error:
            logger.warning("storing.unmeasurable code=%s upload=%s", error.code, upload_id)

    def _uploads_of(self, key: Key) -> list[StagedUpload]:
        """Complete uploads with these bytes. Others than the storer may end one at any time."""
        found = (self._staging.find(upload_id) for upload_id in sorted(self._uploads.get(key, ())))
        return [upload for upload in found if upload is not None and not upload.stored]

    def _forget_ended_uploads(self, key: Key) -> None:
        left = {upload.upload_id for upload in self._uploads_of(key)}
        if left:
            self._uploads[key] = left
        else:
            self._uploads.pop(key, None)

    async def _settle(self, key: Key) -> None:
        for promise in await asyncio.to_thread(self._catalogue.promises_awaiting, *key):
            if await self._make_object(promise):
                await self._say_stored(promise)
        await self._give_up_staging(key)

    async def _make_object(self, promise: Promise) -> bool:
        """Whether the promised object lies durable and re-read in the store."""
        async with self._disk:
            if await self._holds(promise):
                return True
            for upload in self._uploads_of((promise.agency, promise.digest)):
                # Bytes of another size are right and the promise is wrong: they wait for an honest one.
                if upload.size_bytes == promise.size_bytes and await self._adopt(upload, promise):
                    return True
            return False

    async def _holds(self, promise: Promise) -> bool:
        place = _place(promise)
        if not await self._objects.exists(*place):
            return False
        if (await self._objects.stat(*place)).size_bytes != promise.size_bytes:
            return False
        await self._objects.verify(*place)
        return True

    async def _adopt(self, upload: StagedUpload, promise: Promise) -> bool:
        path = self._staging.path(upload.upload_id)
        try:
            await self._objects.adopt(path, *_place(promise), promise.size_bytes)
        except DigestMismatchError as error:
            logger.error("storing.staged_bytes_changed upload=%s %s", upload.upload_id, error)
            await asyncio.to_thread(self._staging.remove, upload.upload_id)
            return False
        return True

    async def _say_stored(self, promise: Promise) -> None:
        header = self._voice.header(promise.agency)
        await self._voice.say(
            Stored(
                header=header,
                digest=promise.digest,
                size_bytes=promise.size_bytes,
                purpose=promise.purpose,
                statement=promise.statement,
                stored_at=header.issued_at,
            )
        )
        self._announce(promise)

    async def _give_up_staging(self, key: Key) -> None:
        """An upload has served its purpose once the object it was to become is there."""
        agency, digest = key
        for upload in self._uploads_of(key):
            if await self._objects.exists(agency, CLASS_OF[upload.purpose], digest):
                await asyncio.to_thread(self._staging.settle, upload.upload_id)
        self._forget_ended_uploads(key)


def _place(promise: Promise) -> tuple[str, ObjectClass, Digest]:
    return promise.agency, CLASS_OF[promise.purpose], promise.digest
