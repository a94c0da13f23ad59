"""Opening a database, and the two ways of using it: ``reading`` one snapshot, ``writing`` one transaction.

SQLite by default: a file in WAL mode where every commit is durable before it returns. Another SQLAlchemy URL
(PostgreSQL) is used with that database's own settings. Everything here blocks: callers use worker threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import Error as SqliteError
from typing import Final

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from collector.database.errors import DatabaseError
from collector.errors import StorageFullError

BUSY_TIMEOUT_MS: Final = 10_000
"""How long a writer waits for another: longer than any batch but that of a huge listing."""

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    f"busy_timeout = {BUSY_TIMEOUT_MS}",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "wal_autocheckpoint = 20000",  # twice the inserts a second of the default, for a WAL of 80 MB
    "cache_size = -8192",  # KiB for each connection
)
_IMMEDIATE: Final = "sqlite_begin_immediate"


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def open_engine(url: str, *, durable: bool = True, read_only: bool = False) -> Engine:
    """An engine for ``url``; a SQLite file is created, readable by its owner alone, unless it is to be read only.
    ``durable`` False is for a SQLite file that is worth nothing after this process: it syncs nothing. Raises
    DatabaseError."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        if not read_only:
            _create_private(make_url(url).database)
        prepare = _prepare_reader if read_only else _prepare_sqlite if durable else _prepare_scratch
        event.listen(engine, "connect", prepare)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(database: str | None) -> None:
    if not database or database == ":memory:":
        raise ValueError("a SQLite database here is a file: connections do not share one in memory")
    try:
        os.close(os.open(database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError("the database file cannot be opened") from error


def _prepare_sqlite(connection: SqliteConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver's own BEGIN leaves DDL and savepoints outside transactions
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _prepare_reader(connection: SqliteConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    for pragma in ("query_only = ON", f"busy_timeout = {BUSY_TIMEOUT_MS}", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_scratch(connection: SqliteConnection, record: ConnectionPoolEntry) -> None:
    _prepare_sqlite(connection, record)
    connection.execute("PRAGMA synchronous = OFF")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One connection that sees one state of the database. Raises DatabaseError."""
    with _database_errors(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, committed at the end or wholly undone. SQLite takes the write lock at the beginning, so
    that what was read first still holds. Raises DatabaseError or StorageFullError."""
    with _database_errors(), engine.connect() as connection:
        connection.execution_options(**{_IMMEDIATE: True})
        with connection.begin():
            yield connection


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        cause = error.orig
        if isinstance(cause, SqliteError) and getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL":
            raise StorageFullError("no space left for the database") from error
        raise DatabaseError("the database failed; the change was undone") from error


def insert_new(
    connection: Connection, table: Table, rows: list[dict[str, object]], *, rows_a_call: int = 1000
) -> None:
    """Insert rows; one whose key is taken is left out, so the first stays."""
    if not rows:
        return
    statement = _insertion(table, connection.dialect.name)
    for start in range(0, len(rows), rows_a_call):
        connection.execute(statement, rows[start : start + rows_a_call])


@cache
def _insertion(table: Table, dialect: str) -> Insert:
    """Made once for each table: making it costs more than a row."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing()
