"""When to try again: a pure function of what failed, how often, and a random number the caller brings.

Patience has no end: a collector that is away for a week is still tried every ``cap_s`` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

_MAX_DOUBLINGS: Final = 32
"""Beyond any cap; keeps the power finite however long the collector is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that double from ``first_s`` up to ``cap_s``, the later half of each random (退避). What time does not
    heal is looked at every ``report_s``."""

    first_s: float = 0.5
    cap_s: float = 30.0
    report_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.cap_s <= self.report_s:
            raise ValueError(
                f"a backoff grows from {self.first_s} s over {self.cap_s} s to {self.report_s} s"
            )

    def delay_s(self, attempt: int, unit: float) -> float:
        """The wait after the ``attempt``-th failure in a row, from 1. ``unit`` is random in [0, 1): stations that
        lost the same collector must not come back in step."""
        full = min(self.cap_s, self.first_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
        return full * (1 + unit) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of a failed attempt.

    ``everywhere``: the cause is not this one item, so that trying another now would fail the same way.
    """

    code: str
    detail: str
    retryable: bool
    everywhere: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Try again after this many seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Trying again would fail the same way: tell people, and look again only now and then."""

    delay_s: float


Verdict: TypeAlias = TryAgain | Report


def decide_retry(failure: Failure, *, attempt: int, unit: float, backoff: Backoff) -> Verdict:
    """What to do after the ``attempt``-th failure in a row.

    A wait the other side asks for is honoured up to the cap: a longer one would outlive the repair of its cause.
    """
    if not failure.retryable:
        return Report(backoff.report_s)
    delay_s = backoff.delay_s(attempt, unit)
    if failure.retry_after_s is not None:
        delay_s = max(delay_s, failure.retry_after_s)
    return TryAgain(min(delay_s, backoff.cap_s))
