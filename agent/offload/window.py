"""The last pieces of a file that is being read, still in memory: early delivery takes them from here and spares the
disk a read.

One thread reads into the slots, another copies out of them; neither waits for the other. A piece that is needed again
before it was taken is simply gone, and whoever wanted it reads the spool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

WINDOW_PIECES: Final = 16
"""16 MiB for each file under way: as far as a line may fall behind its recorder without a second read."""


class Window:
    """Pieces by where they begin. ``new_slot`` makes the buffers, all of one size; all but the last piece are full."""

    def __init__(self, new_slot: Callable[[], memoryview]) -> None:
        self._new_slot = new_slot
        self._max_slots = 1
        self._slots: dict[int, memoryview] = {}

    def widen(self) -> None:
        """From now on somebody takes pieces."""
        self._max_slots = WINDOW_PIECES

    def slot(self, start: int) -> memoryview:
        """Where the piece that begins at ``start`` is to be read into; the oldest piece is given up for it."""
        is_full = len(self._slots) >= self._max_slots
        slot = self._slots.pop(next(iter(self._slots))) if is_full else self._new_slot()
        self._slots[start] = slot
        return slot

    def copy(self, start: int, into: memoryview) -> int:
        """Bytes from ``start`` on, which must have been read, put into ``into``: as many as one piece has; 0 if it is
        gone. Says so also when it went meanwhile: what is in ``into`` then means nothing."""
        for first, slot in tuple(self._slots.items()):
            if first <= start < first + len(slot):
                count = min(len(into), first + len(slot) - start)
                into[:count] = slot[start - first : start - first + count]
                return count if self._slots.get(first) is slot else 0
        return 0
