"""Doorbells: wake-ups between the agent's loops. They carry nothing; the journal holds what there is to do.

Rung after a commit, on the event loop. A lost ring costs one period of the loop that listens, never work.
"""

from __future__ import annotations

import asyncio
import contextlib


class Doorbell:
    """Rung by any number of tasks, awaited by one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Until rung since the last wait, or until the period is over: then look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        self._event.clear()


class Doorbells:
    """One bell for each kind of work: statements to announce, blobs to deliver, media jobs to run, and answers kept
    that bays wait for: receipts, and admissions of what is to be erased."""

    def __init__(self) -> None:
        self.statements = Doorbell()
        self.deliveries = Doorbell()
        self.media = Doorbell()
        self.receipts = Doorbell()
