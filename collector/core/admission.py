"""Admission (受理): may this statement enter the log? Pure; the caller brings what the log says about the key.

A station whose clock is dead must still deliver, so an implausible time is admitted and reported as a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.entry import LogEntry
from protocol.errors import EnrolmentError, ProtocolError
from protocol.keyring import KeyRecord, check_authority
from protocol.statements import Statement, parse_statement, sign_statement

PLAUSIBLE_SKEW: Final = timedelta(hours=24)
"""Clocks of stations that follow any time source are nearer than this; a statement may wait for days, though, so
only times from the future are implausible in themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A well-formed statement that asks to be admitted. ``own``: this process has just signed it, so that its
    signature needs no verifying; whether its key may say so is judged all the same."""

    envelope: Envelope
    statement: Statement
    entry: LogEntry
    own: bool = False

    @classmethod
    def read(cls, envelope: Envelope) -> Self:
        """Raises ProtocolError when the payload is not a statement this version understands."""
        if envelope.payload_type != STATEMENT_TYPE:
            raise EnrolmentError("signed for another purpose than a statement")
        statement = parse_statement(envelope.payload)
        return cls(envelope=envelope, statement=statement, entry=LogEntry.of(envelope, statement))

    @classmethod
    def sign(cls, statement: Statement, seed: bytes) -> Self:
        """The collector's own statement, signed with its statement key."""
        envelope = sign_statement(statement, seed)
        return cls(envelope=envelope, statement=statement, entry=LogEntry.of(envelope, statement), own=True)

    @property
    def id(self) -> Digest:
        return self.entry.statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Commit it. ``implausible_time`` is worth a finding."""

    implausible_time: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The same signer said the same before."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Do not commit it. Only an ``authenticated`` refusal is worth recording: anybody can send rubbish."""

    error: ProtocolError
    authenticated: bool


def decide_admission(
    candidate: Candidate, *, record: KeyRecord | None, known_index: int | None, now: datetime
) -> Admit | Known | Refuse:
    """``record`` is the signer's key as enrolled for the statement's agency or, failing that, for another one."""
    if record is None:
        error = EnrolmentError("the key that signed this statement is not enrolled")
        return Refuse(error=error, authenticated=False)
    try:
        _check_signature(candidate, record)
    except ProtocolError as invalid:
        return Refuse(error=invalid, authenticated=False)
    if known_index is not None:
        return Known(index=known_index)
    try:
        check_authority(record, candidate.statement, None)
    except ProtocolError as unauthorised:
        return Refuse(error=unauthorised, authenticated=True)
    return Admit(implausible_time=candidate.statement.header.issued_at - now > PLAUSIBLE_SKEW)


def _check_signature(candidate: Candidate, record: KeyRecord) -> None:
    if not candidate.own:
        candidate.envelope.verify(record.public_key, STATEMENT_TYPE)
