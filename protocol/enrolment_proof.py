"""The proof a new station gets with its certificate: the log entries that make its own and the collector's key
known, all under one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from protocol.canonical import Fields, Json
from protocol.entry import LogEntry
from protocol.errors import ChainError
from protocol.keyring import KeyRing
from protocol.note import VerifierKey
from protocol.receipt import ReceiptItem
from protocol.statements import Enrolled, parse_statement
from protocol.tlog_proof import verify_tlog_proof

_MAX_ITEMS = 65
"""The collector's entry and one per agency a station serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenEnrolment:
    """What the proof established: the collector's statement key, and the checkpoint to witness from now on."""

    collector_public_key: bytes
    checkpoint_note: bytes


def enrolment_proof_json(items: Sequence[ReceiptItem]) -> dict[str, Json]:
    """The form in which the proof travels."""
    return {"items": [cast("Json", item.to_json()) for item in items]}


def verify_enrolment_proof(
    value: object, *, log_key: VerifierKey, public_key: bytes, station: str, agencies: Sequence[str]
) -> ProvenEnrolment:
    """Check that the log behind ``log_key`` enrols ``public_key`` as ``station`` for each of ``agencies``.

    Raises ProtocolError: MalformedError, SignatureError, ProofError, ChainError or EnrolmentError.
    """
    raw = Fields(value, "enrolment proof").items("items", max_items=_MAX_ITEMS)
    items = [ReceiptItem.from_json(item) for item in raw]
    if not items or items[0].proof.index != 0:
        raise ChainError("an enrolment proof begins with entry 0, the collector's enrolment")
    note = items[0].proof.checkpoint_note
    if any(item.proof.checkpoint_note != note for item in items):
        raise ChainError("the proofs of an enrolment are under one checkpoint")
    ring, missing, collector_key = KeyRing(), set(agencies), b""
    for item in items:
        statement = parse_statement(item.envelope.payload)
        verify_tlog_proof(item.proof, LogEntry.of(item.envelope, statement).to_bytes(), log_key)
        ring.accept(item.proof.index, item.envelope, statement)
        if not isinstance(statement, Enrolled):
            raise ChainError("an enrolment proof holds enrolments only")
        if statement.role == "collector":
            collector_key = statement.public_key
        elif (statement.public_key, statement.name) == (public_key, station):
            missing.discard(statement.header.agency)
    if missing:
        raise ChainError(f"the log does not enrol this station for {sorted(missing)}")
    return ProvenEnrolment(collector_public_key=collector_key, checkpoint_note=note)
