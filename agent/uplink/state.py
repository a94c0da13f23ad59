"""What the uplink knows about itself, for the status: whether the collector answers, findings, bytes on their way.

Lives in memory and belongs to the event loop; what must survive is in the journal.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.core.retry import Failure
from protocol.digest import Digest

Clock = Callable[[], datetime]
"""The time now, aware and UTC."""

MAX_FINDINGS: Final = 100
"""Kept for people to read; the log has them all."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should know (发现): nothing was dropped, but waiting alone will not help."""

    at: datetime
    code: str
    detail: str
    statement: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """An upload under way; ``sent_bytes`` counts what left this machine."""

    digest: Digest
    sent_bytes: int
    size_bytes: int


class UplinkState:
    """Mutable, and changed only on the event loop."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self.collector_answers: bool | None = None
        self.collector_failure: Failure | None = None
        self.last_answer_at: datetime | None = None
        self.fork_evidence: Path | None = None
        self.transfers: dict[Digest, Transfer] = {}
        self.findings: deque[Finding] = deque(maxlen=MAX_FINDINGS)

    def note_answer(self) -> None:
        if self.collector_answers is False:
            _log.info("collector-answers-again")
        self.collector_answers, self.collector_failure = True, None
        self.last_answer_at = self._now()

    def note_away(self, failure: Failure) -> None:
        if self.collector_answers is not False:
            _log.warning("collector-away", extra={"code": failure.code, "detail": failure.detail})
        self.collector_answers, self.collector_failure = False, failure

    def report(self, code: str, detail: str, statement: Digest | None = None) -> None:
        """Add a finding; the same one about the same statement is kept once."""
        same = [kept for kept in self.findings if (kept.code, kept.statement) == (code, statement)]
        for kept in same:
            self.findings.remove(kept)
        self.findings.append(Finding(at=self._now(), code=code, detail=detail, statement=statement))
        if not same:
            _log.error("finding", extra={"code": code, "detail": detail, "statement": str(statement)})
