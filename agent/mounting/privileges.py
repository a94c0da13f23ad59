"""Giving up what the mount helper does not need, once it has what it needs.

Of root's forty privileges one remains, CAP_SYS_ADMIN, which mounting and the block layer's write protection ask for.
Files of other users stay closed to it, and no program it could be made to start gets more.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_SYS_ADMIN: Final = 21
_PR_SET_NO_NEW_PRIVS: Final = 38


def join_group(group_id: int) -> None:
    """What is made from now on belongs to root and this group. Raises OSError."""
    os.setgroups([])
    os.setgid(group_id)


def keep_only_mounting() -> None:
    """For the calling thread and all it starts; call it while there is one. Raises OSError."""
    _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    kept = 1 << _CAP_SYS_ADMIN
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("6I", kept, kept, 0, 0, 0, 0)  # effective, permitted, inheritable; low words first
    _checked(_LIBC.capset(header, sets))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
