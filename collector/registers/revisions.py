"""Salted digests of register rows (I4): each change leaves one, fit for the log, so that a silent change shows.

The digest commits to the row without telling anything of it; the salt stays here. Whoever holds row, salt and the
logged digest can show that the row is what it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, Table, func, select

from collector.registers import tables
from protocol.canonical import canonical
from protocol.digest import Digest
from protocol.lines import encode_base64
from protocol.times import format_time

_SALT_BYTES: Final = 32

REGISTERS: Final[Mapping[str, Table]] = {
    "tokens": tables.tokens,
    "enrolment-codes": tables.enrolment_codes,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One change of one row. ``number`` counts all changes, ``revision`` those of the row from 1."""

    number: int
    register: str
    row_id: str
    revision: int
    salt: str
    digest: Digest
    changed_at: datetime


def digest_of_row(
    register: str, row_id: str, revision: int, salt: str, values: Mapping[str, object]
) -> Digest:
    """SHA-256 over the canonical JSON of these five; times and bytes as the protocol writes them."""
    return Digest.of(
        canonical(
            {
                "register": register,
                "row": row_id,
                "revision": revision,
                "salt": salt,
                "values": {name: _json(value) for name, value in values.items()},
            }
        )
    )


def record_revision(connection: Connection, register: str, row_id: str, now: datetime) -> None:
    """Call after every change of a row, in the same transaction."""
    revisions = tables.revisions
    last = select(func.max(revisions.c.revision)).where(
        revisions.c.register == register, revisions.c.row_id == row_id
    )
    revision = (connection.execute(last).scalar_one() or 0) + 1
    salt = secrets.token_hex(_SALT_BYTES)
    digest = digest_of_row(register, row_id, revision, salt, _values(connection, register, row_id))
    connection.execute(
        revisions.insert().values(
            register=register,
            row_id=row_id,
            revision=revision,
            salt=salt,
            digest=str(digest),
            changed_at=now,
        )
    )


def read_revisions(connection: Connection, *, after: int, limit: int) -> list[Revision]:
    """Changes in order, with a number above ``after``."""
    revisions = tables.revisions
    query = select(revisions).where(revisions.c.number > after).order_by(revisions.c.number).limit(limit)
    return [_revision(row) for row in connection.execute(query)]


def find_silent_changes(connection: Connection) -> list[tuple[str, str]]:
    """Rows, by register and id, that are not what their last revision says: changed behind the program's back,
    added, or removed."""
    last: dict[tuple[str, str], Revision] = {}
    for row in connection.execute(select(tables.revisions).order_by(tables.revisions.c.number)):
        last[row.register, row.row_id] = _revision(row)
    present = {
        (register, row_id)
        for register, table in REGISTERS.items()
        for row_id in connection.execute(select(table.c.id)).scalars()
    }
    odd = present.symmetric_difference(last)
    odd |= {place for place in present & last.keys() if not _holds(connection, last[place])}
    return sorted(odd)


def _holds(connection: Connection, revision: Revision) -> bool:
    values = _values(connection, revision.register, revision.row_id)
    place = (revision.register, revision.row_id, revision.revision, revision.salt)
    return digest_of_row(*place, values) == revision.digest


def _values(connection: Connection, register: str, row_id: str) -> Mapping[str, object]:
    table = REGISTERS[register]
    return dict(connection.execute(select(table).where(table.c.id == row_id)).mappings().one())


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, bytes):
        return encode_base64(value)
    return list(value) if isinstance(value, tuple) else value


def _revision(row: Row[*tuple[object, ...]]) -> Revision:
    return Revision(
        number=row.number,
        register=row.register,
        row_id=row.row_id,
        revision=row.revision,
        salt=row.salt,
        digest=Digest.parse(row.digest),
        changed_at=row.changed_at,
    )
