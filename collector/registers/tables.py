"""The registers' tables: primary data, in a database of its own, so that the catalogue can be thrown away."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from collector.database.columns import LogIndex, TimeColumn, WordsColumn

metadata: Final = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", WordsColumn, nullable=False),
    Column("agencies", WordsColumn),
    Column("expires_at", TimeColumn, nullable=False),
    Column("created_at", TimeColumn, nullable=False),
    Column("revoked_at", TimeColumn),
)
"""``agencies`` NULL means all of them."""

enrolment_codes: Final = Table(
    "enrolment_codes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("agencies", WordsColumn, nullable=False),
    Column("expires_at", TimeColumn, nullable=False),
    Column("created_at", TimeColumn, nullable=False),
    Column("used_by", Text),
    Column("used_at", TimeColumn),
    Column("withdrawn", Boolean, nullable=False),
)
"""``id`` is the SHA-256 of the secret in hex: the code is found by it and the secret is kept nowhere."""

revisions: Final = Table(
    "revisions",
    metadata,
    Column("number", LogIndex, primary_key=True, autoincrement=True),
    Column("register", Text, nullable=False),
    Column("row_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("salt", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("changed_at", TimeColumn, nullable=False),
    Index("ix_revisions_row_id", "register", "row_id", "revision", unique=True),
)
"""One row a change of any register, never changed itself."""
