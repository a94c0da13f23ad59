"""One thread for everything: an event loop in virtual time, and "worker threads" that are greenlets on it.

The loop never waits: when nothing is ready, time jumps to the next timer. A function given to an executor runs as a
greenlet; where real threads would be interrupted (at calls to disk and recorder, never while a lock is held) it may
give way for a little virtual time, as the seed decides. So the same seed gives the same order, always.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import itertools
import threading
from asyncio import futures
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar, cast

import greenlet

from tests.campaign.process import CURRENT, Crash, Process

T = TypeVar("T")

LONGEST_PAUSE_S: Final = 0.004
"""A worker that gives way is away for up to so long: time for a few requests."""


class StuckError(Exception):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""


class _Greenlet(Protocol):
    dead: bool

    def switch(self) -> object: ...
    def throw(self, kind: type[BaseException]) -> object: ...


def _current() -> _Greenlet:
    return cast(_Greenlet, greenlet.getcurrent())


class Worker:
    """One call on a "thread"."""

    def __init__(self, loop: Clockwork, work: Callable[[], None]) -> None:
        self._loop = loop
        self.process: Process | None = CURRENT.get()
        self._greenlet = cast(_Greenlet, greenlet.greenlet(work, cast(Any, loop.home)))
        self._waits = 0

    def resume(self, turn: int = 0) -> None:
        """From the loop: go on until it gives way or ends. A turn that is over is ignored."""
        if turn != self._waits or self._greenlet.dead:
            return
        began = self._waits > 0
        self._waits += 1
        if began and self.process is not None and not self.process.alive:
            self._greenlet.throw(Crash)
        else:
            self._greenlet.switch()

    def kill(self) -> None:
        if not self._greenlet.dead and self._waits:
            self._waits += 1
            self._greenlet.throw(Crash)

    def give_way(self, delay_s: float) -> None:
        """From inside: back to the loop for so long."""
        self._loop.call_later(delay_s, self.resume, self._waits)
        self._loop.home.switch()

    def wait_for(self, future: SimFuture[Any]) -> None:
        """From inside: back to the loop until the future is done."""
        turn = self._waits
        future.add_done_callback(lambda _: self._loop.call_soon(self.resume, turn))
        self._loop.home.switch()


class SimFuture(concurrent.futures.Future[T]):
    """What ``submit`` and ``run_coroutine_threadsafe`` return here: ``result`` gives way instead of blocking."""

    def __init__(self, loop: Clockwork) -> None:
        super().__init__()
        self._loop = loop

    def result(self, timeout: float | None = None) -> T:
        worker = self._loop.worker
        if not self.done() and worker is not None:
            worker.wait_for(self)
        return super().result(timeout=0)


class _Selector:
    """Waiting, as the loop sees it."""

    def __init__(self, loop: Clockwork) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise StuckError("nothing is ready and no timer is set")
        self._loop.advance(timeout)
        return []


_serial = itertools.count(1)


class SimTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._serial = next(_serial)
        super().__init__(*args, **more)

    def __hash__(self) -> int:
        return self._serial

    def __eq__(self, other: object) -> bool:
        return self is other


class Clockwork(asyncio.BaseEventLoop):
    """The loop. ``rng`` decides where workers give way; ``give_way_share`` how often."""

    def __init__(self, rng: Random, *, give_way_share: float = 0.1) -> None:
        super().__init__()
        self.home = _current()
        self._rng = rng
        self._share = give_way_share
        self._now_s = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9
        self._workers: dict[int, Worker] = {}
        self.locks_held = 0
        self.connect: Callable[[Any], Awaitable[Any]]
        self.listen: Callable[[Any], Awaitable[Any]]
        self.set_task_factory(cast(Any, self._make_task))

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds

    def _process_events(self, events: object) -> None:
        """There are none: nothing here is a file descriptor."""

    def _write_to_self(self) -> None:
        """Nobody else's thread wakes this loop."""

    async def create_connection(self, protocol_factory: Any, *_: object, **__: object) -> Any:
        return await self.connect(protocol_factory)

    async def create_server(self, protocol_factory: Any, *_: object, **__: object) -> Any:
        return await self.listen(protocol_factory)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Waits for what this process still has on workers, as the real one does."""
        process = CURRENT.get()
        while any(worker.process is process for worker in self._workers.values()):
            await asyncio.sleep(LONGEST_PAUSE_S)

    def _make_task(
        self, _: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], **more: Any
    ) -> asyncio.Task[T]:
        task: SimTask[T] = SimTask(work, loop=self, **more)
        context = more.get("context")
        process = CURRENT.get() if context is None else context.get(CURRENT)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(lambda done: process.tasks.pop(done, None))
        return task

    # --- workers -----------------------------------------------------------------------------------------------

    @property
    def worker(self) -> Worker | None:
        """The one that is running, if one is."""
        return self._workers.get(id(greenlet.getcurrent()))

    def run_in_executor(
        self, executor: object, function: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(cast(T, value))
            else:
                done.set_exception(error)

        self._start(functools.partial(function, *args), settle, done.cancelled)
        return done

    def submit(self, function: Callable[..., T], *args: object, **kwargs: object) -> SimFuture[T]:
        """``Executor.submit``."""
        done: SimFuture[T] = SimFuture(self)

        def settle(value: T | None, error: BaseException | None) -> None:
            if error is None:
                done.set_result(cast(T, value))
            else:
                done.set_exception(error)

        self._start(functools.partial(function, *args, **kwargs), settle, lambda: False)
        return done

    def run_threadsafe(self, work: Coroutine[Any, Any, T], _: asyncio.AbstractEventLoop) -> SimFuture[T]:
        """``asyncio.run_coroutine_threadsafe``."""
        done: SimFuture[T] = SimFuture(self)
        chain = cast(Callable[[object, object], None], futures._chain_future)  # type: ignore[attr-defined]
        self.call_soon(lambda: chain(self.create_task(work), done))
        return done

    def _start(
        self,
        function: Callable[[], T],
        settle: Callable[[T | None, BaseException | None], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        context = contextvars.copy_context()

        def work() -> None:
            key = id(greenlet.getcurrent())
            self._workers[key] = worker
            try:
                if is_cancelled():
                    return
                if worker.process is not None:
                    worker.process.check_alive()
                settle(context.run(function), None)
            except BaseException as error:
                settle(None, error)
            finally:
                del self._workers[key]

        worker = Worker(self, work)
        self.call_soon(worker.resume)

    @property
    def is_working(self) -> bool:
        """Whether any worker has not ended."""
        return bool(self._workers)

    def pause(self) -> None:
        """A place where a thread may be interrupted."""
        worker = self.worker
        if worker is not None and not self.locks_held and self._rng.random() < self._share:
            worker.give_way(self._rng.random() * LONGEST_PAUSE_S)

    def kill_workers(self, process: Process) -> None:
        """Those of a dead process get their Crash where they stand."""
        for worker in list(self._workers.values()):
            if worker.process is process and worker is not self.worker:
                self.call_soon(worker.kill)


class SimLock:
    """``threading.Lock`` and ``RLock`` where only one worker runs and none gives way while it holds one."""

    def __init__(self, loop: Clockwork) -> None:
        self._loop = loop

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._loop.locks_held += 1
        return True

    def release(self) -> None:
        self._loop.locks_held -= 1

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class SimEvent(threading.Event):
    """``threading.Event``: who waits gives way for so long, in virtual time."""

    def __init__(self, loop: Clockwork) -> None:
        super().__init__()
        self._loop = loop

    def wait(self, timeout: float | None = None) -> bool:
        worker = self._loop.worker
        if not self.is_set() and worker is not None and not self._loop.locks_held and timeout:
            worker.give_way(timeout)
        return self.is_set()
