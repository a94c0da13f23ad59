"""Statements: typed claims over digests, signed in DSSE envelopes (in-toto Statement v1).

``docs/formats.md`` lists every member. A statement's identity is the SHA-256 of its payload.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.errors import MalformedError, UnknownKindError
from protocol.statements.collector import Enrolled, Revoked, Stored
from protocol.statements.custody import Custody
from protocol.statements.frame import Header, Subject, encode, open_frame
from protocol.statements.release import KeptRow, Released, ReleaseIntent, ReleaseItem
from protocol.statements.station import (
    Inventory,
    Manifest,
    Media,
    Problem,
    RecorderClock,
    Rendered,
    Rendition,
)

_FromStations: TypeAlias = Inventory | Manifest | Media | Rendition | ReleaseIntent | Released
Statement: TypeAlias = _FromStations | Stored | Enrolled | Revoked | Custody

_KINDS: Final[dict[str, type[Statement]]] = {
    kind.kind: kind
    for kind in (
        Inventory,
        Manifest,
        Media,
        Rendition,
        ReleaseIntent,
        Released,
        Stored,
        Enrolled,
        Revoked,
        Custody,
    )
}


def parse_statement(payload: bytes) -> Statement:
    """Interpret a payload. Raises MalformedError, LimitError, UnknownKindError, UnknownCriticalError,
    KeyRejectedError.

    The subject must be the one the predicate leads to: a reader who knows only in-toto sees nothing else.
    """
    frame = open_frame(payload)
    kind = _KINDS.get(frame.kind)
    if kind is None:
        raise UnknownKindError(f"unknown kind of statement: {frame.kind[:40]!r}")
    statement = kind.read(frame)
    frame.fields.check_critical()
    if statement.subject != frame.subject:
        raise MalformedError(
            f"the subject of this {frame.kind} statement must be {_named(statement.subject)},"
            f" not {_named(frame.subject)}"
        )
    return statement


def _named(subject: Subject) -> str:
    return f"{subject.name[:80]!r} {subject.digest}"


def sign_statement(statement: Statement, seed: bytes) -> Envelope:
    """Encode and sign. The statement's id is ``statement_id(envelope)``."""
    return Envelope.sign(STATEMENT_TYPE, encode(statement), seed)


def statement_id(envelope: Envelope) -> Digest:
    """SHA-256 of the payload; the same statement signed twice keeps its id."""
    return Digest.of(envelope.payload)


__all__ = [
    "Custody",
    "Enrolled",
    "Header",
    "Inventory",
    "KeptRow",
    "Manifest",
    "Media",
    "Problem",
    "RecorderClock",
    "ReleaseIntent",
    "ReleaseItem",
    "Released",
    "Rendered",
    "Rendition",
    "Revoked",
    "Statement",
    "Stored",
    "Subject",
    "encode",
    "parse_statement",
    "sign_statement",
    "statement_id",
]
