"""What follows from commits and need not be waited for: listings read and compared, findings computed.

It runs beside the log: a listing of a million rows, or a visit of 20,000 manifests, takes nothing from those who wait
for an admission but a share of the processor. What it does is done again after a crash; when it is done makes no
difference to what comes out.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

from collector.catalogue import MAX_PAGE, Catalogue
from collector.catalogue.unreconciled import About
from collector.errors import CollectorError

logger = logging.getLogger(__name__)

QUIET_S: Final = 1.0
"""Findings of a visit are computed when nothing was said of it for so long: each time costs its whole length."""

PATIENCE_S: Final = 60.0
"""However much is said of it, they are computed after so long."""

_RETRY_S: Final = 10.0


class Conservation:
    """``run`` is its only task; ``committed`` is called on the same loop."""

    def __init__(self, catalogue: Catalogue, *, quiet_s: float = QUIET_S) -> None:
        self._catalogue = catalogue
        self._quiet_s = quiet_s
        self._bell = asyncio.Event()
        self._stopping = threading.Event()
        self._seen: dict[About, tuple[int, float, float]] = {}
        self.open_findings: Mapping[str, int] = {}
        """By code, as of the last time something was computed."""

    def committed(self) -> None:
        """The log has grown."""
        self._bell.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._bell.set()
        while True:
            await self._bell.wait()
            self._bell.clear()
            pause_s = self._quiet_s
            try:
                await self._work()
            except CollectorError as error:
                logger.warning("conservation.failed code=%s", error.code)
                pause_s = _RETRY_S
                self._bell.set()
            await asyncio.sleep(pause_s)
            if self._seen:
                self._bell.set()

    async def _work(self) -> None:
        """In a thread that is waited for even when this task is cancelled: it uses the catalogue."""
        work = asyncio.ensure_future(asyncio.to_thread(self._catch_up))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopping.set()
            await asyncio.wait([work])
            raise

    def _catch_up(self) -> None:
        breath = _Breath(self._stopping)
        try:
            while self._catalogue.read_listing(breath.take):
                breath.take()
            self._reconcile(breath)
            self.open_findings = self._catalogue.open_findings()
        except _StoppingError:
            return

    def _reconcile(self, breath: _Breath) -> None:
        """Whatever has been quiet, or has waited long enough."""
        marked, now = self._catalogue.marked(MAX_PAGE), time.monotonic()
        seen: dict[About, tuple[int, float, float]] = {}
        for about, marks in marked.items():
            known_marks, first_at, last_at = self._seen.get(about, (0, now, now))
            last_at = last_at if marks == known_marks else now
            if now - last_at >= self._quiet_s or now - first_at >= PATIENCE_S:
                self._catalogue.reconcile(about)
                breath.take()
            else:
                seen[about] = (marks, first_at, last_at)
        self._seen = seen


class _StoppingError(Exception):
    """The collector stops: what is under way is continued after the next start."""


class _Breath:
    """Between two pieces of work, as long as the last piece took: half of one processor at most."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._since = time.monotonic()

    def take(self) -> None:
        worked_s = time.monotonic() - self._since
        if self._stopping.wait(min(worked_s, 1.0)):
            raise _StoppingError
        self._since = time.monotonic()
