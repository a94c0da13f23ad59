"""Explanations of findings (说明): somebody answers for what cannot be mended, and can withdraw that (pure).

The log keeps every word. Of all explanations of a finding at most one stands: the first since the last withdrawal. So
saying the same again changes nothing, and nobody's words are replaced by another's without a withdrawal between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from protocol.digest import Digest
from protocol.lines import check_line

EXPLAINED: Final = "explained"
WITHDRAWN: Final = "explanation-withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What somebody said about a finding, at a place of the log: an explanation, or that there is none any more."""

    event: str
    index: int
    statement: Digest
    actor: str
    reason: str
    said_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to say. Raises MalformedError for a reason that is not one line of text."""

    event: str
    actor: str
    reason: str

    def __post_init__(self) -> None:
        check_line(self.reason.strip(), "a reason")


@dataclass(frozen=True, slots=True)
class Say:
    """Let the log have it."""


@dataclass(frozen=True, slots=True)
class Said:
    """The same person said the same, and it still stands."""

    word: Word


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not now: stable code and one sentence."""

    code: str
    message: str


Decision: TypeAlias = Say | Said | Refuse

CLOSED: Final = "finding-closed"
EXPLAINED_ALREADY: Final = "finding-explained"
NOT_EXPLAINED: Final = "finding-not-explained"


def standing(words: Iterable[Word]) -> Word | None:
    """The explanation that stands after these words, which come in log order."""
    found: Word | None = None
    for word in words:
        if word.event == WITHDRAWN:
            found = None
        elif word.event == EXPLAINED and found is None:
            found = word
    return found


def decide(wish: Wish, words: Iterable[Word], *, closed_by_evidence: bool) -> Decision:
    """``words`` are all that were said about the finding, in log order."""
    spoken = tuple(words)
    if wish.event == WITHDRAWN:
        return _decide_withdrawal(wish, spoken)
    current = standing(spoken)
    if current is not None:
        if _is_the_same(wish, current):
            return Said(current)
        message = f"entry {current.index} explains this finding already: withdraw that first"
        return Refuse(EXPLAINED_ALREADY, message)
    if closed_by_evidence:
        return Refuse(CLOSED, "this finding was closed by evidence: there is nothing to explain")
    return Say()


def _decide_withdrawal(wish: Wish, words: tuple[Word, ...]) -> Decision:
    if standing(words) is not None:
        return Say()
    if words and _is_the_same(wish, words[-1]):
        return Said(words[-1])
    return Refuse(NOT_EXPLAINED, "no explanation of this finding stands")


def _is_the_same(wish: Wish, word: Word) -> bool:
    return (wish.event, wish.actor, wish.reason) == (word.event, word.actor, word.reason)
