"""How far a visit's reading is. Written by reading threads, read by whoever shows it."""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta
from typing import Final

from agent.core.bay import Sample
from agent.spool.records import RowId

_KEPT: Final = 64
_EVERY: Final = timedelta(milliseconds=500)


class Progress:
    """Bytes of files being read now, and samples for the rate of the last half minute or so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading: dict[RowId, int] = {}
        self._finished_bytes = 0
        self._samples: deque[Sample] = deque(maxlen=_KEPT)

    def note(self, row: RowId, bytes_read: int, now: datetime) -> None:
        """So much of this row's file is in the spool, counted from its beginning."""
        with self._lock:
            self._reading[row] = bytes_read
            total = self._finished_bytes + sum(self._reading.values())
            if not self._samples or now - self._samples[-1].at >= _EVERY:
                self._samples.append(Sample(now, total))

    def finish(self, row: RowId, size_bytes: int, now: datetime) -> None:
        """The row's file is journalled; from now on the journal counts it."""
        self.note(row, size_bytes, now)
        with self._lock:
            del self._reading[row]
            self._finished_bytes += size_bytes

    def forget(self, row: RowId) -> None:
        """The read ended without an original."""
        with self._lock:
            self._reading.pop(row, None)

    @property
    def bytes_under_way(self) -> int:
        """Bytes in the spool of files that are not finished."""
        with self._lock:
            return sum(self._reading.values())

    def samples(self) -> list[Sample]:
        with self._lock:
            return list(self._samples)
