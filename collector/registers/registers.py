"""The registers as one object: one durable transaction a call, each change with its revision."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Self

from sqlalchemy import Engine

from collector.core.access import Scope, TokenPrincipal
from collector.core.enrolment import CodeRecord
from collector.database.engine import open_engine, reading, sqlite_url, writing
from collector.database.migrating import upgrade
from collector.registers import enrolment_codes, tokens
from collector.registers.revisions import Revision, find_silent_changes, read_revisions
from collector.registers.tokens import Token

MIGRATIONS: Final = "collector.registers:migrations"


class Registers:
    """Primary data (登记册): what people own and no log can restore, to be backed up. Methods block and may raise
    DatabaseError; use them from worker threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, where: Path | str) -> Self:
        """Open a SQLite file or a database URL and bring its schema up to date. Raises DatabaseNewerError,
        DatabaseError."""
        engine = open_engine(sqlite_url(where) if isinstance(where, Path) else where)
        try:
            upgrade(engine, MIGRATIONS)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        """Give up all connections."""
        self._engine.dispose()

    def issue_token(
        self,
        *,
        name: str,
        scopes: frozenset[Scope],
        agencies: frozenset[str] | None,
        expires_at: datetime,
        now: datetime,
    ) -> str:
        """A new token's text, shown once. Raises RegisterError."""
        with writing(self._engine) as connection:
            return tokens.issue_token(
                connection, name=name, scopes=scopes, agencies=agencies, expires_at=expires_at, now=now
            )

    def revoke_token(self, token_id: str, now: datetime) -> None:
        """Raises TokenUnknownError."""
        with writing(self._engine) as connection:
            tokens.revoke_token(connection, token_id, now)

    def find_token(self, text: str, now: datetime) -> TokenPrincipal | None:
        """Whom the text stands for now, None for nobody."""
        with reading(self._engine) as connection:
            return tokens.find_token(connection, text, now)

    def tokens(self) -> list[Token]:
        """All tokens, oldest first."""
        with reading(self._engine) as connection:
            return tokens.list_tokens(connection)

    def issue_code(
        self, *, station: str, agencies: tuple[str, ...], expires_at: datetime, now: datetime
    ) -> bytes:
        """A new enrolment code's secret. Raises RegisterError."""
        with writing(self._engine) as connection:
            return enrolment_codes.issue_code(
                connection, station=station, agencies=agencies, expires_at=expires_at, now=now
            )

    def find(self, secret_hash: bytes) -> CodeRecord | None:
        """The enrolment code with this secret."""
        with reading(self._engine) as connection:
            return enrolment_codes.find_code(connection, secret_hash)

    def use(self, secret_hash: bytes, key_id: str, now: datetime) -> None:
        """Bind an enrolment code to a key. Raises CodeUnknownError, CodeUsedError, CodeWithdrawnError."""
        with writing(self._engine) as connection:
            enrolment_codes.use_code(connection, secret_hash, key_id, now)

    def withdraw(self, secret_hash: bytes, now: datetime) -> None:
        """Make an enrolment code useless. Raises CodeUnknownError."""
        with writing(self._engine) as connection:
            enrolment_codes.withdraw_code(connection, secret_hash, now)

    def codes(self) -> list[CodeRecord]:
        """All enrolment codes, oldest first."""
        with reading(self._engine) as connection:
            return enrolment_codes.list_codes(connection)

    def revisions(self, *, after: int = 0, limit: int = 500) -> list[Revision]:
        """Changes with a number above ``after``: what is to be put into the log."""
        with reading(self._engine) as connection:
            return read_revisions(connection, after=after, limit=limit)

    def silent_changes(self) -> list[tuple[str, str]]:
        """Rows, by register and id, that differ from their last revision; empty if nobody meddled."""
        with reading(self._engine) as connection:
            return find_silent_changes(connection)
