"""One SQLite file as a durable record: WAL, ``synchronous=FULL``, one connection, one writer at a time.

When ``transaction`` returns, what was written in it survives the death of the process and of the machine; when it
raises, nothing of it is there. Methods block: the event loop calls them through a thread.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from agent.spool.errors import JournalError, JournalNewerError, JournalStorageError
from protocol.digest import Digest
from protocol.times import parse_time

Row: TypeAlias = sqlite3.Row
Value: TypeAlias = str | int | bytes | None

_HERE: Final = Path(__file__).parent
SCHEMA_STEPS: Final = ("schema.sql", "schema_release.sql", "schema_bundles.sql")
"""Step n brings a journal of version n to version n+1. Steps are added, never changed."""

_BUSY_TIMEOUT_MS: Final = 10_000
"""Another process in the file is ``zhilu-agent status`` or ``rescue``, and never for long."""

_PRIMARY_CODE: Final = 0xFF
_OF_THE_DISK: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""Results of SQLite that may be others when room or disk come back."""


def text_time(text: str | None) -> datetime | None:
    """A nullable column of times."""
    return None if text is None else parse_time(text)


def one_value(digests: Iterable[Digest]) -> str:
    """Any number of digests as one value of a query: ``IN (SELECT value FROM json_each(?))``."""
    return json.dumps([str(digest) for digest in digests])


class Database:
    """The connection that the parts of the journal share. Use it from any thread; close it once."""

    def __init__(self, path: Path) -> None:
        """Open or make the file and bring it to this version. Raises JournalError, JournalNewerError."""
        self._lock = threading.RLock()
        self._depth = 0
        self._is_spoilt = False
        try:
            self._connection = _connect(path)
            _migrate(self._connection, SCHEMA_STEPS)
        except sqlite3.Error as error:
            raise JournalError(f"the journal {path} cannot be opened: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes durable at once or not at all. Nested uses join the outermost one, so that a
        caller can group many small transitions under one disk flush; an error inside undoes them all, even when the
        caller catches it on the way. Raises JournalError."""
        with self._lock:
            if self._depth == 0:
                self._run("BEGIN IMMEDIATE")
                self._is_spoilt = False
            self._depth += 1
            try:
                yield
            except BaseException:
                self._is_spoilt = True
                self._leave("ROLLBACK")
                raise
            self._leave("ROLLBACK" if self._is_spoilt else "COMMIT")
            if self._is_spoilt and self._depth == 0:
                raise JournalError("a part of this transaction failed, so nothing of it was kept")

    def _leave(self, how: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            try:
                self._run(how)
            except JournalError:
                if self._connection.in_transaction:
                    self._run("ROLLBACK")
                raise

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run one writing statement inside a transaction of its own or the one that is open; rows changed."""
        with self.transaction():
            return self._run(sql, values).rowcount

    def execute_many(self, sql: str, values: Iterator[Sequence[Value]]) -> None:
        with self.transaction():
            try:
                self._connection.executemany(sql, values)
            except sqlite3.Error as error:
                raise _refusal(error) from error

    def one(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        with self._lock:
            row: Row | None = self._run(sql, values).fetchone()
            return row

    def all(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        with self._lock:
            return self._run(sql, values).fetchall()

    def _run(self, sql: str, values: Sequence[Value] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise _refusal(error) from error


def _refusal(error: sqlite3.Error) -> JournalError:
    if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _OF_THE_DISK:
        return JournalStorageError(f"the journal could not be written: {error}")
    return JournalError(f"the journal refused a statement: {error}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _migrate(connection: sqlite3.Connection, steps: Sequence[str]) -> None:
    """Each step is one transaction together with its version number: broken half-way, the file is as it was."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(steps):
        raise JournalNewerError(f"the journal has version {version}, this agent knows up to {len(steps)}")
    for number, step in enumerate(steps[version:], start=version + 1):
        script = (_HERE / step).read_text(encoding="utf-8")
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
