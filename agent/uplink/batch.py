"""Group commit: many small transitions under one disk flush, each waited for by whoever needs it durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from agent.spool.journal import Journal

T = TypeVar("T")
R = TypeVar("R")

MAX_BATCH: Final = 128
"""Items under one flush: the flush costs milliseconds, an item microseconds; more only makes the first one wait."""


class Batcher(Generic[T]):
    """Hands items to ``flush``, in their order, in a thread; while one batch is being written the next collects."""

    def __init__(self, flush: Callable[[Sequence[T]], None], *, name: str) -> None:
        self._flush = flush
        self._name = name
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, item: T) -> None:
        """Returns when ``flush`` has returned for a batch with ``item``; raises what it raised for this item alone.

        A caller that is cancelled does not take its item back: it will be written.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=self._name)
        await done

    async def close(self) -> None:
        """Until everything put before is written."""
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
        finally:
            self._task = None

    async def _write(self, batch: list[tuple[T, asyncio.Future[None]]]) -> None:
        try:
            await asyncio.to_thread(self._flush, [item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1:
                _finish(batch[0][1], error)
                return
            for single in batch:  # one bad item must not fail its neighbours
                await self._write([single])
            return
        for _, done in batch:
            _finish(done, None)


def _finish(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


class Together(Generic[T, R]):
    """Hands items to ``act`` with those that come meanwhile; each caller gets the result of its own item."""

    def __init__(self, act: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, name: str) -> None:
        self._act = act
        self._name = name
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, item: T) -> R:
        """Raises what ``act`` raised for the batch. A caller that is cancelled does not take its item back."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=self._name)
        return await result

    async def close(self) -> None:
        """Until everything put before is done."""
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._do(batch)
        finally:
            self._task = None

    async def _do(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._act([item for item, _ in batch])
        except Exception as error:
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), result in zip(batch, results, strict=True):
            if not waiting.done():
                waiting.set_result(result)


Transition = Callable[[], None]
"""One change of the journal; runs inside a transaction, in a thread."""


def transitions(journal: Journal) -> Batcher[Transition]:
    """Small journal changes in common transactions."""

    def flush(batch: Sequence[Transition]) -> None:
        with journal.transaction():
            for change in batch:
                change()

    return Batcher(flush, name="journal transitions")
