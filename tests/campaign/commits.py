"""SQLite as it is, with commits that are durable steps."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tests.campaign.acts import Verb
from tests.campaign.kernel import Kernel
from tests.campaign.process import living

R = TypeVar("R")


class SimConnection(sqlite3.Connection):
    """A connection whose commits are durable steps. A commit that fails leaves its transaction open, as SQLite's
    does; one that is "done and failed" does not."""

    kernel: Kernel
    path: str
    is_dropped = False

    def is_writing(self) -> bool:
        return not self.is_dropped and self.in_transaction

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(_SimCursor)

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        living()
        if sql == "BEGIN IMMEDIATE":
            self.kernel.take_turn(self)
        if sql == "COMMIT":
            return self._commit(lambda: super(SimConnection, self).execute(sql))
        return super().execute(sql, *args)

    def commit(self) -> None:
        living()
        if self.in_transaction:
            self._commit(super().commit)

    def _commit(self, perform: Callable[[], R]) -> R:
        try:
            return self.kernel.step(Verb.COMMIT, self.path, perform)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            failure = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
            failure.sqlite_errorname = "SQLITE_FULL" if full else "SQLITE_IOERR"
            raise failure from error

    def drop(self) -> None:
        """The process is dead: what was not committed is undone when the file is opened again."""
        self.is_dropped = True
        with suppress(sqlite3.Error):
            super().close()


class _SimCursor(sqlite3.Cursor):
    def execute(self, sql: str, *args: Any) -> Any:
        living()
        if sql == "BEGIN IMMEDIATE" and isinstance(self.connection, SimConnection):
            self.connection.kernel.take_turn(self.connection)
        return super().execute(sql, *args)
