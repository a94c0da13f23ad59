"""One sync for a whole group of small files, where a sync each would cost more than their bytes.

The order of a group is that of a file: bytes, second look, names; only each step is done for all before the next.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Final

FEW: Final = 4
"""Up to so many are synced one by one: a common sync may have to wait for what others wrote."""

_C: Final = ctypes.CDLL(None, use_errno=True)


class CommonSync:
    """Makes everything below a folder durable: data, lengths, modes and names. Safe for many threads."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError. The folder stays open: the kernel (5.8 and later) tells each descriptor once of a write that
        failed since it was opened."""
        self._lock = threading.Lock()
        self._descriptor = -1
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync(self) -> None:
        """Raises OSError; after that nothing is known about anything written before. One caller at a time, because
        only one would be told of a failure that concerns all."""
        with self._lock:
            if _C.syncfs(self._descriptor) != 0:
                raise OSError(ctypes.get_errno(), "syncfs failed")

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
