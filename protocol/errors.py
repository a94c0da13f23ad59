"""One error tree for everything the protocol can object to.

Every error carries a stable ``code`` (lower-case words joined by hyphens) that travels over the wire in
problem details, admissions and verification reports. Codes are never renamed or reused. ``retryable`` says
whether the same request can succeed later without anybody changing anything.
"""

from __future__ import annotations

from typing import ClassVar


class ProtocolError(Exception):
    """Root of the tree. ``str()`` is one English sentence that says what was expected and what was found."""

    code: ClassVar[str] = "protocol-error"
    retryable: ClassVar[bool] = False


class MalformedError(ProtocolError):
    """The bytes are not of the form they claim: syntax, missing or ill-typed field, non-canonical spelling."""

    code = "malformed"


class LimitError(ProtocolError):
    """A named limit of ``protocol.limits`` is exceeded."""

    code = "limit-exceeded"


class UnknownCriticalError(ProtocolError):
    """A field is marked critical and this version does not know it, so the meaning cannot be relied on."""

    code = "unknown-critical"


class UnknownKindError(ProtocolError):
    """A statement kind, format version or algorithm this version does not know."""

    code = "unknown-kind"


class KeyRejectedError(ProtocolError):
    """A public key of low order or non-canonical encoding: honest verifiers disagree on its signatures."""

    code = "key-rejected"


class SignatureError(ProtocolError):
    """A signature does not verify under the key it names."""

    code = "signature-invalid"


class DigestMismatchError(ProtocolError):
    """Bytes do not have the digest they were promised to have. Both digests are kept."""

    code = "digest-mismatch"

    def __init__(self, message: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{message}: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class ProofError(ProtocolError):
    """An inclusion or consistency proof does not lead to the root it is said to lead to."""

    code = "proof-invalid"


class ForkError(ProtocolError):
    """Two validly signed checkpoints of one log that cannot both be true. The two notes are the evidence."""

    code = "log-forked"


class ChainError(ProtocolError):
    """Statements are valid one by one but do not belong together (another clip, station, visit or order)."""

    code = "chain-broken"


class EnrolmentError(ProtocolError):
    """A key is not enrolled, or not for this purpose, at the place in the log where it was used."""

    code = "not-enrolled"


class RevokedError(EnrolmentError):
    """The key had been revoked before it was used."""

    code = "key-revoked"


class AgencyNotAllowedError(EnrolmentError):
    """The signer is enrolled, but not to speak for this agency."""

    code = "agency-not-allowed"


class UploadError(ProtocolError):
    """An upload request that breaks the tus rules; subclasses carry the HTTP status tus prescribes."""

    code = "upload-invalid"
    status: ClassVar[int] = 400
