"""Do turns pass from recorder to recorder, whoever is cancelled meanwhile?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from agent.offload.turns import Turns


class Queue:
    """Recorders that take a turn, tell, and keep it until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self.began: list[str] = []
        self._turns = turns
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, hub: str, *, urgent: bool = False) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._work(name, hub, urgent))
        await self.settle()

    async def _work(self, name: str, hub: str, urgent: bool) -> None:
        async with self._turns.at(hub).taken(urgent=urgent):
            self.began.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        await self.settle()

    async def settle(self) -> None:
        """Everything that can go on without us has gone on."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def __aenter__(self) -> Queue:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def test_no_more_at_once_than_there_are_turns_and_hubs_share_them() -> None:
    async with Queue(Turns(2)) as queue:
        for name in ("a1", "a2", "a3"):
            await queue.ask(name, "a")
        await queue.ask("b1", "b")
        assert queue.began == ["a1", "a2"]
        await queue.end("a1")
        assert queue.began == ["a1", "a2", "b1"], "the other hub had none"


async def test_urgent_footage_is_read_next() -> None:
    async with Queue(Turns(1)) as queue:
        for name in ("first", "second", "third"):
            await queue.ask(name, "a", urgent=name == "third")
        await queue.end("first")
        assert queue.began == ["first", "third"]


@pytest.mark.parametrize("already_given", [False, True])
async def test_who_is_cancelled_while_waiting_keeps_no_turn(already_given: bool) -> None:
    async with Queue(Turns(1)) as queue:
        for name in ("first", "second", "third"):
            await queue.ask(name, "a")
        if already_given:
            queue._ends["first"].set()
            await asyncio.sleep(0)  # "first" goes on and gives its turn away; "second" does not yet know
        queue.tasks["second"].cancel()
        await queue.settle()
        if not already_given:
            await queue.end("first")
        assert queue.began == ["first", "third"]
        await queue.end("third")


async def test_whoever_fails_gives_the_turn_back() -> None:
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            async with turns.at("a").taken():
                raise OSError("gone")
    async with AsyncExitStack() as stack:
        await asyncio.wait_for(stack.enter_async_context(turns.at("b").taken()), 5)
