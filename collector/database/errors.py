"""What a database can do to its user."""

from __future__ import annotations

from collector.errors import CollectorError, StorageError


class DatabaseError(StorageError):
    """The database refused or failed; the transaction was rolled back."""

    code = "database-failed"


class DatabaseNewerError(CollectorError):
    """The database was written by a later version of this program, whose meaning is not known here."""

    code = "database-newer"
