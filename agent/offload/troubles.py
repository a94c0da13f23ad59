"""From an exception to the trouble the rules know."""

from __future__ import annotations

import errno
from typing import Final

from agent.core.offload import Trouble
from agent.errors import AgentError
from agent.offload.reader import ReadStoppedError, ShortReadError
from agent.spool.errors import JournalError, SpoolError, SpoolFullError
from agent.volumes.errors import (
    FileChangedError,
    FileUnreadableError,
    PathUnsafeError,
    VolumeUnreadableError,
    VolumeVanishedError,
)

_TROUBLES: Final[tuple[tuple[type[AgentError], Trouble], ...]] = (
    (ReadStoppedError, Trouble.STOPPED),
    (VolumeVanishedError, Trouble.VANISHED),
    (FileChangedError, Trouble.CHANGED),
    (PathUnsafeError, Trouble.REFUSED),
    (ShortReadError, Trouble.UNREADABLE),
    (FileUnreadableError, Trouble.UNREADABLE),
    (VolumeUnreadableError, Trouble.VANISHED),  # no file of it can be blamed
    (SpoolFullError, Trouble.SPOOL_FULL),
    (SpoolError, Trouble.SPOOL),
    (JournalError, Trouble.SPOOL),
)


def trouble_of(error: AgentError) -> Trouble:
    """What this error means for a read. Raises it again when it is none of a read's."""
    if isinstance(error, FileUnreadableError) and error.errno == errno.ENOENT:
        return Trouble.CHANGED
    for kind, trouble in _TROUBLES:
        if isinstance(error, kind):
            return trouble
    raise error
