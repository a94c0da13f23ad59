"""One error tree for everything the collector itself can object to or fail at.

Every error carries a stable ``code``, the HTTP ``status`` it is answered with, whether the same request can
succeed later (``retryable``), and whose fault it is. Messages are shown to callers: they name no paths, keys
or personal details. Codes are never renamed or reused.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, Literal

Fault = Literal["caller", "collector"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class CollectorError(Exception):
    """Root of the tree. ``str()`` is one English sentence fit for the caller's eyes."""

    code: ClassVar[str] = "collector-error"
    retryable: ClassVar[bool] = False
    status: ClassVar[int] = 500
    fault: ClassVar[Fault] = "collector"


class StorageError(CollectorError):
    """The file system or object store refused or failed; what was durable before is untouched."""

    code = "storage-failed"
    retryable = True
    status = 503


class StorageFullError(StorageError):
    """No space or quota left. Nothing is lost: the sender keeps its copy and tries again later."""

    code = "storage-full"
    status = 507


class StagingShareError(StorageFullError):
    """This sender has its share of the space for uploads; others may still begin. It tries again later."""

    code = "staging-share-used"
    fault = "caller"


class ObjectCorruptError(CollectorError):
    """A stored object no longer has the size or digest it is filed under. Both are kept for the alarm."""

    code = "object-corrupt"

    def __init__(self, message: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{message}: expected {expected}, got {actual}")
        self.expected = expected
        self.actual = actual


class ObjectMissingError(CollectorError):
    """No object is stored under this digest, class and agency."""

    code = "object-missing"
    status = 404
    fault = "caller"


class NotAuthenticatedError(CollectorError):
    """The caller has not shown who it is."""

    code = "not-authenticated"
    status = 401
    fault = "caller"


class NotAllowedError(CollectorError):
    """The caller is known and may not do this."""

    code = "not-allowed"
    status = 403
    fault = "caller"


class CollectorAwayError(CollectorError):
    """A command goes through the running collector like everybody, and it does not answer."""

    code = "collector-away"
    retryable = True


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turns what the operating system reports while ``doing`` (a phrase for people) into this tree: no space
    becomes StorageFullError, everything else StorageError. The OSError stays attached as the cause."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(f"no space left while {doing}") from error
        raise StorageError(f"storage failed while {doing}") from error


def is_lost_sector(error: CollectorError) -> bool:
    """Whether the disk said that it cannot read what it holds."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO
