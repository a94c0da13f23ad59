"""The outbox: signed statements go out by MQTT, and by HTTP where no admission comes or no broker is there.

A row leaves the outbox only by the collector's signed answer (``agent.uplink.admissions``). Being killed, cut off or
answered twice costs a repetition and nothing else: the collector recognises a statement by its signer and id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from agent.broker.errors import BrokerError, BrokerUnavailableError
from agent.broker.port import Broker
from agent.core.retry import Failure
from agent.core.uplink import StatementPace, StatementPlan, Ways, plan_statements, split_batches
from agent.doorbells import Doorbell
from agent.spool.journal import Journal
from agent.spool.records import OutboxRow
from agent.uplink.admissions import AdmissionDesk
from agent.uplink.errors import AdmissionInvalidError, CollectorProblemError, UplinkError
from agent.uplink.patience import Gate, failure_of, rang
from agent.uplink.state import Clock, UplinkState
from protocol.topics import Channel, Topic

WINDOW: Final = 256
"""Rows looked at together: bounds memory (16 MiB of the largest statements) and what waits for admission."""

PUBLISH_TOGETHER: Final = 16
"""Publishes begun, in order, before the first is acknowledged; below the bus's own limit in flight."""

POSTS_TOGETHER: Final = 4
"""Requests at a time: each waits for a commit of the log."""

LEAST_PERIOD_S: Final = 0.05
"""Between two looks at the outbox: every admission rings the bell, and a look costs milliseconds."""

_log = logging.getLogger(__name__)


class StatementCollector(Protocol):
    """What the outbox needs of the collector."""

    async def post_statements(self, envelopes: Sequence[bytes]) -> bytes: ...


class StatementLoop:
    """One per station. ``run`` ends only by being cancelled."""

    def __init__(
        self,
        *,
        journal: Journal,
        broker: Broker | None,
        collector: StatementCollector,
        admissions: AdmissionDesk,
        station: str,
        bell: Doorbell,
        gate: Gate,
        state: UplinkState,
        now: Clock,
        pace: StatementPace | None = None,
    ) -> None:
        self._journal = journal
        self._broker = broker
        self._collector = collector
        self._admissions = admissions
        self._station = station
        self._bell = bell
        self._gate = gate
        self._state = state
        self._now = now
        self._pace = pace or StatementPace()
        self._hurry = False
        self._looked_at = float("-inf")

    def hurry(self) -> None:
        """A way has opened: offer everything again at once."""
        self._hurry = True
        self._gate.hurry()
        self._bell.ring()

    async def run(self) -> None:
        while True:
            plan = await self._plan()
            left = await self._publish(plan.publish)
            answered = await self._post([*left, *plan.post])
            if answered or len(left) < len(plan.publish):
                continue
            if await rang(self._bell, min(plan.wait_s, self._gate.wait_s() or plan.wait_s)):
                self._gate.hurry()
                await self._rest()

    async def _rest(self) -> None:
        """Rings that come together are answered together."""
        since_s = time.monotonic() - self._looked_at
        if since_s < LEAST_PERIOD_S:
            await asyncio.sleep(LEAST_PERIOD_S - since_s)

    async def _plan(self) -> StatementPlan:
        self._looked_at = time.monotonic()
        hurry, self._hurry = self._hurry, False
        now = self._now()
        resting = None if hurry else (now - timedelta(seconds=self._pace.admission_wait_s), now)
        rows = await asyncio.to_thread(self._journal.unsettled_statements, WINDOW, resting=resting)
        ways = Ways(
            broker=self._broker is not None and self._broker.connected,
            http=self._gate.wait_s() == 0,
            http_failing=self._gate.failing,
        )
        return plan_statements(rows, now=now, ways=ways, pace=self._pace, hurry=hurry)

    async def _publish(self, rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
        """Those the broker did not acknowledge, once it proves to be gone."""
        for start in range(0, len(rows), PUBLISH_TOGETHER):
            group = rows[start : start + PUBLISH_TOGETHER]
            outcomes = await asyncio.gather(*(self._publish_one(row) for row in group))
            await self._note_sent([row for row, taken in zip(group, outcomes, strict=True) if taken])
            if not all(outcomes):
                lost = [row for row, taken in zip(group, outcomes, strict=True) if not taken]
                return [*lost, *rows[start + PUBLISH_TOGETHER :]]
        return ()

    async def _publish_one(self, row: OutboxRow) -> bool:
        """False when the broker is gone. One it refuses counts as sent, so that HTTP takes it up in its turn."""
        if self._broker is None:
            return False
        topic = Topic(agency=row.agency, station=self._station, channel=Channel.STATEMENTS)
        try:
            await self._broker.publish(str(topic), row.envelope)
        except BrokerUnavailableError as error:
            _log.info(
                "statement-not-published", extra={"statement": str(row.statement), "detail": str(error)}
            )
            return False
        except BrokerError as error:
            self._state.report(error.code, str(error), row.statement)
        return True

    async def _post(self, rows: Sequence[OutboxRow]) -> int:
        """How many the collector answered for; none while it is known not to answer."""
        answered = 0
        if self._gate.wait_s() > 0:
            return 0
        batches = list(split_batches(rows))
        for start in range(0, len(batches), POSTS_TOGETHER):
            group = batches[start : start + POSTS_TOGETHER]
            outcomes = await asyncio.gather(*map(self._post_batch, group), return_exceptions=True)
            answered += sum(outcome for outcome in outcomes if isinstance(outcome, int))
            failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            for failure in failures:
                if not isinstance(failure, UplinkError):
                    raise failure
                self._gate.note_failure(failure_of(failure))
            if failures:
                break
        return answered

    async def _post_batch(self, batch: Sequence[OutboxRow]) -> int:
        """Raises UplinkError for failures that are not this batch's own."""
        try:
            answer = await self._collector.post_statements([row.envelope for row in batch])
        except CollectorProblemError as error:
            failure = failure_of(error)
            if failure.retryable:
                raise
            self._gate.note_answer()
            return await self._narrow(batch, failure)
        self._gate.note_answer()
        await self._note_sent(batch)
        try:
            await self._admissions.accept(answer)
        except AdmissionInvalidError as error:
            self._state.report(error.code, str(error))
            raise
        return len(batch)

    async def _narrow(self, batch: Sequence[OutboxRow], failure: Failure) -> int:
        """One statement must not hold up its neighbours: halve the batch until it stands alone. It is not settled,
        since nobody has signed that it is refused, and it is reported."""
        if len(batch) == 1:
            self._state.report(failure.code, failure.detail, batch[0].statement)
            await self._note_sent(batch)
            return 1
        half = len(batch) // 2
        return await self._post_batch(batch[:half]) + await self._post_batch(batch[half:])

    async def _note_sent(self, rows: Sequence[OutboxRow]) -> None:
        if rows:
            statements = [row.statement for row in rows]
            await asyncio.to_thread(self._journal.note_sent, statements, self._now())
