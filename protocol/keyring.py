"""Which key may say what: authority by role, agency and place in the log.

Used by the collector before it admits a statement and by the verifier afterwards, so that both mean the same.
Validity is judged by log index, never by clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.errors import AgencyNotAllowedError, ChainError, EnrolmentError, RevokedError
from protocol.ids import COLLECTOR
from protocol.statements import Custody, Enrolled, Revoked, Statement

_STATION_KINDS: Final = frozenset(
    {"inventory", "manifest", "media", "rendition", "release-intent", "released"}
)
_COLLECTOR_KINDS: Final = frozenset({"enrolled", "revoked", "stored"})
_STATION_EVENTS: Final = frozenset({"unreadable", "imported"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One key's enrolment for one agency, as the log tells it. A collector's key speaks for every agency."""

    key_id: str
    public_key: bytes
    role: str
    name: str
    agency: str
    enrolled_index: int
    revoked_index: int | None = None


def required_role(statement: Statement) -> str:
    """The role whose keys may sign this statement: ``station`` or ``collector``."""
    if isinstance(statement, Custody):
        return "station" if statement.event in _STATION_EVENTS else "collector"
    return "station" if statement.kind in _STATION_KINDS else "collector"


def check_authority(record: KeyRecord, statement: Statement, index: int | None) -> None:
    """Whether the key may make this statement at ``index`` (None: at the end of the log, now).

    Raises EnrolmentError, AgencyNotAllowedError or RevokedError.
    """
    role = required_role(statement)
    if record.role != role:
        raise EnrolmentError(
            f"a {statement.kind} statement is signed by a {role}, this key is a {record.role}'s"
        )
    if record.name != statement.header.signer:
        raise EnrolmentError(f"signed by {record.name}, but speaks as {statement.header.signer}")
    if record.role == "station" and record.agency != statement.header.agency:
        raise AgencyNotAllowedError(f"{record.name} may not speak for agency {statement.header.agency}")
    if index is not None and index < record.enrolled_index:
        raise EnrolmentError(f"used at index {index}, before it was enrolled at {record.enrolled_index}")
    if record.revoked_index is not None and (index is None or index > record.revoked_index):
        raise RevokedError(f"the key of {record.name} was revoked at index {record.revoked_index}")


def _require_signed(envelope: Envelope, public_key: bytes) -> None:
    envelope.verify(public_key, STATEMENT_TYPE)


class KeyRing:
    """Keys learned from the log in its order; becomes more trusting only through what it accepts.

    Entry 0 is the one statement that vouches for itself: its authority is the log key's holder. Every other
    enrolment and revocation needs a collector's key accepted before.
    """

    def __init__(self, require_signed: Callable[[Envelope, bytes], None] = _require_signed) -> None:
        """``require_signed`` verifies that a key signed an envelope as a statement; it may remember those it has."""
        self._require_signed = require_signed
        self._records: dict[tuple[str, str], KeyRecord] = {}

    def find(self, key_id: str, agency: str) -> KeyRecord | None:
        """The record for this agency; a collector's key is found for every agency."""
        return self._records.get((key_id, agency)) or self._records.get((key_id, COLLECTOR))

    def accept(self, index: int, envelope: Envelope, statement: Statement) -> None:
        """Verify signature and authority of the statement at ``index``; learn from it if it is about keys.

        Call in log order. Raises SignatureError, EnrolmentError, RevokedError, AgencyNotAllowedError, ChainError.
        """
        if index == 0:
            self._accept_root(envelope, statement)
            return
        record = self.find(envelope.key_id, statement.header.agency)
        if record is None:
            raise self._unknown(envelope.key_id, statement)
        self._require_signed(envelope, record.public_key)
        check_authority(record, statement, index)
        if isinstance(statement, Enrolled):
            self._learn(index, statement)
        elif isinstance(statement, Revoked):
            self._forget(index, statement)

    def _accept_root(self, envelope: Envelope, statement: Statement) -> None:
        if not isinstance(statement, Enrolled) or statement.role != "collector":
            raise ChainError("entry 0 of a log enrols its collector")
        self._require_signed(envelope, statement.public_key)
        self._learn(0, statement)

    def _learn(self, index: int, statement: Enrolled) -> None:
        agency = COLLECTOR if statement.role == "collector" else statement.header.agency
        self._records[statement.key_id, agency] = KeyRecord(
            key_id=statement.key_id,
            public_key=statement.public_key,
            role=statement.role,
            name=statement.name,
            agency=agency,
            enrolled_index=index,
        )

    def _forget(self, index: int, statement: Revoked) -> None:
        place = (statement.key_id, statement.header.agency)
        record = self._records.get(place)
        if record is not None and record.revoked_index is None:
            self._records[place] = replace(record, revoked_index=index)

    def _unknown(self, key_id: str, statement: Statement) -> EnrolmentError:
        if any(known == key_id for known, _ in self._records):
            return AgencyNotAllowedError(
                f"{statement.header.signer} may not speak for agency {statement.header.agency}"
            )
        return EnrolmentError(f"no enrolment is known for the key that signed the {statement.kind} statement")
