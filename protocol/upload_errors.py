"""Everything that can be wrong with an upload: a stable code and the HTTP status tus 1.0.0 prescribes for each."""

from __future__ import annotations

from protocol.errors import UploadError


class UploadHeaderError(UploadError):
    """A tus header is missing, malformed or contradicts another one."""

    code = "upload-header-invalid"


class TusVersionError(UploadError):
    """The request does not speak tus 1.0.0; nothing was processed."""

    code = "tus-version-unsupported"
    status = 412


class ContentTypeError(UploadError):
    """Parts travel as ``application/offset+octet-stream``, in no content coding."""

    code = "upload-content-type"
    status = 415


class MethodNotAllowedError(UploadError):
    """This resource does not know the request's method."""

    code = "method-not-allowed"
    status = 405


class OffsetConflictError(UploadError):
    """The part does not start where the durable bytes end. Ask for the offset and go on from there."""

    code = "upload-offset-conflict"
    status = 409


class SupersededError(UploadError):
    """A newer request for the same upload ended this one; what had arrived of it was kept."""

    code = "upload-superseded"
    retryable = True
    status = 409


class ChecksumMismatchError(UploadError):
    """The part's bytes do not have the announced checksum; the part was discarded, the offset is unchanged."""

    code = "upload-checksum-mismatch"
    retryable = True
    status = 460


class UploadDigestError(UploadError):
    """The complete upload does not have the digest declared at its creation; it was discarded whole."""

    code = "upload-digest-mismatch"
    status = 460

    def __init__(self, message: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{message}: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class TooLargeError(UploadError):
    """More bytes than the announced length or than any upload may have."""

    code = "upload-too-large"
    status = 413


class BundleMalformedError(UploadError):
    """Not a bundle in its one byte form, or a member without the digest in its name; nothing of it was taken."""

    code = "bundle-malformed"


class TooManyUploadsError(UploadError):
    """The sender has too many uploads open; finish or delete some first."""

    code = "upload-too-many"
    retryable = True
    status = 429


class UploadNotFoundError(UploadError):
    """No such upload, or not of this sender."""

    code = "upload-not-found"
    status = 404


class UploadGoneError(UploadError):
    """The upload expired unfinished; its bytes are no longer kept."""

    code = "upload-gone"
    status = 410


class UploadStoredError(UploadError):
    """The upload became a stored original: it takes no bytes and is not deleted through this door."""

    code = "upload-stored"
    status = 403


class PartCutError(UploadError):
    """The body ended early; what had arrived was kept and is in the offset."""

    code = "upload-part-cut"
    retryable = True
    status = 408
