"""Processes of the simulation: who is doing something, and whether it is still alive to do it.

Everything a simulated program does on the event loop or on a worker runs in a context that names its process. What a
dead process still tries (its tasks are being cancelled, its ``finally`` blocks run) raises ``Crash`` and changes
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field


class Crash(BaseException):
    """The process is no more. Not an Exception: no code of ours may handle it."""


@dataclass(eq=False)
class Process:
    """One run of one program. ``on_death`` are the kernel's part: closing what it had open."""

    machine: str
    number: int
    alive: bool = True
    tasks: dict[asyncio.Task[object], None] = field(default_factory=dict)
    on_death: list[Callable[[], None]] = field(default_factory=list)

    def check_alive(self) -> None:
        """Raises Crash."""
        if not self.alive:
            raise Crash(self.machine)

    def die(self) -> None:
        """At once; whoever calls this on behalf of the process itself raises Crash next."""
        if not self.alive:
            return
        self.alive = False
        for action in self.on_death:
            action()
        for task in list(self.tasks):
            task.cancel()


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""None for the simulation itself, which may do everything."""


def living() -> Process | None:
    """The process this is done for. Raises Crash if it is dead."""
    process = CURRENT.get()
    if process is not None and not process.alive:
        raise Crash(process.machine)
    return process
