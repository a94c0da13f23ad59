"""What can go wrong with a visit as a whole; troubles of single files are ``agent.volumes.errors``."""

from __future__ import annotations

from agent.errors import AgentError


class OffloadError(AgentError):
    """A recorder cannot be offloaded now. Nothing that was read is lost."""

    code = "offload-error"


class RecorderRefusedError(OffloadError):
    """The station does not know this recorder, or does not know for which agency it may speak for it."""

    code = "recorder-refused"


class StationStorageError(OffloadError):
    """The station's own disk failed repeatedly. The recorder is not to blame; a person must look at the station."""

    code = "station-storage-fault"
    retryable = True
