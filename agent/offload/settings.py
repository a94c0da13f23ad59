"""Settings of visits and offload, and the tools both work with."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ParamSpec, TypeVar

from agent.core.offload import ReadLimits
from agent.core.release import ReleaseSettings
from agent.doorbells import Doorbells
from agent.offload.growing import EarlyDelivery
from agent.offload.testimony import Testimony
from agent.spool.journal import Journal
from firmware_profiles.registry import Registry
from protocol.note import VerifierKey

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitSettings:
    """What an administrator may set. Sizes in bytes, times in seconds.

    Reading waits while less than ``watermark_bytes`` would stay free; eviction begins below ``evict_below_bytes`` and
    spares what was receipted less than ``evict_after`` ago. ``zone`` is in which file names tell the time.
    """

    zone: tzinfo = UTC
    parallel_reads: int = 4
    watermark_bytes: int = 2 * 2**30
    evict_below_bytes: int = 20 * 2**30
    evict_after: timedelta = timedelta(hours=24)
    read_limits: ReadLimits = field(default_factory=ReadLimits)
    relist_pause_s: float = 10.0
    recheck_s: float = 5.0

    def __post_init__(self) -> None:
        if self.parallel_reads < 1 or self.evict_below_bytes < self.watermark_bytes:
            raise ValueError("at least one read at a time, and eviction begins above the watermark")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTools:
    """What release works with. Without it recorders are never written. ``log_halted`` tells whether the log has
    contradicted itself: then no receipt of it counts until a person has looked."""

    settings: ReleaseSettings
    log_key: VerifierKey
    log_halted: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitTools:
    """Everything a visit works with; shared by all bays."""

    journal: Journal
    testimony: Testimony
    registry: Registry
    doorbells: Doorbells
    settings: VisitSettings
    early: EarlyDelivery | None = None
    release: ReleaseTools | None = None

    @property
    def clock(self) -> Callable[[], datetime]:
        return self.testimony.clock

    @property
    def new_id(self) -> Callable[[], str]:
        return self.testimony.new_id


class Threads:
    """The threads that read, settle and re-read for all bays."""

    def __init__(self, parallel_reads: int) -> None:
        self.workers = ThreadPoolExecutor(2 * parallel_reads + 2, thread_name_prefix="offload")
        self.re_readers = ThreadPoolExecutor(parallel_reads, thread_name_prefix="re-read")

    async def call(
        self, stop: threading.Event | None, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """On a worker thread. Cancelled, it sets ``stop`` and waits for the thread: until then that owns its buffers
        and descriptors, and afterwards what it journalled is known to be journalled."""
        call = functools.partial(function, *args, **kwargs)
        future = asyncio.get_running_loop().run_in_executor(self.workers, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if stop is not None:
                stop.set()
            await asyncio.wait({future})
            if not future.cancelled():
                future.exception()
            raise

    def close(self) -> None:
        """After the last read; waits for what is under way."""
        self.workers.shutdown()
        self.re_readers.shutdown()
