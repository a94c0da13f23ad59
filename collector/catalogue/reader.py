"""What the catalogue's groups of queries share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from sqlalchemy import Connection, Engine

from collector.database.engine import reading

MAX_PAGE: Final = 500
"""Rows of one answer: about 300 KB of JSON."""


class Reader:
    """Asks one engine; every method is one snapshot. All of them block and may raise DatabaseError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _reading(self) -> AbstractContextManager[Connection]:
        return reading(self._engine)


def check_limit(limit: int) -> int:
    """Raises ValueError outside 1 to ``MAX_PAGE``."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"a page has 1 to {MAX_PAGE} rows, not {limit}")
    return limit
