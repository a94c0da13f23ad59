"""How far a recorder's clock is from the station's, and how sure that is. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from protocol.statements import RecorderClock

_MILLISECOND: Final = timedelta(milliseconds=1)


def measure_clock(
    *, shown: datetime, step: timedelta, asked_at: datetime, round_trip: timedelta, method: str
) -> RecorderClock:
    """The clock showed ``shown``, counting in ``step``, at some moment between question and answer.

    That moment is taken to be the middle: it was off by at most half the round trip, and the clock was less than
    one step beyond what it showed.
    """
    offset = shown - (asked_at + round_trip / 2)
    uncertainty = abs(round_trip) / 2 + step
    return RecorderClock(
        offset_ms=round(offset / _MILLISECOND),
        uncertainty_ms=math.ceil(uncertainty / _MILLISECOND),
        method=method,
    )
