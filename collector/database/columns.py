"""How values of the protocol are kept in columns: compact, ordered as the values are, the same on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Integer, LargeBinary, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from protocol.digest import Digest

LogIndex: Final = BigInteger().with_variant(Integer, "sqlite")
"""A log index. SQLite makes only a column declared INTEGER the row's own address."""

UNKNOWN_START_MS: Final = -(2**53)
"""Stands for an unknown start: before every time there is, since databases disagree on where NULL sorts."""

MAX_NAME_CHARS: Final = 256
"""Longest recorder or officer number kept; real ones have at most 32 characters."""

_ALGORITHM_TAGS: Final = {"sha256": b"\x12"}
_ALGORITHMS: Final = {tag: algorithm for algorithm, tag in _ALGORITHM_TAGS.items()}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class DigestColumn(TypeDecorator[Digest]):
    """A digest as its algorithm's multicodec byte and its raw bytes: half the size of its text."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Digest | None, dialect: Dialect) -> bytes | None:
        return None if value is None else _ALGORITHM_TAGS[value.algorithm] + value.raw

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Digest | None:
        return None if value is None else Digest(_ALGORITHMS[value[:1]], value[1:].hex())


class TimeColumn(TypeDecorator[datetime]):
    """An aware time as milliseconds since 1970, UTC; below milliseconds is cut."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MILLISECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + value * _MILLISECOND


class StartColumn(TypeDecorator[datetime]):
    """As TimeColumn, never NULL: an unknown time sorts before every known one."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int:
        return UNKNOWN_START_MS if value is None else (value - _EPOCH) // _MILLISECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None or value == UNKNOWN_START_MS else _EPOCH + value * _MILLISECOND


class TextColumn(TypeDecorator[str]):
    """Text from outside. NUL, which PostgreSQL cannot keep and no honest name has, becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.replace("\x00", "\ufffd")


class NameColumn(TextColumn):
    """Text from outside that is searched for. It is cut where PostgreSQL could not index it; no name is so long."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return super().process_bind_param(None if value is None else value[:MAX_NAME_CHARS], dialect)


class WordsColumn(TypeDecorator[tuple[str, ...]]):
    """Names without white space, joined by spaces, in the order given."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else " ".join(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(value.split())
