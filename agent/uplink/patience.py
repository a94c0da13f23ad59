"""Patience as the loops share it: when the collector may be asked again, and waiting that ends at once for news."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from agent.core.retry import Backoff, Failure, decide_retry
from agent.doorbells import Doorbell
from agent.errors import AgentError
from agent.uplink.errors import CollectorAwayError, CollectorProblemError
from agent.uplink.state import UplinkState

MIN_GAP_S: Final = 1.0
"""Between a failure and the next try, however often the bell rings: a photo is read every few milliseconds."""

Random = Callable[[], float]
"""A number in [0, 1)."""


def failure_of(error: AgentError) -> Failure:
    """What the pure rules need to know of an error."""
    if isinstance(error, CollectorProblemError):
        return Failure(
            code=error.problem,
            detail=str(error),
            retryable=error.can_retry,
            everywhere=error.status >= 500 or error.status == 429,
            retry_after_s=error.retry_after_s,
        )
    return Failure(
        code=error.code,
        detail=str(error),
        retryable=error.retryable,
        everywhere=isinstance(error, CollectorAwayError),
    )


class Gate:
    """Closed for a while after each failure of the collector itself, open after each answer."""

    def __init__(
        self,
        state: UplinkState,
        random: Random,
        backoff: Backoff,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._random = random
        self._backoff = backoff
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0
        self._opens_at = 0.0

    @property
    def failing(self) -> bool:
        return self._failures > 0

    def wait_s(self) -> float:
        """Until the next try; 0 when it may be now."""
        return max(0.0, self._opens_at - self._clock())

    def note_answer(self) -> None:
        self._failures, self._opens_at = 0, 0.0
        self._state.note_answer()

    def note_failure(self, failure: Failure) -> None:
        """A failure that is not one item's own. Failures of tries begun together count once."""
        self._state.note_away(failure)
        if self.wait_s() > 0:
            return
        self._failures += 1
        verdict = decide_retry(failure, attempt=self._failures, unit=self._random(), backoff=self._backoff)
        self._failed_at = self._clock()
        self._opens_at = self._failed_at + min(verdict.delay_s, self._backoff.cap_s)

    def hurry(self) -> None:
        """There is news: try again as soon as decency allows."""
        self._opens_at = min(self._opens_at, self._failed_at + MIN_GAP_S)


async def rang(bell: Doorbell, wait_s: float) -> bool:
    """Wait for the bell; False when it stayed silent for the whole time."""
    clock = asyncio.get_running_loop().time
    ends_at = clock() + wait_s
    await bell.wait(wait_s)
    return clock() < ends_at


async def rang_or_ended(bell: Doorbell, tasks: Iterable[asyncio.Task[None]], wait_s: float) -> bool:
    """Until the bell rings, one of the tasks ends, or the time is over; whether it was the bell."""
    listening = asyncio.create_task(rang(bell, wait_s), name="doorbell")
    try:
        await asyncio.wait({listening, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        return listening.done() and listening.result()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
