"""Enrolment codes given out: which station may enrol, until when, and which key did. The rules on their use are in
``collector.core.enrolment``; here a code is bound to one key, durably, once.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, select, update

from collector.core.enrolment import CodeRecord
from collector.registers import tables
from collector.registers.errors import CodeUnknownError, CodeUsedError, CodeWithdrawnError, RegisterError
from collector.registers.revisions import record_revision
from protocol.enrolment import hash_secret
from protocol.enrolment_code import SECRET_BYTES, check_agencies
from protocol.errors import ProtocolError
from protocol.ids import parse_name

_REGISTER: Final = "enrolment-codes"
_codes: Final = tables.enrolment_codes


def issue_code(
    connection: Connection, *, station: str, agencies: tuple[str, ...], expires_at: datetime, now: datetime
) -> bytes:
    """Make a code and return its secret, which cannot be had again. Raises RegisterError."""
    try:
        parse_name(station, "station")
        check_agencies(agencies)
    except ProtocolError as error:
        raise RegisterError(str(error)) from error
    if expires_at <= now:
        raise RegisterError("an enrolment code expires in the future")
    secret = secrets.token_bytes(SECRET_BYTES)
    code_id = hash_secret(secret).hex()
    connection.execute(
        _codes.insert().values(
            id=code_id,
            station=station,
            agencies=agencies,
            expires_at=expires_at,
            created_at=now,
            withdrawn=False,
        )
    )
    record_revision(connection, _REGISTER, code_id, now)
    return secret


def find_code(connection: Connection, secret_hash: bytes) -> CodeRecord | None:
    """The code with this secret, whatever its state; None if none was given out."""
    row = connection.execute(select(_codes).where(_codes.c.id == secret_hash.hex())).one_or_none()
    return None if row is None else _record(row)


def use_code(connection: Connection, secret_hash: bytes, key_id: str, now: datetime) -> None:
    """Bind the code to the key; harmless if this key has it already. Raises CodeUnknownError, CodeUsedError,
    CodeWithdrawnError."""
    record = find_code(connection, secret_hash)
    if record is None:
        raise CodeUnknownError("no such enrolment code was given out")
    if record.withdrawn:
        raise CodeWithdrawnError("this enrolment code was withdrawn")
    if record.used_by not in (None, key_id):
        raise CodeUsedError("this enrolment code was already used, by another key")
    if record.used_by is None:
        _change(connection, secret_hash, now, used_by=key_id, used_at=now)


def withdraw_code(connection: Connection, secret_hash: bytes, now: datetime) -> None:
    """Make the code useless; harmless if it is. A key it enrolled stays enrolled until it is revoked. Raises
    CodeUnknownError."""
    record = find_code(connection, secret_hash)
    if record is None:
        raise CodeUnknownError("no such enrolment code was given out")
    if not record.withdrawn:
        _change(connection, secret_hash, now, withdrawn=True)


def list_codes(connection: Connection) -> list[CodeRecord]:
    """All codes, the used ones too, oldest first."""
    query = select(_codes).order_by(_codes.c.created_at, _codes.c.id)
    return [_record(row) for row in connection.execute(query)]


def _change(connection: Connection, secret_hash: bytes, now: datetime, **values: object) -> None:
    code_id = secret_hash.hex()
    connection.execute(update(_codes).where(_codes.c.id == code_id).values(**values))
    record_revision(connection, _REGISTER, code_id, now)


def _record(row: Row[*tuple[object, ...]]) -> CodeRecord:
    return CodeRecord(
        secret_hash=bytes.fromhex(row.id),
        station=row.station,
        agencies=row.agencies,
        expires_at=row.expires_at,
        used_by=row.used_by,
        withdrawn=row.withdrawn,
    )
