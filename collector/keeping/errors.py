"""What keeping can find wrong. Messages are for the administrator and say what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from collector.errors import CollectorError, StorageError, StorageFullError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LogDamagedError(CollectorError):
    """The files of the log do not give the tree that was signed. Nothing is made from them."""

    code: ClassVar[str] = "log-damaged"


class PayloadsMissingError(CollectorError):
    """Statements of the log are not in the object store, so a new catalogue would know less than the log commits to."""

    code: ClassVar[str] = "payloads-missing"


class CatalogueNewerError(CollectorError):
    """The catalogue shows more than the log has: an old copy of the log was put back."""

    code: ClassVar[str] = "log-rolled-back"


class CatalogueUnusableError(CollectorError):
    """The catalogue's file is missing or no database of this program."""

    code: ClassVar[str] = "catalogue-unusable"


class BackupPlaceError(CollectorError):
    """The place for a backup cannot be used: in use, inside the data, or with another collector's backup in it."""

    code: ClassVar[str] = "backup-place"


class BackupUnusableError(CollectorError):
    """There is no complete backup here."""

    code: ClassVar[str] = "backup-unusable"


class BackupDamagedError(CollectorError):
    """Files of the backup are missing or not what its manifest says."""

    code: ClassVar[str] = "backup-damaged"


class PassphraseError(CollectorError):
    """The passphrase is missing, too short or wrong."""

    code: ClassVar[str] = "passphrase"


class RestorePlaceError(CollectorError):
    """The directory to restore into is not empty."""

    code: ClassVar[str] = "restore-place"


class LogHeldError(CollectorError):
    """The log came from a backup and nobody has said yet whether it is the newest there is; going on from an older
    one would sign a second history."""

    code: ClassVar[str] = "log-held"


@contextmanager
def telling(doing: str) -> Iterator[None]:
    """Turns what the operating system reports into StorageFullError or StorageError, with the path: the reader is
    the administrator of this machine."""
    try:
        yield
    except OSError as error:
        kind = StorageFullError if error.errno in _FULL else StorageError
        raise kind(f"{doing}: {error}") from error
