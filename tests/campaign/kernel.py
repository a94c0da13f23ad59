"""The kernel under simulated programs: durable steps, open files, and what becomes of both when a process dies."""

from __future__ import annotations

import errno
import gc
import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from aiohttp import web_app

from tests.campaign.acts import CRASHES, Act, Site, Verb
from tests.campaign.clockwork import Clockwork
from tests.campaign.process import CURRENT, Crash, Process, living

R = TypeVar("R")

_NOWHERE: Final = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


class Writer(Protocol):
    """A connection to a database that may be writing."""

    path: str

    def is_writing(self) -> bool: ...


@dataclass(eq=False)
class Kernel:
    """``root`` is the folder below which every machine has its disk."""

    root: str
    site: Site
    loop: Clockwork
    _paths: dict[int, str] = field(default_factory=dict)
    _owners: dict[int, Process] = field(default_factory=dict)
    left_over: set[int] = field(default_factory=set)
    """Numbers a dead process had open. They lead nowhere, and nobody else gets them while objects may still name
    them."""
    _writers: dict[str, Writer] = field(default_factory=dict)

    def ours(self, path: object) -> str | None:
        """The path as text if a simulated program uses a simulated disk. Raises Crash for a dead one."""
        process = CURRENT.get()
        if process is None or isinstance(path, int):
            return None
        text = os.fsdecode(path)  # type: ignore[arg-type]
        if not text.startswith(self.root):
            return None
        process.check_alive()
        return text

    def step(
        self,
        verb: Verb,
        path: str,
        perform: Callable[[], R],
        *,
        fail: Callable[[], object] | None = None,
        instead: Mapping[Act, Callable[[], R]] | None = None,
    ) -> R:
        """One durable step. ``fail`` is what a failure does all the same, ``instead`` what else a call can do."""
        process = CURRENT.get()
        if process is None:
            return perform()
        process.check_alive()
        self.loop.pause()
        process.check_alive()
        act = self.site.at_step(process, verb, path)
        if act is None:
            return perform()
        if instead is not None and act in instead:
            return instead[act]()
        if act in (Act.CRASH_BEFORE, Act.POWER_BEFORE):
            self._end(process, act)
        if act in (Act.NO_SPACE, Act.IO_ERROR):
            if fail is not None:
                fail()
            number = errno.ENOSPC if act is Act.NO_SPACE else errno.EIO
            raise OSError(number, os.strerror(number), path)
        result = perform()
        if act is Act.DONE_AND_FAILED:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if act in CRASHES:
            self._end(process, act)
        return result

    def _end(self, process: Process, act: Act) -> None:
        self.site.end(process, power_cut=act in (Act.POWER_BEFORE, Act.POWER_AFTER))
        raise Crash(act.value)

    def note_open(self, process: Process, descriptor: int, path: str) -> None:
        self._paths[descriptor] = path
        self._owners[descriptor] = process

        def close() -> None:
            if self._owners.get(descriptor) is process:
                del self._owners[descriptor]
                os.dup2(_NOWHERE, descriptor, inheritable=False)
                self.left_over.add(descriptor)

        process.on_death.append(close)

    def note_file(self, file: Any, path: str) -> None:
        """A file object. When its process dies, what it still holds goes nowhere."""
        process = CURRENT.get()
        assert process is not None
        descriptor = file.fileno()
        self._paths[descriptor] = path
        self._owners.pop(descriptor, None)
        known = weakref.ref(file)

        def cut_off() -> None:
            found = known()
            if found is not None and not found.closed:
                os.dup2(_NOWHERE, descriptor)

        process.on_death.append(cut_off)

    def take_turn(self, connection: Writer) -> None:
        """SQLite makes a writer wait for another; here it waits without holding up the one it waits for."""
        other = self._writers.get(connection.path)
        while other is not None and other is not connection and other.is_writing():
            worker = self.loop.worker
            if worker is None or self.loop.locks_held:
                break
            worker.give_way(0.001)
            living()
            other = self._writers.get(connection.path)
        self._writers[connection.path] = connection

    def path_of(self, descriptor: int) -> str | None:
        return self._paths.get(descriptor)

    def forget(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        self._owners.pop(descriptor, None)
        self.left_over.discard(descriptor)


_leftovers: list[set[int]] = [set() for _ in range(5)]
"""Since the last collection of garbage, and between those before it, newest first."""


def put_aside(descriptors: set[int]) -> None:
    """At the end of a run."""
    _leftovers[0].update(descriptors)


def collect_garbage() -> None:
    """Between runs, now and then: lets go of what dead processes left, and of their numbers. Not of those of late:
    what the last run left may still be held by a pooled connection, and would close a number that is not its own."""
    web_app._cached_build_middleware.cache_clear()  # it remembers handlers, each with its whole application
    gc.collect()
    nowhere = os.fstat(_NOWHERE)
    for descriptor in _leftovers.pop():
        with suppress(OSError):
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) == (nowhere.st_dev, nowhere.st_ino):
                os.close(descriptor)
    _leftovers.insert(0, set())
