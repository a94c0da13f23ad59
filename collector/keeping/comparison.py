"""Whether two catalogues say the same, table by table and row by row, with the memory of two rows.

The content of a catalogue is what its tables hold as stored, in the order of their keys; the order of the pages in a
file, its free space and its write-ahead log say nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, MetaData, Table

from collector.catalogue import tables
from collector.progress import Progress

COMPARING: Final = "目录行 catalogue rows"
_MAX_SHOWN_CHARS: Final = 200

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row that is not the same in both. ``left`` or ``right`` is None where the row is missing; otherwise they
    are what the first differing column holds."""

    table: str
    key: Row
    column: str | None
    left: object
    right: object

    def __str__(self) -> str:
        key = ", ".join(map(_shown, self.key))
        if self.column is None:
            return f"{self.table}[{key}]: only in the {'new' if self.left is None else 'existing'} catalogue"
        return f"{self.table}[{key}].{self.column}: {_shown(self.left)} → {_shown(self.right)}"


def differences(
    left: Path, right: Path, progress: Progress, metadata: MetaData = tables.metadata
) -> Iterator[Difference]:
    """Rows that differ, in the order of tables and keys. Raises sqlite3.Error for a file without these tables."""
    with contextlib.closing(_opened(left)) as one, contextlib.closing(_opened(right)) as other:
        count = 0
        for table in metadata.sorted_tables:
            for difference in _compare(table, one, other):
                count += 1
                progress(COMPARING, count, None)
                if difference is not None:
                    yield difference


def _opened(path: Path) -> sqlite3.Connection:
    """Bytes of text as they are: two files that differ must not look alike for a decoder's sake."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    return connection


def _compare(
    table: Table, left: sqlite3.Connection, right: sqlite3.Connection
) -> Iterator[Difference | None]:
    """None for each row that is the same: merges two ordered streams."""
    width = len(table.primary_key.columns)
    names = [column.name for column in (*table.primary_key.columns, *_others(table))]
    ones, others = _rows(table.name, names, width, left), _rows(table.name, names, width, right)
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and _key(one, width) < _key(other, width)):
            assert one is not None
            yield Difference(table=table.name, key=one[:width], column=None, left=one, right=None)
            one = next(ones, None)
        elif one is None or _key(other, width) < _key(one, width):
            yield Difference(table=table.name, key=other[:width], column=None, left=None, right=other)
            other = next(others, None)
        else:
            yield _first_difference(table.name, names, width, one, other)
            one, other = next(ones, None), next(others, None)


def _others(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if not column.primary_key]


def _rows(table: str, names: list[str], width: int, connection: sqlite3.Connection) -> Iterator[Row]:
    columns, order = (", ".join(f'"{name}"' for name in part) for part in (names, names[:width]))
    yield from connection.execute(f'SELECT {columns} FROM "{table}" ORDER BY {order}')  # noqa: S608 - our own names


def _key(row: Row, width: int) -> tuple[tuple[bool, object], ...]:
    """Numbers before texts, as SQLite orders them."""
    return tuple((isinstance(value, bytes), value) for value in row[:width])


def _first_difference(table: str, names: list[str], width: int, one: Row, other: Row) -> Difference | None:
    for name, left, right in zip(names, one, other, strict=True):
        if (type(left), left) != (type(right), right):
            return Difference(table=table, key=one[:width], column=name, left=left, right=right)
    return None


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode() if value.isascii() else f"0x{value.hex()}"
    return str(value)[:_MAX_SHOWN_CHARS]
