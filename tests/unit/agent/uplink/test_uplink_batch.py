"""Do many small transitions share a flush, and does each caller learn the truth about its own?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from agent.core.retry import Backoff, Failure
from agent.doorbells import Doorbell
from agent.uplink.batch import MAX_BATCH, Batcher
from agent.uplink.patience import MIN_GAP_S, Gate, rang
from agent.uplink.state import UplinkState
from tests.support.evidence import NOW


class Flush:
    """Notes every batch; fails for the items it is told to fail for. ``gate`` holds it up."""

    def __init__(self, *bad: int) -> None:
        self.batches: list[list[int]] = []
        self.bad = set(bad)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Sequence[int]) -> None:
        self.gate.wait(10)
        if self.bad & set(batch):
            raise ValueError("bad item")
        self.batches.append(list(batch))


async def test_items_that_come_together_are_written_together_and_in_order() -> None:
    flush = Flush()
    batcher = Batcher(flush, name="test")
    await asyncio.gather(*(batcher.put(number) for number in range(3 * MAX_BATCH)))
    assert [number for batch in flush.batches for number in batch] == list(range(3 * MAX_BATCH))
    assert len(flush.batches) == 3


async def test_bad_item_fails_alone() -> None:
    flush = Flush(3)
    batcher = Batcher(flush, name="test")
    outcomes = await asyncio.gather(*(batcher.put(number) for number in range(6)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 3 + [ValueError] + [type(None)] * 2


async def test_item_of_a_caller_that_gave_up_is_written_all_the_same() -> None:
    flush = Flush()
    flush.gate.clear()
    batcher = Batcher(flush, name="test")
    caller = asyncio.create_task(batcher.put(1))
    await asyncio.sleep(0)
    caller.cancel()
    flush.gate.set()
    await batcher.close()
    assert flush.batches == [[1]]
    with pytest.raises(asyncio.CancelledError):
        await caller


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


AWAY = Failure(code="collector-away", detail="gone", retryable=True, everywhere=True)


def a_gate(clock: Clock) -> Gate:
    return Gate(UplinkState(lambda: NOW), lambda: 0.999, Backoff(first_s=4, cap_s=30), clock)


def test_gate_closes_longer_with_every_failure_and_opens_with_an_answer() -> None:
    clock = Clock()
    gate = a_gate(clock)
    waits = []
    for _ in range(6):
        gate.note_failure(AWAY)
        waits.append(round(gate.wait_s()))
        clock.now_s += gate.wait_s()
    assert waits == [4, 8, 16, 30, 30, 30]
    gate.note_answer()
    assert (gate.wait_s(), gate.failing) == (0, False)


def test_failures_of_tries_begun_together_count_once() -> None:
    gate = a_gate(Clock())
    for _ in range(10):
        gate.note_failure(AWAY)
    assert round(gate.wait_s()) == 4


def test_news_opens_the_gate_early_but_not_at_once() -> None:
    clock = Clock()
    gate = a_gate(clock)
    for _ in range(4):
        gate.note_failure(AWAY)
        clock.now_s += gate.wait_s()
    gate.note_failure(AWAY)
    gate.hurry()
    assert gate.wait_s() == pytest.approx(MIN_GAP_S)


async def test_listener_can_tell_a_ring_from_silence() -> None:
    bell = Doorbell()
    bell.ring()
    assert await rang(bell, 10)
    assert not await rang(bell, 0.01)
