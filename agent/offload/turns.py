"""Turns at reading, taken and passed on: at most so many recorders at once, in the order of ``agent.core.turns``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.core.turns import Asking, next_turn


class Turns:
    """Shared by all bays of a station. For one event loop."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._at_work: Counter[str] = Counter()
        self._begun = 0
        self._last_turn: dict[str, int] = {}
        self._asking: list[tuple[Asking, asyncio.Future[None]]] = []

    def at(self, hub: str) -> HubTurns:
        """For a recorder at this hub."""
        return HubTurns(self, hub)

    async def enter(self, asking: Asking) -> None:
        """Wait for a turn; ``leave`` ends it. Cancelled while it waits, nobody has a turn."""
        if self._free:
            self._begin(asking)
            return
        given = asyncio.get_running_loop().create_future()
        self._asking.append((asking, given))
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self.leave(asking)
            raise

    def leave(self, asking: Asking) -> None:
        self._at_work[asking.hub] -= 1
        self._free += 1
        self._asking = [(one, given) for one, given in self._asking if not given.done()]
        if self._asking:
            index = next_turn([one for one, _ in self._asking], self._at_work, self._last_turn)
            one, given = self._asking.pop(index)
            self._begin(one)
            given.set_result(None)

    def _begin(self, asking: Asking) -> None:
        self._free -= 1
        self._begun += 1
        self._at_work[asking.hub] += 1
        self._last_turn[asking.hub] = self._begun


@dataclass(frozen=True, slots=True)
class HubTurns:
    """Turns of one recorder."""

    turns: Turns
    hub: str

    @asynccontextmanager
    async def taken(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """For as long as it reads or erases."""
        asking = Asking(hub=self.hub, urgent=urgent)
        await self.turns.enter(asking)
        try:
            yield
        finally:
            self.turns.leave(asking)
