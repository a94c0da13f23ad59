"""From staged bytes to ``stored``: matches complete uploads with admitted promises and says so in the log.

Either half may come first. What joins them is the digest, so it does not matter which upload, station or visit
brought the bytes. What is ready goes through together, however much it is: objects durable and re-read, ``stored``
committed, staging given up, receipts announced. What fails is tried again; at the start a sweep finds whatever a crash
left between two of these.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from collector.awaiting_promise import AwaitingPromise, Key
from collector.catalogue import Catalogue, LoggedStatement, Promise
from collector.core.findings import OBJECT_MISSING
from collector.errors import CollectorError, ObjectCorruptError
from collector.mending import Mender
from collector.objects import CLASS_OF, Adoption, ObjectStore, Place
from collector.staged import StagedUpload
from collector.staging import Staging
from collector.voice import Voice
from protocol.errors import ChainError, DigestMismatchError, ProtocolError, UploadError
from protocol.statements import Inventory, Manifest, Rendition, Stored
from protocol.verify import promised_blob

logger = logging.getLogger(__name__)

RETRY_S: Final = 10.0
"""Until something that failed is tried again: long enough for a full disk not to be asked all the time."""

SWEEP_S: Final = 600.0
"""Between sweeps. Everything is announced to the storer or tried again; sweeps are for what nobody foresaw."""

_WORKERS: Final = 64
"""Groups of keys under way. Most of them wait for the disk or for the log, which takes them in one batch."""

_GROUP: Final = 512
"""Keys looked at together: more than a bundle of photographs has."""

_SMALL_BYTES: Final = 8 << 20
"""Objects up to here are stored in groups; a larger one goes alone, so that nobody waits for its bytes."""

_READERS: Final = 2
"""Groups, and large objects, re-read at a time. That is disk-bound: more at once only makes each slower."""

_SWEEP_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """An object, and the promises it keeps."""

    place: Place
    size_bytes: int
    promises: tuple[Promise, ...]

    @property
    def key(self) -> Key:
        return self.place[0], self.place[2]


class Storer:
    """Works on keys (agency, digest), never twice at once on the same. ``announce`` must not block."""

    def __init__(
        self,
        *,
        staging: Staging,
        objects: ObjectStore,
        catalogue: Catalogue,
        voice: Voice,
        announce: Callable[[Sequence[Promise]], None],
        retry_s: float = RETRY_S,
    ) -> None:
        self._staging = staging
        self._objects = objects
        self._catalogue = catalogue
        self._voice = voice
        self._announce = announce
        self._retry_s = retry_s
        self._small, self._large = asyncio.Semaphore(_READERS), asyncio.Semaphore(_READERS)
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._running: dict[Key, bool] = {}
        self._uploads = AwaitingPromise(staging)
        self._mender = Mender(objects=objects, catalogue=catalogue, voice=voice)

    @property
    def backlog(self) -> int:
        """Keys to be looked at, those under way included."""
        return len(self._queued) + len(self._running)

    def upload_completed(self, upload: StagedUpload) -> None:
        """A complete upload lies in staging."""
        if upload.is_measured and not upload.stored:
            for key in self._uploads.add(upload):
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
            keys = await self._take()
            failed = await self._settle(keys)
            for key in keys:
                if key in failed:
                    asyncio.get_running_loop().call_later(self._retry_s, self._enqueue, key)
                if self._running.pop(key):
                    self._enqueue(key)

    async def _take(self) -> list[Key]:
        """What waits now, at least one key."""
        keys = [await self._queue.get()]
        with suppress(asyncio.QueueEmpty):
            while len(keys) < _GROUP:
                keys.append(self._queue.get_nowait())
        self._queued.difference_update(keys)
        self._running.update(dict.fromkeys(keys, False))
        return keys

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
        self._uploads.forget_ended()
        after = -1
        while batch := await asyncio.to_thread(self._catalogue.all_awaiting, _SWEEP_ROWS, after):
            sizes = await self._objects.sizes([_place(promise) for promise in batch])
            for promise, size in zip(batch, sizes, strict=True):
                key = (promise.agency, promise.digest)
                if size is not None or key in self._uploads:
                    self._enqueue(key)
            after = batch[-1].entry_index

    async def _offer(self, upload_id: str) -> None:
        try:
            self.upload_completed(await asyncio.to_thread(self._staging.measure, upload_id))
        except (CollectorError, UploadError) as error:
            logger.warning("storing.unmeasurable code=%s upload=%s", error.code, upload_id)

    async def _settle(self, keys: Sequence[Key]) -> set[Key]:
        """Keep what can be kept of these keys' promises; returns the keys to be tried again."""
        failed: set[Key] = set()
        try:
            awaiting = await asyncio.to_thread(self._catalogue.promises_awaiting_all, keys)
            wanted = _wanted(awaiting)
            small = [want for want in wanted if want.size_bytes <= _SMALL_BYTES]
            large = [[want] for want in wanted if want.size_bytes > _SMALL_BYTES]
            await asyncio.gather(*(self._keep(group, failed) for group in ([small] if small else []) + large))
            if unasked := set(self._uploads.places(keys)) - {want.place for want in wanted}:
                await self._mend(unasked, failed)
            await self._give_up_staging([key for key in keys if key not in failed])
        except Exception as error:
            _report(error, keys)
            failed.update(keys)
        return failed

    async def _mend(self, places: Collection[Place], failed: set[Key]) -> None:
        """Bytes that nobody asked for may be what an object that was stored has lost. Where nothing was stored, they
        wait for their promise."""
        keys = {(agency, digest) for agency, _, digest in places}
        kept = _wanted(await asyncio.to_thread(self._catalogue.promises_kept_all, keys))
        again = [want for want in kept if want.place in places]
        sizes = await self._objects.sizes([want.place for want in again])
        for want, size in zip(again, sizes, strict=True):
            if size is None:
                await self._mender.report(want.place, OBJECT_MISSING)
        async with self._large:
            await self._make_objects(again, failed)

    async def _keep(self, wanted: Sequence[_Wanted], failed: set[Key]) -> None:
        try:
            async with self._small if wanted[0].size_bytes <= _SMALL_BYTES else self._large:
                held = await self._make_objects(wanted, failed)
            await self._say_stored([promise for want in held for promise in want.promises], failed)
        except Exception as error:
            _report(error, [want.key for want in wanted])
            failed.update(want.key for want in wanted)

    async def _make_objects(self, wanted: Sequence[_Wanted], failed: set[Key]) -> list[_Wanted]:
        """Those of the promised objects that lie durable and re-read in the store."""
        held: list[_Wanted] = []
        todo: list[_Wanted] = []
        sizes = await self._objects.sizes([want.place for want in wanted])
        for want, size in zip(wanted, sizes, strict=True):
            if size != want.size_bytes:
                todo.append(want)
            elif await self._is_whole(want, failed):
                held.append(want)
            elif want.key not in failed:
                todo.append(want)
        while todo:
            adopted, todo = await self._adopt(todo, failed)
            held += adopted
        await self._mender.made_whole([want.place for want in held])
        return held

    async def _is_whole(self, want: _Wanted, failed: set[Key]) -> bool:
        """False also for a damaged object, which is set aside if its bytes are here once more."""
        try:
            damage = await self._mender.judge(want.place)
            if damage is None:
                return True
            if self._uploads.find(want.key, want.size_bytes) is None:
                await self._mender.report(want.place, damage)
                failed.add(want.key)
            else:
                await self._mender.set_aside(want.place)
        except CollectorError as error:
            _report(error, [want.key])
            failed.add(want.key)
        return False

    async def _adopt(
        self, wanted: Sequence[_Wanted], failed: set[Key]
    ) -> tuple[list[_Wanted], list[_Wanted]]:
        """Those that became objects, and those whose staged bytes were no good: other bytes may be there."""
        found = [(want, self._uploads.find(want.key, want.size_bytes)) for want in wanted]
        sources = [(want, *source) for want, source in found if source is not None]
        outcomes = await self._objects.adopt_all(
            [
                Adoption(
                    path=blob.path,
                    place=want.place,
                    size_bytes=want.size_bytes,
                    sealed=blob.sealed,
                    passed=blob.passed,
                )
                for want, _, blob in sources
            ]
        )
        adopted, again = [], []
        for (want, upload_id, _), outcome in zip(sources, outcomes, strict=True):
            if outcome is None:
                adopted.append(want)
            elif isinstance(outcome, DigestMismatchError):
                await self._give_up_upload(upload_id, outcome)
                again.append(want)
            elif isinstance(outcome, ObjectCorruptError):  # what lies there under its name is not it
                await self._mender.set_aside(want.place)
                again.append(want)
            else:
                _report(outcome, [want.key])
                failed.add(want.key)
        return adopted, again

    async def _give_up_upload(self, upload_id: str, error: DigestMismatchError) -> None:
        logger.error("storing.staged_bytes_changed upload=%s %s", upload_id, error)
        self._uploads.forget(upload_id)
        await asyncio.to_thread(self._staging.remove, upload_id)

    async def _say_stored(self, promises: Sequence[Promise], failed: set[Key]) -> None:
        outcomes = await self._voice.say_all([self._stored(promise) for promise in promises])
        said = []
        for promise, outcome in zip(promises, outcomes, strict=True):
            if isinstance(outcome, ProtocolError):
                _report(outcome, [(promise.agency, promise.digest)])
                failed.add((promise.agency, promise.digest))
            else:
                said.append(promise)
        self._announce(said)

    def _stored(self, promise: Promise) -> Stored:
        header = self._voice.header(promise.agency)
        return Stored(
            header=header,
            digest=promise.digest,
            size_bytes=promise.size_bytes,
            purpose=promise.purpose,
            statement=promise.statement,
            stored_at=header.issued_at,
        )

    async def _give_up_staging(self, keys: Sequence[Key]) -> None:
        """An upload has served its purpose once all objects it was to become are there."""
        places = self._uploads.places(keys)
        sizes = await self._objects.sizes(places)
        stored = [place for place, size in zip(places, sizes, strict=True) if size is not None]
        for upload_id in self._uploads.note_stored(stored):
            await asyncio.to_thread(self._staging.settle, upload_id)
            self._uploads.forget(upload_id)


def _place(promise: Promise) -> Place:
    return promise.agency, CLASS_OF[promise.purpose], promise.digest


def _wanted(found: dict[Key, list[Promise]]) -> list[_Wanted]:
    by_object: dict[tuple[Place, int], list[Promise]] = {}
    for promises in found.values():
        for promise in promises:
            by_object.setdefault((_place(promise), promise.size_bytes), []).append(promise)
    return [
        _Wanted(place=place, size_bytes=size_bytes, promises=tuple(promises))
        for (place, size_bytes), promises in by_object.items()
    ]


def _report(error: Exception, keys: Collection[Key]) -> None:
    digests = [str(digest) for _, digest in keys][:1]
    if isinstance(error, CollectorError | ProtocolError):
        logger.warning("storing.failed code=%s count=%d digest=%s", error.code, len(keys), *digests)
    else:
        logger.error("storing.crashed count=%d digest=%s", len(keys), *digests, exc_info=error)
