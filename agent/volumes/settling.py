"""When a volume counts as there: it must have looked the same for a while. Pure; the time is passed in.

A recorder that is being mounted, or filled over the network, changes from one look to the next. It is announced only
when two looks at least ``settle_s`` apart, and all between them, saw the same; but one file that never stops growing
must not hide all the others, so after ``MAX_UNSETTLED_S`` it is announced as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

MAX_UNSETTLED_S: Final = 60.0
"""Longer than any mount or copy of a directory tree takes between two changes that matter; short for who waits."""


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
    """What is known of one bay: the last look, since when it is the same, since when it differs from what was
    announced (seconds), and what was announced."""

    seen: Look | None = None
    since_s: float = 0.0
    unsettled_s: float = 0.0
    announced: Look | None = None

    def due_s(self, settle_s: float) -> float | None:
        """When the next look can decide something; None when all is announced."""
        return None if self.seen == self.announced else self.since_s + settle_s

    def _took(self, look: Look, now_s: float) -> Settling:
        """With one more look, at what was or was not seen before."""
        was_settled = self.seen is None or self.seen == self.announced
        return replace(
            self,
            seen=look,
            since_s=self.since_s if look == self.seen else now_s,
            unsettled_s=now_s if was_settled else self.unsettled_s,
        )


def settle(
    state: Settling, look: Look | None, *, now_s: float, settle_s: float
) -> tuple[Settling, tuple[Change, ...]]:
    """Take in one look (None: no volume there) and return the new state and what to announce, in order."""
    if look is None:
        return Settling(), _vanished(state)
    known = state.announced or state.seen
    if known is not None and known.generation != look.generation:
        return Settling()._took(look, now_s), _vanished(state)
    state = state._took(look, now_s)
    is_quiet = now_s - state.since_s >= settle_s
    if look == state.announced or not (is_quiet or now_s - state.unsettled_s >= MAX_UNSETTLED_S):
        return state, ()
    change = Change.APPEARED if state.announced is None else Change.CHANGED
    return replace(state, announced=look), (change,)


def _vanished(state: Settling) -> tuple[Change, ...]:
    return () if state.announced is None else (Change.VANISHED,)
