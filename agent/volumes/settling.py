"""When a volume counts as there: it must have looked the same for a while. Pure; the time is passed in.

A recorder that is being mounted, or filled over the network, changes from one look to the next. It is announced only
when two looks at least ``settle_s`` apart, and all between them, saw the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto


class Change(Enum):
    """What has to be told about a bay."""

    APPEARED = auto()
    CHANGED = auto()
    VANISHED = auto()


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a volume saw: which volume, and a number that differs when its content does."""

    generation: str
    fingerprint: int


@dataclass(frozen=True, slots=True)
class Settling:
    """What is known of one bay: the last look, since when it is the same (seconds), and what was announced."""

    seen: Look | None = None
    since_s: float = 0.0
    announced: Look | None = None

    def due_s(self, settle_s: float) -> float | None:
        """When the next look can decide something; None when all is announced."""
        return None if self.seen == self.announced else self.since_s + settle_s


def settle(
    state: Settling, look: Look | None, *, now_s: float, settle_s: float
) -> tuple[Settling, tuple[Change, ...]]:
    """Take in one look (None: no volume there) and return the new state and what to announce, in order."""
    if look is None:
        return Settling(), _vanished(state)
    if state.announced is not None and state.announced.generation != look.generation:
        return Settling(seen=look, since_s=now_s), (Change.VANISHED,)
    if look != state.seen:
        return replace(state, seen=look, since_s=now_s), ()
    if look == state.announced or now_s - state.since_s < settle_s:
        return state, ()
    change = Change.APPEARED if state.announced is None else Change.CHANGED
    return replace(state, announced=look), (change,)


def _vanished(state: Settling) -> tuple[Change, ...]:
    return () if state.announced is None else (Change.VANISHED,)
