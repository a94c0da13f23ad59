"""What the C library keeps of memory that was given back; by default as much as was ever needed at once."""

from __future__ import annotations

import ctypes
import logging
from typing import Final

_LOG: Final = logging.getLogger(__name__)

# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_SETTINGS: Final = ((_M_ARENA_MAX, 2), (_M_MMAP_THRESHOLD, 128 * 1024), (_M_TRIM_THRESHOLD, 256 * 1024))


def keep_little() -> None:
    """Two arenas for all threads, where each thread would otherwise soon keep one of its own; and large blocks always
    go back to the kernel, where one such block would otherwise raise the limit for all later ones (mallopt(3)). Call
    it before the first thread. Costs no measurable time; without glibc nothing is done."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    for parameter, value in _SETTINGS:
        if not mallopt(parameter, value):
            _LOG.warning("malloc refused a setting", extra={"parameter": parameter})
