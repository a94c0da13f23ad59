"""What a bay shows to people (采集口状态): state, sentence, progress, and whether the recorder may be taken (可取走).

Pure: events move a bay from state to state; numbers come from the journal. The rule of taking away: the recorder may
be taken as soon as everything listed has been read, re-read from the station's disk and journalled. Receipts are then
a matter between station and collector and do not need the recorder. While files are erased from it (release), it may
not be taken: that would harm its file system, though no footage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class BayState(StrEnum):
    """The states; from ``REFUSED`` on they need a person."""

    EMPTY = "empty"
    IDENTIFYING = "identifying"
    SWITCHING = "switching"
    MOUNTING = "mounting"
    INVENTORY = "inventory"
    OFFLOADING = "offloading"
    DELIVERING = "delivering"
    DONE = "done"
    RELEASABLE = "releasable"
    RELEASING = "releasing"
    RELEASED = "released"
    REFUSED = "refused"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105 - the name of a state
    UNREADABLE = "unreadable"
    FULL = "full"
    LOST_CONTACT = "lost-contact"
    NOT_RELEASED = "not-released"
    RELEASE_INTERRUPTED = "release-interrupted"


class BayEvent(StrEnum):
    """What happens at a bay."""

    APPEARED = "appeared"
    SWITCH_BEGUN = "switch-begun"
    MOUNT_BEGUN = "mount-begun"
    IDENTIFIED = "identified"
    LISTED = "listed"
    READ_ALL = "read-all"
    READ_ALL_BUT_SOME = "read-all-but-some"
    RECEIPTED_ALL = "receipted-all"
    RELEASE_ANNOUNCED = "release-announced"
    RELEASE_BEGUN = "release-begun"
    RELEASED = "released"
    RELEASE_FAILED = "release-failed"
    MORE_TO_READ = "more-to-read"
    CHANGED = "changed"
    REFUSED = "refused"
    PASSWORD_REFUSED = "password-refused"  # noqa: S105 - the name of an event
    SPOOL_FULL = "spool-full"
    SPOOL_HAS_ROOM = "spool-has-room"
    LEFT = "left"
    LEFT_UNFINISHED = "left-unfinished"


_S, _E = BayState, BayEvent

_TO_RELEASE: Final[Mapping[BayEvent, BayState]] = {
    _E.RELEASE_ANNOUNCED: _S.RELEASABLE,
    _E.RELEASE_BEGUN: _S.RELEASING,
    _E.RELEASED: _S.RELEASED,
    _E.RELEASE_FAILED: _S.NOT_RELEASED,
}
"""When everything is receipted, release may be anywhere: an agent started again goes on where it was."""

_MOVES: Final[Mapping[BayState, Mapping[BayEvent, BayState]]] = {
    _S.EMPTY: {_E.APPEARED: _S.IDENTIFYING},
    _S.IDENTIFYING: {
        _E.SWITCH_BEGUN: _S.SWITCHING,
        _E.MOUNT_BEGUN: _S.MOUNTING,
        _E.IDENTIFIED: _S.INVENTORY,
    },
    _S.SWITCHING: {_E.MOUNT_BEGUN: _S.MOUNTING},
    _S.MOUNTING: {_E.IDENTIFIED: _S.INVENTORY},
    _S.INVENTORY: {_E.LISTED: _S.OFFLOADING},
    _S.OFFLOADING: {
        _E.READ_ALL: _S.DELIVERING,
        _E.READ_ALL_BUT_SOME: _S.UNREADABLE,
        _E.SPOOL_FULL: _S.FULL,
        _E.CHANGED: _S.INVENTORY,
    },
    _S.DELIVERING: {_E.RECEIPTED_ALL: _S.DONE, _E.CHANGED: _S.INVENTORY, **_TO_RELEASE},
    _S.DONE: {_E.CHANGED: _S.INVENTORY, **_TO_RELEASE},
    _S.RELEASABLE: {_E.CHANGED: _S.INVENTORY, **_TO_RELEASE},
    _S.RELEASING: {
        _E.MORE_TO_READ: _S.OFFLOADING,
        _E.READ_ALL_BUT_SOME: _S.UNREADABLE,
        _E.LEFT_UNFINISHED: _S.RELEASE_INTERRUPTED,
        **_TO_RELEASE,
    },
    _S.RELEASED: {_E.CHANGED: _S.INVENTORY, **_TO_RELEASE},
    _S.REFUSED: {_E.CHANGED: _S.IDENTIFYING},
    _S.WRONG_PASSWORD: {_E.CHANGED: _S.IDENTIFYING},
    _S.UNREADABLE: {_E.CHANGED: _S.INVENTORY, _E.RELEASE_BEGUN: _S.RELEASING},
    _S.FULL: {_E.SPOOL_HAS_ROOM: _S.OFFLOADING},
    _S.LOST_CONTACT: {_E.APPEARED: _S.IDENTIFYING},
    _S.NOT_RELEASED: {_E.CHANGED: _S.INVENTORY},
    _S.RELEASE_INTERRUPTED: {_E.APPEARED: _S.IDENTIFYING},
}

_FROM_ANYWHERE: Final[Mapping[BayEvent, BayState]] = {
    _E.REFUSED: _S.REFUSED,
    _E.PASSWORD_REFUSED: _S.WRONG_PASSWORD,
    _E.LEFT: _S.EMPTY,
    _E.LEFT_UNFINISHED: _S.LOST_CONTACT,
}

NEEDS_PERSON: Final = frozenset(
    {
        _S.REFUSED,
        _S.WRONG_PASSWORD,
        _S.UNREADABLE,
        _S.FULL,
        _S.LOST_CONTACT,
        _S.NOT_RELEASED,
        _S.RELEASE_INTERRUPTED,
    }
)
MAY_BE_TAKEN: Final = frozenset({_S.DELIVERING, _S.DONE, _S.RELEASABLE, _S.RELEASED, _S.NOT_RELEASED})


def step(state: BayState, event: BayEvent) -> BayState:
    """The next state. Raises ValueError for an event that cannot happen in this state: that is our mistake."""
    after = _MOVES[state].get(event) or _FROM_ANYWHERE.get(event)
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
    _S.SWITCHING: Sentence(
        "正在让记录仪打开存储，请勿取走", "Asking the recorder for its storage: leave it in place"
    ),
    _S.MOUNTING: Sentence(
        "正在以只读方式接入存储，请勿取走", "Mounting its storage read-only: leave it in place"
    ),
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
    _S.RELEASABLE: Sentence(
        "可取走：文件已全部入库；稍候片刻，记录仪会被清空",
        "May be taken: everything is receipted; a moment more, and the recorder is cleared as well",
    ),
    _S.RELEASING: Sentence("正在清空记录仪，请勿取走", "Clearing the recorder: leave it in place"),
    _S.RELEASED: Sentence(
        "可取走：文件已全部入库，并已从记录仪清除",
        "May be taken: everything is receipted and was cleared from the recorder",
    ),
    _S.REFUSED: Sentence("不能采集，请联系管理员", "Cannot be read by this station: call the administrator"),
    _S.WRONG_PASSWORD: Sentence(
        "记录仪密码不符，未能采集，请联系管理员",
        "The recorder refused the station's password: call the administrator",
    ),
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
    _S.NOT_RELEASED: Sentence(
        "可取走：文件已全部入库，但记录仪未能清空，请联系管理员",
        "May be taken: everything is receipted, but the recorder was not cleared: call the administrator",
    ),
    _S.RELEASE_INTERRUPTED: Sentence(
        "清空未完成，记录仪已断开；文件均已入库，请重新放入",
        "The recorder left while it was cleared; nothing is lost: dock it again",
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
    """One tile (采集口): who, how far, how long, may it be taken. ``problem_code`` says why a person is needed,
    ``problem`` what exactly happened, ``advice`` what to do about it. ``doubts`` are sources that disagree on whose
    files these are.

    ``files`` counts everything that is not excluded, also what an earlier visit read; ``bytes`` what this visit has to
    read; ``files_receipted`` what the collector has stored, ``files_released`` what was erased from the recorder.
    """

    dock: str
    bay: str
    state: BayState
    sentence: Sentence
    may_be_taken: bool
    needs_person: bool
    problem_code: str | None
    problem: str | None
    advice: Sentence | None
    recorder: str | None
    officer: str | None
    profile: str | None
    doubts: tuple[str, ...]
    files: int
    files_read: int
    files_unreadable: int
    files_receipted: int
    files_released: int
    bytes_total: int
    bytes_read: int
    time_left_s: float | None
    since: datetime
