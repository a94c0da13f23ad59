"""Bounded workers over journal rows: what both halves of the delivery loop have in common.

Rows come from the journal each time, so nothing is lost with the process; in memory is only when a row that failed
may be tried again. Each row has at most one worker. A failure that is the collector's own closes the gate for all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from agent.core.retry import Backoff, Report, decide_retry
from agent.core.uplink import Choice, choose_deliveries
from agent.doorbells import Doorbell
from agent.errors import AgentError
from agent.spool.errors import JournalError
from agent.spool.records import Delivery
from agent.uplink.patience import Gate, Random, failure_of, rang_or_ended
from agent.uplink.state import UplinkState
from protocol.digest import Digest
from protocol.errors import ForkError

WINDOW: Final = 256
"""Rows looked at together: more than any number of slots, small in memory."""

PERIOD_S: Final = 30.0
"""Look at the journal at least so often, bell or not."""

REFRESH_S: Final = 0.05
"""Least time between two looks: thousands of photos ring the bell, and a look costs milliseconds."""

_log = logging.getLogger(__name__)

Fetch = Callable[[int], list[Delivery]]
"""Open rows from the journal, in order, at most so many; called in a thread."""

Act = Callable[[Delivery, int], Awaitable[float | None]]
"""Work on a row for the n-th time in a row: None when it is done with, or seconds until it wants another turn."""


@dataclass(slots=True)
class _Turns:
    """How often a row was worked on without coming to an end, and when it may be again."""

    taken: int = 0
    due_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What all workers of a station share."""

    gate: Gate
    backoff: Backoff
    state: UplinkState
    random: Random
    halted: Callable[[], bool]


class Workers:
    """Starts up to ``slots`` tasks, named after ``name`` and the row's digest."""

    def __init__(
        self, *, name: str, slots: int, bell: Doorbell, fetch: Fetch, act: Act, shared: Circumstances
    ) -> None:
        self._name = name
        self._slots = slots
        self._bell = bell
        self._fetch = fetch
        self._act = act
        self._shared = shared
        self._busy: dict[Digest, asyncio.Task[None]] = {}
        self._turns: dict[Digest, _Turns] = {}
        self._rows: dict[Digest, Delivery] = {}
        self._fetched_at = float("-inf")

    def forget(self, statement: Digest) -> None:
        """The row is settled: whatever is being done for it has become pointless."""
        self._rows.pop(statement, None)
        self._turns.pop(statement, None)
        task = self._busy.get(statement)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def retry_all(self) -> None:
        """Every row may be tried at once again."""
        self._turns.clear()
        self._shared.gate.hurry()
        self._bell.ring()

    async def run(self) -> None:
        """Ends only by being cancelled, or by an error nobody foresaw."""
        rang = True
        async with asyncio.TaskGroup() as tasks:
            while True:
                if self._shared.halted():
                    self._stop_all()
                    wait_s = PERIOD_S
                else:
                    wait_s = await self._start_due(tasks, rang)
                rang = await rang_or_ended(self._bell, self._busy.values(), wait_s)
                if rang:
                    self._shared.gate.hurry()

    def _stop_all(self) -> None:
        for task in self._busy.values():
            task.cancel()

    async def _start_due(self, tasks: asyncio.TaskGroup, rang: bool) -> float:
        free = self._slots - len(self._busy)
        gate_s = self._shared.gate.wait_s()
        if gate_s > 0 or free == 0:
            return gate_s or PERIOD_S
        choice = self._choose(free)
        fresh_s = self._fetched_at + REFRESH_S - time.monotonic()
        if not choice.start and fresh_s > 0:
            return min(choice.wait_s, fresh_s)
        if not choice.start or (rang and fresh_s <= 0):
            await self._refresh()
            choice = self._choose(free)
        for row in choice.start:
            self._start(tasks, row)
        return choice.wait_s

    def _choose(self, free: int) -> Choice:
        return choose_deliveries(
            list(self._rows.values()),
            busy=self._busy.keys(),
            due_s={statement: turns.due_s for statement, turns in self._turns.items()},
            now_s=time.monotonic(),
            free=free,
            period_s=PERIOD_S,
        )

    async def _refresh(self) -> None:
        rows = await asyncio.to_thread(self._fetch, WINDOW)
        self._fetched_at = time.monotonic()
        self._rows = {row.statement: row for row in rows}
        self._turns = {key: turns for key, turns in self._turns.items() if key in self._rows}

    def _start(self, tasks: asyncio.TaskGroup, row: Delivery) -> None:
        task = tasks.create_task(self._work(row), name=f"{self._name} {row.digest.hex[:12]}")
        self._busy[row.statement] = task
        task.add_done_callback(lambda _: self._end(row.statement))

    def _end(self, statement: Digest) -> None:
        self._busy.pop(statement, None)

    async def _work(self, row: Delivery) -> None:
        turns = self._turns.setdefault(row.statement, _Turns())
        turns.taken += 1
        try:
            wait_s = await self._act(row, turns.taken)
        except ForkError:
            return  # the watch has raised the alarm and halts this loop
        except JournalError:
            raise  # nothing can be relied on any more: the service ends
        except AgentError as error:
            self._note_failure(row, turns, error)
            return
        self._shared.gate.note_answer()
        if wait_s is None:
            self._rows.pop(row.statement, None)
            self._turns.pop(row.statement, None)
        else:
            turns.due_s = time.monotonic() + wait_s

    def _note_failure(self, row: Delivery, turns: _Turns, error: AgentError) -> None:
        failure, shared = failure_of(error), self._shared
        _log.info(
            "delivery-failed",
            extra={
                "task": self._name,
                "digest": str(row.digest),
                "code": failure.code,
                "detail": failure.detail,
            },
        )
        if failure.everywhere:
            turns.taken -= 1
            shared.gate.note_failure(failure)
            return
        verdict = decide_retry(failure, attempt=turns.taken, unit=shared.random(), backoff=shared.backoff)
        turns.due_s = time.monotonic() + verdict.delay_s
        if isinstance(verdict, Report):
            shared.state.report(failure.code, failure.detail, row.statement)
