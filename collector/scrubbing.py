"""The background scrub (巡检): every object the log names, re-read and re-hashed within a set period.

It goes along the log, so that an object that is gone is missed as surely as one that changed. Reads are paced over the
period, bounded in bytes a second and of idle priority. Where it is, is kept in a small file; losing that file repeats
work and nothing else.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from collector.audit.objects import AuditedObjects, ObjectName
from collector.catalogue import Catalogue
from collector.errors import CollectorError, ObjectMissingError, is_lost_sector
from collector.mending import Mender
from collector.objects import Place
from collector.private_files import write_durable

logger = logging.getLogger(__name__)

MAX_BYTES_A_SECOND: Final = 64 << 20
"""A disk does twice that: stations that deliver are not slowed by half. Enough for 160 TiB in 30 days."""

RECHECK_S: Final = 3600.0
"""Damaged objects are looked at so often: somebody may have put them back."""

_SAVE_S: Final = 60.0
_RETRY_S: Final = 60.0
_MOST_RECHECKED: Final = 100
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS: Final = 1
_IOPRIO_CLASS_IDLE: Final = 3 << 13

_T = TypeVar("_T")


@dataclass(slots=True)
class ScrubCounts:
    """Since the start of this process."""

    objects: int = 0
    size_bytes: int = 0
    damaged: int = 0
    rounds: int = 0


class Scrub:
    """``run`` is its only task."""

    def __init__(
        self,
        *,
        objects: AuditedObjects,
        catalogue: Catalogue,
        mender: Mender,
        cursor: Path,
        period_s: float,
    ) -> None:
        self._objects = objects
        self._catalogue = catalogue
        self._mender = mender
        self._cursor = cursor
        self._period_s = period_s
        self._stopping = threading.Event()
        self.counts = ScrubCounts()

    async def run(self) -> None:
        """Until cancelled. What cannot be read or said now is tried again later."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="scrub", initializer=_be_idle)
        try:
            await self._go_round(pool)
        finally:
            self._stopping.set()
            pool.shutdown(wait=False)

    async def _go_round(self, pool: ThreadPoolExecutor) -> None:
        index, saved_at, rechecked_at = load_cursor(self._cursor), 0.0, 0.0
        while True:
            started_at = time.monotonic()
            try:
                if started_at - rechecked_at >= RECHECK_S:
                    await self._recheck(pool)
                    rechecked_at = started_at
                size = await asyncio.to_thread(self._catalogue.projected_size)
                if index >= size:
                    index = 0
                    self.counts.rounds += 1
                    logger.info("scrub.round_done entries=%d damaged=%d", size, self.counts.damaged)
                await self.scrub_entry(pool, index)
                index += 1
                if started_at - saved_at >= _SAVE_S:
                    await asyncio.to_thread(save_cursor, self._cursor, index)
                    saved_at = started_at
                pause_s = self._period_s / max(size, 1) - (time.monotonic() - started_at)
            except (CollectorError, OSError) as error:
                logger.warning("scrub.failed code=%s", getattr(error, "code", "system"))
                pause_s = _RETRY_S
            await asyncio.sleep(min(max(pause_s, 0.0), RECHECK_S))

    async def scrub_entry(self, pool: ThreadPoolExecutor, index: int) -> None:
        """Everything the entry at this place of the log names."""
        for place in await asyncio.to_thread(self._catalogue.objects_of_entry, index):
            await self._look_at(pool, place)

    async def _recheck(self, pool: ThreadPoolExecutor) -> None:
        for place in await asyncio.to_thread(self._catalogue.all_damaged_objects, _MOST_RECHECKED):
            await self._look_at(pool, place)

    async def _look_at(self, pool: ThreadPoolExecutor, place: Place) -> None:
        """What seems whole and was damaged, and what seems damaged, is looked at closely before the log says so."""
        seems_whole = await _in(pool, lambda: self._seems_whole(place))
        if seems_whole and not await self._mender.known_damaged([place]):
            return
        if not await self._mender.look_at(place):
            self.counts.damaged += 1

    def _seems_whole(self, place: Place) -> bool:
        agency, cls, digest = place
        throttle = _Throttle(self._stopping)
        try:
            actual, size_bytes = self._objects.rehash(
                ObjectName(agency=agency, cls=cls, digest=digest), throttle.passed
            )
        except ObjectMissingError:
            return False
        except CollectorError as error:
            if is_lost_sector(error):
                return False
            raise
        self.counts.objects += 1
        self.counts.size_bytes += size_bytes
        return actual == digest


class _StoppedError(CollectorError):
    """The collector stops in the middle of an object."""

    code = "collector-stopping"


class _Throttle:
    """Lets through so many bytes a second."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._started_at = time.monotonic()
        self._size_bytes = 0

    def passed(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        due_s = self._size_bytes / MAX_BYTES_A_SECOND - (time.monotonic() - self._started_at)
        if self._stopping.wait(max(due_s, 0.0)):
            raise _StoppedError("the collector is stopping")


async def _in(pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _be_idle() -> None:
    """This thread reads only while nobody else wants the disk, where the kernel lets it be so kind."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        ctypes.CDLL(None).syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_CLASS_IDLE)


def load_cursor(path: Path) -> int:
    """The place in the log to go on at; 0 for a file that is missing or says nothing."""
    try:
        index = json.loads(path.read_bytes())["next"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return index if type(index) is int and index >= 0 else 0


def save_cursor(path: Path, index: int) -> None:
    """Durably. Raises OSError."""
    write_durable(path, json.dumps({"next": index}).encode())
