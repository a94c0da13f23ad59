"""Tokens (令牌): how case systems and people's tools are known. Shown once; of the secret only a hash is kept.

``zlt_<id>_<secret>``: the prefix lets secret scanners find leaked ones, the id tells them apart in lists and logs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, select, update

from collector.core.access import Scope, TokenPrincipal
from collector.registers import tables
from collector.registers.errors import RegisterError, TokenUnknownError
from collector.registers.revisions import record_revision
from protocol.errors import ProtocolError
from protocol.ids import parse_name
from protocol.lines import check_line

MAX_NAME_CHARS: Final = 64
"""A token's name appears in every custody event it causes."""

_REGISTER: Final = "tokens"
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_FORM: Final = re.compile(r"zlt_([0-9a-f]{16})_([0-9a-f]{64})")
_NOBODY: Final = b"\x00" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as lists show it; ``agencies`` None means all."""

    id: str
    name: str
    scopes: frozenset[Scope]
    agencies: frozenset[str] | None
    expires_at: datetime
    created_at: datetime
    revoked_at: datetime | None


def issue_token(
    connection: Connection,
    *,
    name: str,
    scopes: frozenset[Scope],
    agencies: frozenset[str] | None,
    expires_at: datetime,
    now: datetime,
) -> str:
    """Make a token and return its text, which cannot be had again. Raises RegisterError."""
    _check(name, scopes, agencies, expires_at, now)
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    connection.execute(
        tables.tokens.insert().values(
            id=token_id,
            name=name,
            secret_hash=_hash(secret),
            scopes=tuple(sorted(scope.value for scope in scopes)),
            agencies=None if agencies is None else tuple(sorted(agencies)),
            expires_at=expires_at,
            created_at=now,
        )
    )
    record_revision(connection, _REGISTER, token_id, now)
    return f"zlt_{token_id}_{secret}"


def revoke_token(connection: Connection, token_id: str, now: datetime) -> None:
    """End a token; harmless if it was ended before. Raises TokenUnknownError."""
    tokens = tables.tokens
    row = connection.execute(select(tokens.c.revoked_at).where(tokens.c.id == token_id)).one_or_none()
    if row is None:
        raise TokenUnknownError("no token has this id")
    if row.revoked_at is None:
        connection.execute(update(tokens).where(tokens.c.id == token_id).values(revoked_at=now))
        record_revision(connection, _REGISTER, token_id, now)


def find_token(connection: Connection, text: str, now: datetime) -> TokenPrincipal | None:
    """Whom the text stands for; None if it is no token, unknown, expired or revoked. The secret is compared in
    constant time, and for an unknown id too, so that answers tell nothing of what exists."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    row = connection.execute(select(tables.tokens).where(tables.tokens.c.id == form[1])).one_or_none()
    is_right = hmac.compare_digest(_NOBODY if row is None else row.secret_hash, _hash(form[2]))
    if row is None or not is_right:
        return None
    token = _token(row)
    if token.revoked_at is not None or now >= token.expires_at:
        return None
    return TokenPrincipal(token_id=token.id, name=token.name, agencies=token.agencies, scopes=token.scopes)


def token_id_of(text: str) -> str:
    """The id in a token's text, which is no secret. Raises RegisterError."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise RegisterError("this is not a token")
    return form[1]


def list_tokens(connection: Connection) -> list[Token]:
    """All tokens, the revoked too, oldest first."""
    tokens = tables.tokens
    return [
        _token(row) for row in connection.execute(select(tokens).order_by(tokens.c.created_at, tokens.c.id))
    ]


def _check(
    name: str, scopes: frozenset[Scope], agencies: frozenset[str] | None, expires_at: datetime, now: datetime
) -> None:
    try:
        check_line(name, "the name of a token")
        for agency in agencies or ():
            parse_name(agency, "agency")
    except ProtocolError as error:
        raise RegisterError(str(error)) from error
    if len(name) > MAX_NAME_CHARS:
        raise RegisterError(f"the name of a token has at most {MAX_NAME_CHARS} characters")
    if not scopes or (agencies is not None and not agencies):
        raise RegisterError("a token has a scope and an agency at least, or it opens nothing")
    if expires_at <= now:
        raise RegisterError("a token expires in the future")


def _hash(secret: str) -> bytes:
    """256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def _token(row: Row[*tuple[object, ...]]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes)),
        agencies=None if row.agencies is None else frozenset(row.agencies),
        expires_at=row.expires_at,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
