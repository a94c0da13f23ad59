"""The sequencer: the one place where statements enter the log.

Statements wait at most ``interval_s`` for company and are committed together. The order of one batch:
decide, payloads durable, entries and checkpoint durable, catalogue. A failure anywhere answers everybody in the
batch with a retryable error; before the next batch the sequencer takes up whatever did become durable, so that a
statement that was "reported failed but stored" is recognised when it comes again. A batch once begun is finished
and answered even if the sequencer is cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from collector.catalogue import Catalogue, LoggedStatement
from collector.core.admission import Candidate, Known, Refuse
from collector.core.sequencing import BatchPlan, Question, ends_batch, plan_batch, split_batches
from collector.errors import CollectorError, StorageError
from collector.log.tile_files import LogForkError
from collector.log.writer import LogWriter
from collector.logged import read_logged
from collector.objects import ObjectClass, ObjectStore
from protocol.digest import Digest
from protocol.keyring import KeyRecord
from protocol.statements import Stored

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 512
"""Entries per checkpoint: two full tiles; beyond it a bigger batch saves next to nothing for each entry."""

MAX_WAIT_S: Final = 30.0
"""How long a sender waits for its answer: shorter than senders' own patience, and what bounds the number of those
waiting while the log cannot be written."""

_QUEUE: Final = 4096
"""Senders waiting in line; a sender brings up to ``MAX_BATCH`` statements."""

_CATCH_UP_ENTRIES: Final = 1000
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0

Decision = Known | Refuse


class SequencerStoppedError(CollectorError):
    """The collector is shutting down; the sender keeps the statement and tries again."""

    code = "collector-stopping"
    retryable = True
    status = 503


class LogBusyError(CollectorError):
    """The log did not take the statement in time. It may do so yet: the sender tries again and will be told."""

    code = "log-busy"
    retryable = True
    status = 503


class LogRolledBackError(LogForkError):
    """The log ends before what was committed to it: an old copy was put back. Going on would fork it."""

    code = "log-rolled-back"


@dataclass(slots=True)
class _Waiting:
    candidates: Sequence[Candidate]
    answer: asyncio.Future[list[Decision]] = field(repr=False)


class Sequencer:
    """Commits candidates to the log. ``run`` is its only task; log and catalogue are written by it alone."""

    def __init__(
        self,
        *,
        log: LogWriter,
        objects: ObjectStore,
        catalogue: Catalogue,
        clock: Callable[[], datetime],
        interval_s: float = 0.02,
        max_wait_s: float = MAX_WAIT_S,
        on_committed: Callable[[Sequence[LoggedStatement]], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._objects = objects
        self._catalogue = catalogue
        self._clock = clock
        self._interval_s = interval_s
        self._max_wait_s = max_wait_s
        self._on_committed = on_committed
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(_QUEUE)
        self._stopped = False
        self._recovering = False

    @property
    def works(self) -> bool:
        """False once stopped, and from a failed batch until log and catalogue are in order again."""
        return not (self._stopped or self._recovering)

    async def submit(self, candidate: Candidate) -> Decision:
        """Decide and commit. Known means: durable in the log at this index. Raises CollectorError, retryable."""
        (decision,) = await self.submit_all([candidate])
        return decision

    async def submit_all(self, candidates: Sequence[Candidate]) -> list[Decision]:
        """As ``submit`` for many, in their order. If it raises, some of them may be in the log all the same."""
        parts = [self._submit_part(part) for part in split_batches(candidates, MAX_BATCH)]
        return [decision for part in await asyncio.gather(*parts) for decision in part]

    async def _submit_part(self, candidates: Sequence[Candidate]) -> list[Decision]:
        waiting = _Waiting(candidates, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._max_wait_s):
                self._check_running()
                await self._queue.put(waiting)
                self._check_running()  # it may have stopped while the queue was full; nobody empties it then
                return await waiting.answer
        except TimeoutError as error:
            raise LogBusyError("the log cannot take the statement now") from error

    def _check_running(self) -> None:
        if self._stopped:
            raise SequencerStoppedError("the collector is stopping")

    async def run(self) -> None:
        """Commit batches until cancelled. Raises LogForkError when somebody else has written the log."""
        batch: list[_Waiting] = []
        try:
            while True:
                await self._gather(batch)
                await self._commit(batch)
                batch.clear()
        finally:
            self._stopped = True
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            _fail(batch, SequencerStoppedError("the collector is stopping"))

    async def _gather(self, batch: list[_Waiting]) -> None:
        batch.append(await self._queue.get())
        size = len(batch[-1].candidates)
        if size < MAX_BATCH:
            await asyncio.sleep(self._interval_s)
        with suppress(asyncio.QueueEmpty):
            while size < MAX_BATCH and not ends_batch(batch[-1].candidates[-1]):
                batch.append(self._queue.get_nowait())
                size += len(batch[-1].candidates)

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        candidates = [candidate for waiting in batch for candidate in waiting.candidates]
        work = asyncio.create_task(self._commit_durably(candidates), name="commit")
        cancelled = await _wait_out(work)
        failure = work.exception()
        if failure is None:
            self._answer(batch, *work.result())
        else:
            logger.error("log.batch_failed size=%d", len(candidates), exc_info=failure)
            _fail(batch, _retryable(failure))
        if cancelled:
            raise asyncio.CancelledError
        if failure is not None:
            await self._recover_after(failure)

    def _answer(
        self, batch: Sequence[_Waiting], decisions: Sequence[Decision], committed: Sequence[LoggedStatement]
    ) -> None:
        rest = iter(decisions)
        for waiting in batch:
            own = list(islice(rest, len(waiting.candidates)))
            if not waiting.answer.done():
                waiting.answer.set_result(own)
        if committed:
            self._on_committed(committed)

    async def _commit_durably(
        self, candidates: Sequence[Candidate]
    ) -> tuple[Sequence[Decision], Sequence[LoggedStatement]]:
        first = self._log.checkpoint.size
        plan = await asyncio.to_thread(self._plan, candidates, first)
        if damaged := await self._store_payloads(plan.admitted):
            plan = await asyncio.to_thread(self._plan, candidates, first, damaged)
        if not plan.admitted:
            return plan.decisions, []
        committed = [
            LoggedStatement(index=first + place, entry=candidate.entry, statement=candidate.statement)
            for place, candidate in enumerate(plan.admitted)
        ]
        await asyncio.to_thread(self._log_durably, committed)
        return plan.decisions, committed

    def _log_durably(self, committed: Sequence[LoggedStatement]) -> None:
        self._log.append([logged.entry.to_bytes() for logged in committed])
        self._catalogue.apply(committed)

    async def _store_payloads(self, admitted: Sequence[Candidate]) -> frozenset[Digest]:
        """Ids of the statements whose payload cannot be stored because a damaged object, from a batch that was never
        committed, has its name. It must not keep the others waiting."""
        payloads = [(candidate.entry.agency, candidate.envelope.payload) for candidate in admitted]
        outcomes = await self._objects.put_all(ObjectClass.STATEMENTS, payloads)
        damaged = set()
        for candidate, outcome in zip(admitted, outcomes, strict=True):
            if outcome is not None:
                logger.error("log.payload_damaged statement=%s code=%s", candidate.id, outcome.code)
                damaged.add(candidate.id)
        return frozenset(damaged)

    # --- what the log says already; in a worker thread ---------------------------------------------------------

    def _plan(
        self, candidates: Sequence[Candidate], next_index: int, damaged: frozenset[Digest] = frozenset()
    ) -> BatchPlan:
        signers = {(candidate.entry.key_id, candidate.entry.agency) for candidate in candidates}
        records = {signer: self._catalogue.key_record(*signer) for signer in signers}
        places = self._catalogue.entry_indices(
            [(candidate.entry.key_id, candidate.id) for candidate in candidates]
        )
        answered = self._answered(candidates, records)
        questions = [
            Question(
                candidate=candidate,
                record=records[candidate.entry.key_id, candidate.entry.agency],
                known_index=places.get((candidate.entry.key_id, candidate.id), answered.get(candidate.id)),
                damaged=candidate.id in damaged,
            )
            for candidate in candidates
        ]
        plan = plan_batch(questions, next_index=next_index, now=self._clock())
        for candidate in plan.implausible:
            logger.warning("admission.implausible_time station=%s", candidate.statement.header.signer)
        return plan

    def _answered(
        self, candidates: Sequence[Candidate], records: Mapping[tuple[str, str], KeyRecord | None]
    ) -> dict[Digest, int]:
        """Ids of ``stored`` whose promise is answered already, and where. Only collectors' keys do that: a station
        that says ``stored`` must not be told that it stands in the log."""
        promises: dict[Digest, Digest] = {}
        for candidate in candidates:
            record = records[candidate.entry.key_id, candidate.entry.agency]
            if isinstance(candidate.statement, Stored) and record and record.role == "collector":
                promises[candidate.id] = candidate.statement.statement
        found = self._catalogue.stored_indices(set(promises.values()))
        return {own: found[promise] for own, promise in promises.items() if promise in found}

    # --- after a failure, and at the start ---------------------------------------------------------------------

    async def recover(self) -> None:
        """Take up the durable log and bring the catalogue up to it. Call once before ``run``.

        Raises LogRolledBackError, ProtocolError for a damaged log, StorageError.
        """
        async for _ in self._catch_up():
            pass

    async def _recover_after(self, failure: BaseException) -> None:
        """Does not return before everything durable is known. Raises LogForkError."""
        if isinstance(failure, LogForkError):
            raise failure
        self._recovering, pause_s = True, _FIRST_PAUSE_S
        while self._recovering:
            try:
                async for batch in self._catch_up():
                    self._on_committed(batch)
                self._recovering = False
            except LogForkError:
                raise
            except Exception:
                logger.exception("log.recovery_failed")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _catch_up(self) -> AsyncIterator[Sequence[LoggedStatement]]:
        """Yields what the log has and the catalogue had not."""
        await asyncio.to_thread(self._log.reload)
        size = self._log.checkpoint.size
        while (start := await asyncio.to_thread(self._catalogue.projected_size)) != size:
            if start > size:
                raise LogRolledBackError(f"the log has {size} entries, {start} were committed to it")
            end = min(size, start + _CATCH_UP_ENTRIES)
            entries = await asyncio.to_thread(list, self._log.entries(start, end))
            batch = await asyncio.gather(
                *(read_logged(self._objects, index, data) for index, data in entries)
            )
            await asyncio.to_thread(self._catalogue.apply, batch)
            yield batch


async def _wait_out(work: asyncio.Task[object]) -> bool:
    """Waits until the work is over, whatever happens; whether this task was cancelled meanwhile."""
    cancelled = False
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


def _fail(batch: Sequence[_Waiting], error: CollectorError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _retryable(failure: BaseException) -> CollectorError:
    """What senders are told: nothing of a failed batch is their fault."""
    if isinstance(failure, StorageError):
        return failure
    error = StorageError("the log could not be written")
    error.__cause__ = failure
    return error
