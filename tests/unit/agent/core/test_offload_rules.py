"""Do the rules of offloading hold: where to begin, what to do about trouble, what to read together, what to evict?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.offload import (
    BATCH_BYTES,
    BATCH_FILES,
    SMALL_BYTES,
    Decision,
    EarlierRead,
    GiveUp,
    ListAgain,
    ReadLimits,
    StopVisit,
    Trouble,
    TryAgain,
    WaitForSpace,
    decide_after,
    decide_start,
    has_room,
    plan_batches,
    plan_eviction,
)

SURE = EarlierRead(
    journalled_bytes=4096, kept_bytes=4096, prefix_holds=True, recorder_agrees=True, time_known=True
)
LIMITS = ReadLimits(max_attempts=4, first_pause_s=1.0, max_pause_s=3.0)


@dataclass(frozen=True)
class File:
    size_bytes: int


def test_reading_goes_on_where_everything_agrees() -> None:
    assert decide_start(SURE) == 4096


@pytest.mark.parametrize(
    "doubt",
    [{"kept_bytes": 4095}, {"prefix_holds": False}, {"recorder_agrees": False}, {"time_known": False}],
    ids=lambda doubt: next(iter(doubt)),
)
def test_one_doubt_and_it_begins_anew(doubt: dict[str, int | bool]) -> None:
    assert decide_start(replace(SURE, **doubt)) == 0  # type: ignore[arg-type]


def test_without_an_earlier_read_it_begins_at_the_beginning() -> None:
    assert decide_start(None) == 0


@pytest.mark.parametrize(
    ("trouble", "failures", "decision"),
    [
        (Trouble.UNREADABLE, 1, TryAgain(1.0)),
        (Trouble.UNREADABLE, 2, TryAgain(2.0)),
        (Trouble.UNREADABLE, 3, TryAgain(3.0)),
        (Trouble.UNREADABLE, 4, GiveUp()),
        (Trouble.REFUSED, 1, GiveUp()),
        (Trouble.CHANGED, 9, ListAgain()),
        (Trouble.VANISHED, 1, StopVisit(station_fault=False)),
        (Trouble.STOPPED, 1, StopVisit(station_fault=False)),
        (Trouble.SPOOL_FULL, 9, WaitForSpace()),
        (Trouble.SPOOL, 3, TryAgain(3.0)),
        (Trouble.SPOOL, 4, StopVisit(station_fault=True)),
    ],
)
def test_trouble_is_answered_by_the_rules(trouble: Trouble, failures: int, decision: Decision) -> None:
    assert decide_after(trouble, failures=failures, limits=LIMITS) == decision


def test_patience_without_attempts_is_refused() -> None:
    with pytest.raises(ValueError, match="attempt"):
        ReadLimits(max_attempts=0)


@given(st.lists(st.integers(min_value=0, max_value=2 * SMALL_BYTES), max_size=400))
def test_batches_keep_order_and_limits(sizes: list[int]) -> None:
    batches = list(plan_batches([File(size) for size in sizes]))
    assert [file.size_bytes for batch in batches for file in batch] == sizes
    for batch in batches:
        assert 0 < len(batch) <= BATCH_FILES
        assert len(batch) == 1 or sum(file.size_bytes for file in batch) <= BATCH_BYTES
        assert len(batch) == 1 or all(file.size_bytes < SMALL_BYTES for file in batch)


def test_below_the_watermark_nothing_is_read() -> None:
    assert has_room(free_bytes=30, wanted_bytes=10, watermark_bytes=20)
    assert not has_room(free_bytes=30, wanted_bytes=11, watermark_bytes=20)


def test_eviction_takes_no_more_than_it_needs() -> None:
    candidates = [File(10), File(20), File(30)]
    planned = list(plan_eviction(candidates, free_bytes=5, wanted_free_bytes=30))
    assert planned == [File(10), File(20)]
    assert list(plan_eviction(candidates, free_bytes=30, wanted_free_bytes=30)) == []
