"""What can go wrong with the station's own storage: the spool and the journal."""

from __future__ import annotations

from agent.errors import AgentError


class SpoolError(AgentError):
    """The spool's file system refused something. What was journalled stays true."""

    code = "spool-error"


class SpoolFullError(SpoolError):
    """No space left for new bytes. Reading waits (back-pressure); nothing is dropped."""

    code = "spool-full"
    retryable = True


class SpoolReadBackError(SpoolError):
    """The bytes re-read from the station's disk are not the bytes written. Both digests are kept."""

    code = "spool-read-back-differs"
    retryable = True

    def __init__(self, *, written: str, read_back: str) -> None:
        super().__init__(
            f"the spool returned other bytes than were written: {written} written, {read_back} read"
        )
        self.written = written
        self.read_back = read_back


class JournalError(AgentError):
    """The journal cannot be opened, or was asked for something that contradicts what it holds."""

    code = "journal-error"


class JournalStorageError(JournalError):
    """The disk is full or failed under the journal. Nothing of the transaction was kept; it can be tried again."""

    code = "journal-storage"
    retryable = True


class JournalNewerError(JournalError):
    """The journal was written by a later version; an older one would not know what it may rely on."""

    code = "journal-newer"
