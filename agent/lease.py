"""One agent per data directory: two would read, announce and deliver the same things."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agent.errors import AgentError


class AlreadyRunningError(AgentError):
    """Another agent works in this data directory."""

    code = "already-running"


class StationLease:
    """Held from construction to ``release``; the kernel gives it back when the process ends in any way.

    Raises AlreadyRunningError, or OSError where there can be no lock (some network shares).
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(data_dir / ".lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise AlreadyRunningError(f"another agent is running in {data_dir}") from error
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        os.close(self._descriptor)
