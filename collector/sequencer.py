"""The sequencer: the one place where statements enter the log.

Statements wait at most ``interval_s`` for company and are committed together. The order of one batch:
decide, payloads durable, entries and checkpoint durable, catalogue. A failure anywhere answers everybody in the
batch with a retryable error; before the next batch the sequencer takes up whatever did become durable, so that a
statement that was "reported failed but stored" is recognised when it comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from collector.catalogue import Catalogue, LoggedStatement
from collector.core.admission import Admit, Candidate, Known, Refuse, decide_admission
from collector.errors import CollectorError, StorageError
from collector.log.tile_files import LogForkError
from collector.log.writer import LogWriter
from collector.objects import ObjectClass, ObjectStore
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.statements import Stored, parse_statement

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 256
"""Entries per checkpoint: one full tile; beyond it a bigger batch saves no further fsync."""

_QUEUE_ENTRIES: Final = 4096
_CATCH_UP_ENTRIES: Final = 1000

Decision = Known | Refuse


class SequencerStoppedError(CollectorError):
    """The collector is shutting down; the sender keeps the statement and tries again."""

    code = "collector-stopping"
    retryable = True
    status = 503


@dataclass(slots=True)
class _Waiting:
    candidate: Candidate
    answer: asyncio.Future[Decision] = field(repr=False)


class Sequencer:
    """Commits candidates to the log. ``run`` is its only task; everything it touches is touched by it alone."""

    def __init__(
        self,
        *,
        log: LogWriter,
        objects: ObjectStore,
        catalogue: Catalogue,
        clock: Callable[[], datetime],
        interval_s: float = 0.02,
        on_committed: Callable[[Sequence[LoggedStatement]], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._objects = objects
        self._catalogue = catalogue
        self._clock = clock
        self._interval_s = interval_s
        self._on_committed = on_committed
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(_QUEUE_ENTRIES)
        self.stopped = False

    async def submit(self, candidate: Candidate) -> Decision:
        """Decide and commit. Known means: durable in the log at this index. Raises CollectorError, retryable."""
        if self.stopped:
            raise SequencerStoppedError("the collector is stopping")
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Waiting(candidate, answer))
        return await answer

    async def run(self) -> None:
        """Commit batches until cancelled. Raises LogForkError when somebody else has written the log."""
        try:
            while True:
                batch = await self._next_batch()
                await self._commit(batch)
        finally:
            self.stopped = True
            while not self._queue.empty():
                self._fail([self._queue.get_nowait()], SequencerStoppedError("the collector is stopping"))

    async def _next_batch(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        await asyncio.sleep(self._interval_s)
        with suppress(asyncio.QueueEmpty):
            while len(batch) < MAX_BATCH:
                batch.append(self._queue.get_nowait())
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            work = asyncio.ensure_future(self._commit_durably([waiting.candidate for waiting in batch]))
            decisions, committed = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._fail(batch, SequencerStoppedError("the collector is stopping"))
            raise
        except LogForkError as error:
            self._fail(batch, error)
            raise
        except Exception as error:
            logger.exception("log.batch_failed size=%d", len(batch))
            self._fail(batch, error if isinstance(error, CollectorError) else StorageError("commit failed"))
            await self._recover_patiently()
            return
        for waiting, decision in zip(batch, decisions, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(decision)
        if committed:
            self._on_committed(committed)

    async def _recover_patiently(self) -> None:
        pause_s = 0.1
        while True:
            try:
                await self.recover()
            except LogForkError:
                raise
            except Exception:
                logger.exception("log.recovery_failed")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 10.0)
            else:
                return

    @staticmethod
    def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)

    async def _commit_durably(
        self, candidates: Sequence[Candidate]
    ) -> tuple[list[Decision], list[LoggedStatement]]:
        decisions, admitted = await asyncio.to_thread(self._decide_all, candidates)
        if not admitted:
            return decisions, []
        await asyncio.gather(*(self._store_payload(candidate) for candidate in admitted))
        first = self._log.checkpoint.size
        committed = [
            LoggedStatement(index=first + place, entry=candidate.entry, statement=candidate.statement)
            for place, candidate in enumerate(admitted)
        ]
        await asyncio.to_thread(self._log.append, [logged.entry.to_bytes() for logged in committed])
        await self._project(committed)
        return decisions, committed

    async def _store_payload(self, candidate: Candidate) -> None:
        await self._objects.put_bytes(
            candidate.entry.agency, ObjectClass.STATEMENTS, candidate.envelope.payload
        )

    async def _project(self, batch: Sequence[LoggedStatement]) -> None:
        await asyncio.to_thread(self._catalogue.apply, batch)

    def _decide_all(self, candidates: Sequence[Candidate]) -> tuple[list[Decision], list[Candidate]]:
        now, next_index = self._clock(), self._log.checkpoint.size
        fresh: dict[tuple[str, Digest], int] = {}
        decisions: list[Decision] = []
        admitted: list[Candidate] = []
        for candidate in candidates:
            identity = _identity(candidate)
            decision = self._decide(candidate, fresh.get(identity), now)
            if isinstance(decision, Admit):
                fresh[identity] = next_index + len(admitted)
                decision = Known(index=fresh[identity])
                admitted.append(candidate)
            decisions.append(decision)
        return decisions, admitted

    def _decide(self, candidate: Candidate, fresh_index: int | None, now: datetime) -> Admit | Decision:
        entry = candidate.entry
        known = self._known_index(candidate) if fresh_index is None else fresh_index
        record = self._catalogue.key_record(entry.key_id, entry.agency)
        decision = decide_admission(candidate, record=record, known_index=known, now=now)
        if isinstance(decision, Admit) and decision.implausible_time:
            logger.warning("admission.implausible_time station=%s", candidate.statement.header.signer)
        return decision

    def _known_index(self, candidate: Candidate) -> int | None:
        if isinstance(candidate.statement, Stored):
            promise = self._catalogue.promise(candidate.statement.statement)
            return None if promise is None else promise.stored_index
        return self._catalogue.entry_index(candidate.entry.key_id, candidate.id)

    async def recover(self) -> None:
        """Take up the durable log and bring the catalogue up to it. Call once before ``run``."""
        await asyncio.to_thread(self._log.reload)
        size = self._log.checkpoint.size
        while (start := await asyncio.to_thread(self._catalogue.projected_size)) < size:
            end = min(size, start + _CATCH_UP_ENTRIES)
            entries = await asyncio.to_thread(list, self._log.entries(start, end))
            await self._project([await self._logged(index, data) for index, data in entries])

    async def _logged(self, index: int, data: bytes) -> LoggedStatement:
        entry = LogEntry.from_bytes(data)
        payload = await self._objects.read(entry.agency, ObjectClass.STATEMENTS, entry.statement)
        return LoggedStatement(index=index, entry=entry, statement=parse_statement(payload))


def _identity(candidate: Candidate) -> tuple[str, Digest]:
    """What may stand in the log once: a statement by its signer, and one ``stored`` for each promise."""
    if isinstance(candidate.statement, Stored):
        return ("stored", candidate.statement.statement)
    return (candidate.entry.key_id, candidate.id)
