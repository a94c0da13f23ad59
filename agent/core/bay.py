"""What a bay shows to people (采集口状态): state, sentence, progress, and whether the recorder may be taken (可取走).

Pure: events move a bay from state to state; numbers come from the journal. The rule of taking away, while release
(erasing) is off: the recorder may be taken as soon as everything listed has been read, re-read from the station's
disk and journalled. Receipts are then a matter between station and collector and do not need the recorder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class BayState(StrEnum):
    """The states; the last four need a person."""

    EMPTY = "empty"
    IDENTIFYING = "identifying"
    INVENTORY = "inventory"
    OFFLOADING = "offloading"
    DELIVERING = "delivering"
    DONE = "done"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    FULL = "full"
    LOST_CONTACT = "lost-contact"


class BayEvent(StrEnum):
    """What happens at a bay."""

    APPEARED = "appeared"
    IDENTIFIED = "identified"
    LISTED = "listed"
    READ_ALL = "read-all"
    READ_ALL_BUT_SOME = "read-all-but-some"
    RECEIPTED_ALL = "receipted-all"
    CHANGED = "changed"
    REFUSED = "refused"
    SPOOL_FULL = "spool-full"
    SPOOL_HAS_ROOM = "spool-has-room"
    LEFT = "left"
    LEFT_UNFINISHED = "left-unfinished"


_S, _E = BayState, BayEvent

_MOVES: Final[Mapping[BayState, Mapping[BayEvent, BayState]]] = {
    _S.EMPTY: {_E.APPEARED: _S.IDENTIFYING},
    _S.IDENTIFYING: {_E.IDENTIFIED: _S.INVENTORY},
    _S.INVENTORY: {_E.LISTED: _S.OFFLOADING},
    _S.OFFLOADING: {
        _E.READ_ALL: _S.DELIVERING,
        _E.READ_ALL_BUT_SOME: _S.UNREADABLE,
        _E.SPOOL_FULL: _S.FULL,
        _E.CHANGED: _S.INVENTORY,
    },
    _S.DELIVERING: {_E.RECEIPTED_ALL: _S.DONE, _E.CHANGED: _S.INVENTORY},
    _S.DONE: {_E.CHANGED: _S.INVENTORY},
    _S.REFUSED: {_E.CHANGED: _S.IDENTIFYING},
    _S.UNREADABLE: {_E.CHANGED: _S.INVENTORY},
    _S.FULL: {_E.SPOOL_HAS_ROOM: _S.OFFLOADING},
    _S.LOST_CONTACT: {_E.APPEARED: _S.IDENTIFYING},
}

_FROM_ANYWHERE: Final[Mapping[BayEvent, BayState]] = {
    _E.REFUSED: _S.REFUSED,
    _E.LEFT: _S.EMPTY,
    _E.LEFT_UNFINISHED: _S.LOST_CONTACT,
}

NEEDS_PERSON: Final = frozenset({_S.REFUSED, _S.UNREADABLE, _S.FULL, _S.LOST_CONTACT})
MAY_BE_TAKEN: Final = frozenset({_S.DELIVERING, _S.DONE})


def step(state: BayState, event: BayEvent) -> BayState:
    """The next state. Raises ValueError for an event that cannot happen in this state: that is our mistake."""
    after = _FROM_ANYWHERE.get(event) or _MOVES[state].get(event)
    if after is None:
        raise ValueError(f"a bay that is {state} cannot have {event}")
    return after


@dataclass(frozen=True, slots=True)
class Sentence:
    """The same sentence for officers and for engineers."""

    zh: str
    en: str


_SENTENCES: Final[Mapping[BayState, Sentence]] = {
    _S.EMPTY: Sentence("空闲，可以放入记录仪", "Free: a recorder can be docked"),
    _S.IDENTIFYING: Sentence("正在识别记录仪，请勿取走", "Identifying the recorder: leave it in place"),
    _S.INVENTORY: Sentence("正在清点文件，请勿取走", "Listing its files: leave it in place"),
    _S.OFFLOADING: Sentence("正在采集，请勿取走", "Reading its files: leave it in place"),
    _S.DELIVERING: Sentence(
        "可取走：文件已全部采集到采集站，上传仍在继续，不再需要记录仪",
        "May be taken: everything is read; delivery goes on without the recorder",
    ),
    _S.DONE: Sentence(
        "可取走：文件已全部采集，并收到全部入库回执",
        "May be taken: everything is read and receipted by the collector",
    ),
    _S.REFUSED: Sentence("不能采集，请联系管理员", "Cannot be read by this station: call the administrator"),
    _S.UNREADABLE: Sentence(
        "有文件无法读取，请勿清空记录仪，并联系管理员",
        "Some files cannot be read: do not clear the recorder, call the administrator",
    ),
    _S.FULL: Sentence(
        "采集站存储空间不足，采集暂停，文件不会丢失，请联系管理员",
        "The station's storage is full: reading waits, nothing is lost, call the administrator",
    ),
    _S.LOST_CONTACT: Sentence(
        "采集未完成，记录仪已断开，请重新放入",
        "The recorder left before everything was read: dock it again",
    ),
}


def sentence_of(state: BayState) -> Sentence:
    """What the bay's tile says."""
    return _SENTENCES[state]


@dataclass(frozen=True, slots=True)
class Sample:
    """So many bytes had been read at this time."""

    at: datetime
    bytes_read: int


def time_left_s(samples: Sequence[Sample], bytes_left: int) -> float | None:
    """Seconds until the rest is read at the measured rate, oldest sample to newest; None while nothing is known."""
    if bytes_left <= 0:
        return 0.0
    if len(samples) < 2:
        return None
    elapsed_s = (samples[-1].at - samples[0].at).total_seconds()
    gained_bytes = samples[-1].bytes_read - samples[0].bytes_read
    if elapsed_s <= 0 or gained_bytes <= 0:
        return None
    return bytes_left * elapsed_s / gained_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BayStatus:
    """One tile (采集口): who, how far, how long, may it be taken. ``problem_code`` says why a person is needed.

    ``files`` counts everything that is not excluded, also what an earlier visit read; ``bytes`` what this visit has to
    read; ``files_receipted`` what the collector has stored.
    """

    dock: str
    bay: str
    state: BayState
    sentence: Sentence
    may_be_taken: bool
    needs_person: bool
    problem_code: str | None
    problem: str | None
    recorder: str | None
    officer: str | None
    profile: str | None
    files: int
    files_read: int
    files_unreadable: int
    files_receipted: int
    bytes_total: int
    bytes_read: int
    time_left_s: float | None
    since: datetime
