"""What can go wrong between the station and its collector. All of it leaves the journal as it was.

``retryable`` errors are met with patience (``agent.core.retry``); the others are met with a finding, because
trying again would only repeat them.
"""

from __future__ import annotations

from agent.errors import AgentError


class UplinkError(AgentError):
    """Something between station and collector did not work."""

    code = "uplink-error"


class CollectorAwayError(UplinkError):
    """No answer: not reachable, cut off, stalled or too slow. Nothing is known about what it did."""

    code = "collector-away"
    retryable = True


class CollectorAnswerError(UplinkError):
    """An answer that breaks the interface: too large, not JSON, not signed as it must be, another type.

    Retryable, since a broken proxy in between gives such answers and is repaired some day.
    """

    code = "collector-answer-invalid"
    retryable = True


class CollectorProblemError(UplinkError):
    """The collector answered with an error status. ``problem`` is its stable code (RFC 9457 problem details),
    ``http-<status>`` where the answer carried none."""

    code = "collector-problem"

    def __init__(
        self, *, status: int, problem: str, detail: str, retryable: bool, retry_after_s: float | None
    ) -> None:
        super().__init__(f"the collector answered {status} ({problem}): {detail}")
        self.status = status
        self.problem = problem
        self.can_retry = retryable
        self.retry_after_s = retry_after_s


class UploadError(UplinkError):
    """An upload cannot go on."""

    code = "upload-error"


class UploadStuckError(UploadError):
    """Several requests in a row moved nothing."""

    code = "upload-stuck"
    retryable = True


class UploadDivergedError(UploadError):
    """The collector holds other bytes than the file was signed with. Both digests are kept; either the transport
    or the spool is damaged, so the file is hashed again before it is sent again."""

    code = "upload-diverged"
    retryable = True

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__(f"the uploaded bytes differ from the signed ones: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class SourceError(UploadError):
    """The file to send cannot be read, or ends before its size."""

    code = "upload-source"


class SpoolDamagedError(SourceError):
    """A spooled file no longer has the digest it was signed with. The original may still be on its recorder."""

    code = "spool-damaged"

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__(f"a spooled file has changed: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class AdmissionInvalidError(UplinkError):
    """An admission that is malformed, not signed by this collector, or addressed to another station."""

    code = "admission-invalid"
    retryable = True


class ReceiptInvalidError(UplinkError):
    """A receipt that does not verify under the log's key. The cause says which step failed."""

    code = "receipt-invalid"
    retryable = True


class ReceiptMismatchError(ReceiptInvalidError):
    """A receipt that names our statement with another blob, size or agency."""

    code = "receipt-mismatch"


class LogUnprovenError(UplinkError):
    """The collector does not prove that its log and the log seen before are one. Nothing is settled meanwhile."""

    code = "log-unproven"
    retryable = True
