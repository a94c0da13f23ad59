"""Rules of offloading (采集): where a read begins, what follows a failure, what is read together, what is evicted.

Pure: facts in, decisions out. The offloader asks and acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias, TypeVar

SMALL_BYTES: Final = 2 * 1024 * 1024
"""Files below are read in batches: their syncs, one by one, would cost more than their bytes (measured)."""

BATCH_FILES: Final = 64
"""Small files under one commit; a manifest waits for its batch, so a batch must stay well below a second."""

BATCH_BYTES: Final = 32 * 1024 * 1024
"""Bytes under one commit, for the same reason: a slow recorder gives 30 MB/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRead:
    """What is left of an earlier read of a file: the bytes journalled as durable, the bytes really there, whether
    those have the journalled digest, whether they agree with the recorder's file where the two were compared, and
    whether the file has a modification time at all."""

    journalled_bytes: int
    kept_bytes: int
    prefix_holds: bool
    recorder_agrees: bool
    time_known: bool


def decide_start(earlier: EarlierRead | None) -> int:
    """The offset in bytes at which reading begins. Only bytes that are certainly the same file's are kept: one
    doubt, and it is read from the beginning."""
    if earlier is None or earlier.kept_bytes < earlier.journalled_bytes:
        return 0
    sure = earlier.prefix_holds and earlier.recorder_agrees and earlier.time_known
    return earlier.journalled_bytes if sure else 0


class Trouble(StrEnum):
    """What ended a read early."""

    VANISHED = "vanished"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    SPOOL_FULL = "spool-full"
    SPOOL = "spool"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Patience with a file that cannot be read: attempts that got no further, and the pauses between them."""

    max_attempts: int = 5
    first_pause_s: float = 1.0
    max_pause_s: float = 15.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or not 0 <= self.first_pause_s <= self.max_pause_s:
            raise ValueError("at least one attempt, and pauses that do not shrink")


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Read on after a pause."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Sign that the file cannot be read (无法读取), and go on with the others."""


@dataclass(frozen=True, slots=True)
class ListAgain:
    """The file is not what was listed: a later inventory will say what it is."""


@dataclass(frozen=True, slots=True)
class WaitForSpace:
    """Keep everything and wait until the spool has room (back-pressure)."""


@dataclass(frozen=True, slots=True)
class StopVisit:
    """Nothing more can be read now. ``station_fault`` tells the station's own storage from a recorder that left."""

    station_fault: bool


Decision: TypeAlias = TryAgain | GiveUp | ListAgain | WaitForSpace | StopVisit


def decide_after(trouble: Trouble, *, failures: int, limits: ReadLimits) -> Decision:
    """What to do after the ``failures``-th trouble in a row with one file that brought no further bytes.

    The station's own faults never make a recorder's file "unreadable": that would be a false statement.
    """
    if trouble in (Trouble.VANISHED, Trouble.STOPPED):
        return StopVisit(station_fault=False)
    if trouble is Trouble.CHANGED:
        return ListAgain()
    if trouble is Trouble.REFUSED:
        return GiveUp()
    if trouble is Trouble.SPOOL_FULL:
        return WaitForSpace()
    if failures < limits.max_attempts:
        return TryAgain(min(limits.max_pause_s, limits.first_pause_s * 2.0 ** (failures - 1)))
    return GiveUp() if trouble is Trouble.UNREADABLE else StopVisit(station_fault=True)


class Sized(Protocol):
    """Anything with a size."""

    @property
    def size_bytes(self) -> int: ...


SizedT = TypeVar("SizedT", bound=Sized)


def plan_batches(files: Iterable[SizedT]) -> Iterator[Sequence[SizedT]]:
    """Files in their order, small neighbours together; a file that is not small stands alone."""
    batch: list[SizedT] = []
    held_bytes = 0
    for file in files:
        is_small = file.size_bytes < SMALL_BYTES
        if batch and (
            not is_small or len(batch) >= BATCH_FILES or held_bytes + file.size_bytes > BATCH_BYTES
        ):
            yield batch
            batch, held_bytes = [], 0
        if is_small:
            batch.append(file)
            held_bytes += file.size_bytes
        else:
            yield [file]
    if batch:
        yield batch


def has_room(*, free_bytes: int, wanted_bytes: int, watermark_bytes: int) -> bool:
    """Whether so much may be read: below the watermark the spool belongs to what is already in it."""
    return free_bytes - wanted_bytes >= watermark_bytes


def plan_eviction(
    candidates: Iterable[SizedT], *, free_bytes: int, wanted_free_bytes: int
) -> Iterator[SizedT]:
    """Which of the evictable blobs, longest receipted first, to take away until enough is free; none when it is."""
    for candidate in candidates:
        if free_bytes >= wanted_free_bytes:
            return
        yield candidate
        free_bytes += candidate.size_bytes
