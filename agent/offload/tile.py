"""One bay's tile: the state machine of ``agent.core.bay`` with the numbers of the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from agent.core.advice import WRONG_PASSWORD, advice_on
from agent.core.bay import (
    MAY_BE_TAKEN,
    NEEDS_PERSON,
    BayEvent,
    BayState,
    BayStatus,
    sentence_of,
    step,
    time_left_s,
)
from agent.offload.progress import Progress
from agent.ports import DockStage
from agent.spool.journal import Journal
from agent.spool.records import Accounting
from protocol.claims import Claim

_LOG: Final = logging.getLogger(__name__)

_PREPARING: Final = frozenset({BayState.IDENTIFYING, BayState.SWITCHING})

_NOTHING: Final = Accounting(
    listed=0, stored=0, pending=0, unreadable=0, excluded=0, known=0, unread=0,
    bytes_listed=0, bytes_unread=0, bytes_stored=0,
)  # fmt: skip


class Tile:
    """What is shown of a bay. Changed on the event loop; ``status`` asks the journal and belongs in a thread."""

    def __init__(self, dock: str, bay: str, clock: Callable[[], datetime]) -> None:
        self.dock = dock
        self.bay = bay
        self.state = BayState.EMPTY
        self.visit: str | None = None
        self.progress = Progress()
        self._clock = clock
        self._since = clock()
        self._problem: tuple[str, str] | None = None
        self._recorder: Claim | None = None
        self._officer: Claim | None = None
        self._profile: str | None = None
        self._doubts: tuple[str, ...] = ()

    def step(self, event: BayEvent, *, code: str | None = None, problem: str | None = None) -> None:
        """Move on; ``code`` and ``problem`` say why a person is needed."""
        before, self.state = self.state, step(self.state, event)
        self._since = self._clock()
        self._problem = None if code is None else (code, problem or code)
        _LOG.info(
            "bay",
            extra={"dock": self.dock, "bay": self.bay, "was": before, "state": self.state, "code": code},
        )

    def begin(self) -> None:
        """A volume is there: nothing is known of it yet."""
        self.progress = Progress()
        self.visit = self._recorder = self._officer = self._profile = None
        self._doubts = ()
        if self.state is BayState.MOUNTING:
            return
        if self.state in (BayState.REFUSED, BayState.WRONG_PASSWORD):
            self.step(BayEvent.CHANGED)
            return
        if self.state not in (BayState.EMPTY, BayState.LOST_CONTACT, BayState.RELEASE_INTERRUPTED):
            self.step(BayEvent.LEFT)
        self.step(BayEvent.APPEARED)

    def prepare(self, stage: DockStage) -> None:
        """A recorder is there whose storage cannot be read yet."""
        if stage is DockStage.IDENTIFYING or self.state not in _PREPARING:
            self.begin()
        if stage is DockStage.SWITCHING:
            self.step(BayEvent.SWITCH_BEGUN)
        elif stage is DockStage.MOUNTING:
            self.step(BayEvent.MOUNT_BEGUN)

    def trouble(self, code: str, problem: str) -> None:
        """The recorder cannot be read by this station as things are."""
        wrong = code == WRONG_PASSWORD
        self.step(BayEvent.PASSWORD_REFUSED if wrong else BayEvent.REFUSED, code=code, problem=problem)

    def recognise(
        self, recorder: Claim | None, officer: Claim | None, profile: str, doubts: tuple[str, ...] = ()
    ) -> None:
        """``doubts`` are sources that disagree: who the recorder is has to be asked."""
        self._recorder, self._officer, self._profile, self._doubts = recorder, officer, profile, doubts

    def status(self, journal: Journal) -> BayStatus:
        """Blocks. Raises JournalError."""
        visit = self.visit
        if visit is None:
            return self._status(_NOTHING, 0)
        return self._status(journal.accounting(visit), journal.files_released(visit))

    def _status(self, account: Accounting, files_released: int) -> BayStatus:
        files = account.listed - account.excluded
        bytes_read = account.bytes_listed - account.bytes_unread + self.progress.bytes_under_way
        return BayStatus(
            dock=self.dock,
            bay=self.bay,
            state=self.state,
            sentence=sentence_of(self.state),
            may_be_taken=self.state in MAY_BE_TAKEN,
            needs_person=self.state in NEEDS_PERSON,
            problem_code=None if self._problem is None else self._problem[0],
            problem=None if self._problem is None else self._problem[1],
            advice=None if self._problem is None else advice_on(self._problem[0]),
            recorder=None if self._recorder is None else self._recorder.value,
            officer=None if self._officer is None else self._officer.value,
            profile=self._profile,
            doubts=self._doubts,
            files=files,
            files_read=files - account.unread - account.unreadable,
            files_unreadable=account.unreadable,
            files_receipted=account.stored,
            files_released=files_released,
            bytes_total=account.bytes_listed,
            bytes_read=min(bytes_read, account.bytes_listed),
            time_left_s=time_left_s(self.progress.samples(), account.bytes_listed - bytes_read),
            since=self._since,
        )
