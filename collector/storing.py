"""From staged bytes to ``stored``: matches complete uploads with admitted promises and says so in the log.

Either half may come first. What joins them is the digest, so it does not matter which upload, station or visit
brought the bytes. The order for each promise: object durable and re-read, ``stored`` committed, staging given up,
receipt announced. A sweep finds whatever a crash left between two of these.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from collector.catalogue import Catalogue, LoggedStatement, Promise
from collector.errors import CollectorError
from collector.objects import ObjectClass, ObjectStore
from collector.staged import StagedUpload
from collector.staging import Staging
from collector.voice import Voice
from protocol.digest import Digest
from protocol.errors import ChainError, DigestMismatchError
from protocol.statements import Inventory, Manifest, Rendition, Stored
from protocol.verify import promised_blob

logger = logging.getLogger(__name__)

SWEEP_S: Final = 10.0
"""How long something a crash or a failed commit left behind waits to be found."""

_WORKERS: Final = 2
"""Re-reading is disk-bound: more at once only makes each slower."""

_SWEEP_ROWS: Final = 1000

CLASS_OF: Final = {
    "original": ObjectClass.ORIGINALS,
    "rendition": ObjectClass.RENDITIONS,
    "listing": ObjectClass.LISTINGS,
}

Key = tuple[str, Digest]


class Storer:
    """Runs ``_WORKERS`` tasks over keys (agency, digest); the same key is never worked on twice at once."""

    def __init__(
        self,
        *,
        staging: Staging,
        objects: ObjectStore,
        catalogue: Catalogue,
        voice: Voice,
        announce: Callable[[Promise], Awaitable[None]],
    ) -> None:
        self._staging = staging
        self._objects = objects
        self._catalogue = catalogue
        self._voice = voice
        self._announce = announce
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._running: dict[Key, bool] = {}

    def upload_completed(self, upload: StagedUpload) -> None:
        """A complete upload lies in staging."""
        if upload.actual is not None:
            self._enqueue((upload.agency, upload.actual))

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
            self._running[key] = (
                True  # once more when the present round is over: it may have looked too early
            )
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._queued.discard(key)
            self._running[key] = False
            try:
                await self._settle(*key)
            except CollectorError as error:
                logger.warning("storing.failed code=%s digest=%s", error.code, key[1])
            except Exception:
                logger.exception("storing.crashed digest=%s", key[1])
            if self._running.pop(key):
                self._enqueue(key)

    async def _sweep_for_ever(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Look at everything that waits: promises whose bytes may be here, bytes whose promise may be here."""
        after = -1
        while batch := await asyncio.to_thread(self._catalogue.all_awaiting, _SWEEP_ROWS, after):
            for promise in batch:
                self._enqueue((promise.agency, promise.digest))
            after = batch[-1].entry_index
        for upload in self._staging.all():
            if upload.is_complete:
                try:
                    self.upload_completed(await asyncio.to_thread(self._staging.measure, upload.upload_id))
                except CollectorError as error:
                    logger.warning("storing.unmeasurable code=%s upload=%s", error.code, upload.upload_id)

    async def _settle(self, agency: str, digest: Digest) -> None:
        promises = await asyncio.to_thread(self._catalogue.promises_awaiting, agency, digest)
        uploads = [u for u in self._staging.all() if (u.agency, u.actual) == (agency, digest)]
        for promise in promises:
            if await self._make_object(promise, uploads):
                await self._say_stored(promise)
        if promises or await self._is_stored(agency, digest):
            for upload in uploads:
                await asyncio.to_thread(self._staging.settle, upload.upload_id)

    async def _make_object(self, promise: Promise, uploads: Sequence[StagedUpload]) -> bool:
        """Whether the promised object lies durable and re-read in the store."""
        place = (promise.agency, CLASS_OF[promise.purpose], promise.digest)
        for upload in uploads:
            path = self._staging.path(upload.upload_id)
            try:
                await self._objects.adopt(path, *place, promise.size_bytes)
            except DigestMismatchError as error:
                logger.error("storing.staged_bytes_changed upload=%s %s", upload.upload_id, error)
                await asyncio.to_thread(self._staging.remove, upload.upload_id)
            else:
                return True
        if not await self._objects.exists(*place):
            return False
        stat = await self._objects.verify(*place)
        return stat.size_bytes == promise.size_bytes

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
        await self._announce(promise)

    async def _is_stored(self, agency: str, digest: Digest) -> bool:
        for cls in CLASS_OF.values():
            if await self._objects.exists(agency, cls, digest):
                return True
        return False
