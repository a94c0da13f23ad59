"""How far ffmpeg is, from the lines of ``-progress pipe:1``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

OnProgress = Callable[[float], None]
"""Called with the finished share, 0 to 1, never going back."""

_POSITION: Final = re.compile(rb"out_time_us=([0-9]{1,18})\s*")


def parse_position_s(line: bytes) -> float | None:
    """Seconds of output written so far, from an ``out_time_us`` line; None for every other line."""
    match = _POSITION.fullmatch(line)
    return int(match[1]) / 1_000_000 if match else None


class ProgressMeter:
    """Turns progress lines into a growing share of a known duration."""

    def __init__(self, duration_s: float | None, on_progress: OnProgress) -> None:
        self._duration_s = duration_s
        self._on_progress = on_progress
        self._share = 0.0

    def take_line(self, line: bytes) -> None:
        """Feed one line of output; reports when the share has grown."""
        position_s = parse_position_s(line)
        if position_s is None or not self._duration_s:
            return
        share = min(1.0, position_s / self._duration_s)
        if share > self._share:
            self._share = share
            self._on_progress(share)
