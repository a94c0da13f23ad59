"""Bounded workers over the shipments of the journal.

They come from the journal each time, so nothing is lost with the process; in memory is only when one that failed may
be tried again. Each has at most one worker. A failure that is the collector's own closes the gate for all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from agent.core.retry import Backoff, Report, decide_retry
from agent.core.uplink import Choice, choose_shipments
from agent.doorbells import Doorbell
from agent.errors import AgentError
from agent.spool.errors import JournalError
from agent.spool.records import Shipment
from agent.uplink.patience import Gate, Random, failure_of, rang_or_ended
from agent.uplink.state import UplinkState
from protocol.errors import ForkError

WINDOW: Final = 320
"""Deliveries looked at together: enough to fill a bundle with photographs, small in memory."""

PERIOD_S: Final = 30.0
"""Look at the journal at least so often, bell or not."""

REFRESH_S: Final = 0.05
"""Least time between two looks: thousands of photos ring the bell, and a look costs milliseconds."""

_log = logging.getLogger(__name__)

Fetch = Callable[[int, Collection[str]], list[Shipment]]
"""What is to be sent, in order, made of at most so many deliveries; the keys of what is being sent are given. Called in
a thread."""

Act = Callable[[Shipment], Awaitable[None]]
"""Send it. Returns when nothing is left to do for it, or when it is to be regrouped."""


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
    """Starts up to ``slots`` tasks, named after ``name`` and what they send."""

    def __init__(
        self, *, name: str, slots: int, bell: Doorbell, fetch: Fetch, act: Act, shared: Circumstances
    ) -> None:
        self._name = name
        self._slots = slots
        self._bell = bell
        self._fetch = fetch
        self._act = act
        self._shared = shared
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, _Turns] = {}
        self._rows: dict[str, Shipment] = {}
        self._fetched_at = float("-inf")

    def forget(self, key: str) -> None:
        """It is settled: whatever is being done for it has become pointless."""
        self._rows.pop(key, None)
        self._turns.pop(key, None)
        task = self._busy.get(key)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def retry_all(self) -> None:
        """Everything may be tried at once again."""
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
        for shipment in choice.start:
            self._start(tasks, shipment)
        return choice.wait_s

    def _choose(self, free: int) -> Choice:
        return choose_shipments(
            list(self._rows.values()),
            busy=self._busy.keys(),
            due_s={key: turns.due_s for key, turns in self._turns.items()},
            now_s=time.monotonic(),
            free=free,
            period_s=PERIOD_S,
        )

    async def _refresh(self) -> None:
        shipments = await asyncio.to_thread(self._fetch, WINDOW, frozenset(self._busy))
        self._fetched_at = time.monotonic()
        self._rows = {shipment.key: shipment for shipment in shipments}
        known = self._rows.keys() | self._busy.keys()
        self._turns = {key: turns for key, turns in self._turns.items() if key in known}

    def _start(self, tasks: asyncio.TaskGroup, shipment: Shipment) -> None:
        task = tasks.create_task(self._work(shipment), name=f"{self._name} {shipment.key[-64:][:12]}")
        self._busy[shipment.key] = task
        task.add_done_callback(lambda _: self._end(shipment.key))

    def _end(self, key: str) -> None:
        self._busy.pop(key, None)

    async def _work(self, shipment: Shipment) -> None:
        turns = self._turns.setdefault(shipment.key, _Turns())
        turns.taken += 1
        try:
            await self._act(shipment)
        except ForkError:
            return  # the watch has raised the alarm and halts this loop
        except JournalError:
            raise  # nothing can be relied on any more: the service ends
        except AgentError as error:
            self._note_failure(shipment, turns, error)
            return
        self._shared.gate.note_answer()
        self._rows.pop(shipment.key, None)
        self._turns.pop(shipment.key, None)

    def _note_failure(self, shipment: Shipment, turns: _Turns, error: AgentError) -> None:
        failure, shared = failure_of(error), self._shared
        _log.info(
            "delivery-failed",
            extra={
                "task": self._name,
                "shipment": shipment.key,
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
            shared.state.report(failure.code, failure.detail, shipment.deliveries[0].statement)
