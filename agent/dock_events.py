"""The queue between a dock's tasks and whoever watches it: bounded, in order, and loud when the dock fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Final

from agent.ports import DockEvent

MAX_EVENTS: Final = 256
"""Events nobody has taken yet; beyond, bays wait. A station has at most 64 bays."""


class DockQueue:
    """Events of one ``watch``."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[DockEvent] = asyncio.Queue(MAX_EVENTS)

    async def put(self, event: DockEvent) -> None:
        await self._events.put(event)

    @asynccontextmanager
    async def fed_by(
        self, work: Coroutine[None, None, None], *, name: str
    ) -> AsyncIterator[AsyncIterator[DockEvent]]:
        """The events, while ``work`` runs as a task; it is cancelled at leaving, and its error ends the iterator."""
        keeper = asyncio.create_task(work, name=name)
        try:
            yield self._iterate(keeper)
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})
            if not keeper.cancelled():
                keeper.exception()  # the iterator has raised it, or nobody listens any more

    async def _iterate(self, keeper: asyncio.Task[None]) -> AsyncIterator[DockEvent]:
        while True:
            getter = asyncio.create_task(self._events.get(), name="dock event")
            try:
                await asyncio.wait({getter, keeper}, return_when=asyncio.FIRST_COMPLETED)
                if not getter.done():
                    keeper.result()
                    return
                yield getter.result()
            finally:
                getter.cancel()
