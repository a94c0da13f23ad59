"""One request at a time per upload, and the newest wins: a sender whose connection died without a word must not
wait for the old request to notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

GiveWay = Callable[[], None]


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    newest: int = 0
    users: int = 0
    give_way: GiveWay | None = None


class Turns:
    """Turns by upload id. A request that takes long leaves a ``give_way`` that makes it end soon."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._ending = False

    @asynccontextmanager
    async def take(self, upload_id: str, give_way: GiveWay | None = None) -> AsyncIterator[None]:
        """Asks whoever has the turn to give way, waits, then has it. One that was overtaken while it waited is
        asked at once."""
        turn = self._turns.setdefault(upload_id, _Turn())
        turn.newest += 1
        ticket = turn.newest
        turn.users += 1
        if turn.give_way:
            turn.give_way()
        try:
            async with turn.lock:
                turn.give_way = give_way
                if give_way and (self._ending or ticket != turn.newest):
                    give_way()
                try:
                    yield
                finally:
                    turn.give_way = None
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[upload_id]

    def is_taken(self, upload_id: str) -> bool:
        """Whether a request has, or waits for, the turn."""
        return upload_id in self._turns

    def end_all(self) -> None:
        """Asks everybody to give way, now and from now on (the service stops)."""
        self._ending = True
        for turn in self._turns.values():
            if turn.give_way:
                turn.give_way()
