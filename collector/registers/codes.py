"""Enrolment codes given out (注册码登记); of each secret only the hash is kept."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import Engine, insert, or_, select, update

from collector.core.enrolment import CodeRecord
from collector.database.engine import reading, writing
from collector.errors import CollectorError
from collector.registers.tables import enrolment_codes
from protocol.enrolment import hash_secret
from protocol.enrolment_code import SECRET_BYTES


class CodeTakenError(CollectorError):
    """Another key used the code a moment earlier."""

    code = "enrolment-code-used"
    status = 409
    fault = "caller"


class Codes:
    """The register of enrolment codes. Calls block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def issue_code(
        self, *, station: str, agencies: tuple[str, ...], expires_at: datetime, now: datetime
    ) -> bytes:
        """Register a new code; returns its secret, to be shown once."""
        secret = secrets.token_bytes(SECRET_BYTES)
        record = CodeRecord(
            secret_hash=hash_secret(secret), station=station, agencies=agencies, expires_at=expires_at
        )
        row = {
            "secret_hash": record.secret_hash,
            "station": record.station,
            "agencies": record.agencies,
            "created_at": now,
            "expires_at": record.expires_at,
            "withdrawn": False,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(enrolment_codes).values(row))
        return secret

    def find(self, secret_hash: bytes) -> CodeRecord | None:
        """The record behind a secret's hash."""
        query = select(enrolment_codes).where(enrolment_codes.c.secret_hash == secret_hash)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return CodeRecord(
            secret_hash=row.secret_hash,
            station=row.station,
            agencies=row.agencies,
            expires_at=row.expires_at,
            used_by=row.used_by,
            withdrawn=row.withdrawn,
        )

    def use(self, secret_hash: bytes, key_id: str, now: datetime) -> None:
        """Bind the code to a key, durably. Harmless when repeated. Raises CodeTakenError for another key."""
        columns = enrolment_codes.c
        free = or_(columns.used_by.is_(None), columns.used_by == key_id)
        bind = (
            update(enrolment_codes)
            .where(columns.secret_hash == secret_hash, free)
            .values(used_by=key_id, used_at=now)
        )
        with writing(self._engine) as connection:
            if connection.execute(bind).rowcount != 1:
                raise CodeTakenError("This enrolment code was already used, by another key.")
