"""Is a recorder's clock measured with an uncertainty that covers the truth?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.core.recorder_clock import measure_clock

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def test_the_middle_of_the_round_trip_counts() -> None:
    clock = measure_clock(
        shown=NOON + timedelta(seconds=5),
        step=timedelta(seconds=1),
        asked_at=NOON,
        round_trip=timedelta(milliseconds=201),
        method="m",
    )
    assert (clock.offset_ms, clock.uncertainty_ms, clock.method) == (4900, 1101, "m")


@given(
    true_offset=st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    round_trip=st.timedeltas(timedelta(0), timedelta(seconds=10)),
    answered=st.floats(0, 1),
)
def test_the_true_offset_lies_within_the_uncertainty(
    true_offset: timedelta, round_trip: timedelta, answered: float
) -> None:
    on_recorder = NOON + round_trip * answered + true_offset
    clock = measure_clock(
        shown=on_recorder.replace(microsecond=0),
        step=timedelta(seconds=1),
        asked_at=NOON,
        round_trip=round_trip,
        method="m",
    )
    difference = abs(timedelta(milliseconds=clock.offset_ms) - true_offset)
    assert difference <= timedelta(milliseconds=clock.uncertainty_ms + 1)
