"""One failing call of the file port at a time, in a world of its own each: what campaigns over the collector share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from tests.support.collector_lab import Lab, World, found, running

Work: TypeAlias = Callable[[Lab], Awaitable[object]]
"""What is done and checked when nothing fails: every call of it is failed in turn."""


async def new_world(folder: Path) -> World:
    """A founded collector in a new folder."""
    folder.mkdir()
    world = World(folder=folder)
    await found(world)
    return world


async def count_calls(folder: Path, work: Work) -> int:
    """How many calls there are to fail."""
    world = await new_world(folder)
    async with running(world) as lab:
        world.files.plan(None)
        await work(lab)
    return len(world.files.calls)


async def cases(
    folder: Path, work: Work, *, first: int, stride: int
) -> AsyncIterator[tuple[int, bool, World]]:
    """Which call fails, whether it is performed all the same, and a world to try it in: every ``stride``-th call from
    ``first`` on, alternately refused and performed."""
    count = await count_calls(folder / "count", work)
    for at in range(first, count, stride):
        yield at, at // stride % 2 == 1, await new_world(folder / str(at))
