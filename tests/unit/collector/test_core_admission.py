"""Who may say what: the admission rule, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from collector.core.admission import PLAUSIBLE_SKEW, Admit, Candidate, Known, Refuse, decide_admission
from protocol import ed25519
from protocol.digest import Digest
from protocol.dsse import ADMISSION_TYPE, STATEMENT_TYPE, Envelope
from protocol.errors import EnrolmentError, MalformedError, ProtocolError, UnknownKindError
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRecord
from protocol.statements import Custody, Media, Statement, encode, sign_statement
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    NOW,
    OTHER_SEED,
    STATION,
    STATION_SEED,
    enrolled,
    header,
    inventory,
    manifest,
    rendition,
    revoked,
    stored,
)

INVENTORY_ID = Digest.of(b"inventory")


def kind_of(statement: Statement) -> str:
    return statement.event if isinstance(statement, Custody) else statement.kind


MANIFEST = manifest(b"clip", INVENTORY_ID)


def record(seed: bytes = STATION_SEED, *, role: str = "station", name: str = STATION) -> KeyRecord:
    public_key = ed25519.public_from_seed(seed)
    return KeyRecord(
        key_id=ed25519.key_id(public_key),
        public_key=public_key,
        role=role,
        name=name,
        agency=COLLECTOR if role == "collector" else AGENCY,
        enrolled_index=1,
    )


COLLECTOR_RECORD = record(COLLECTOR_SEED, role="collector", name=COLLECTOR)


def candidate(statement: Statement = MANIFEST, seed: bytes = STATION_SEED) -> Candidate:
    return Candidate.read(sign_statement(statement, seed))


def decide(
    asking: Candidate, known_by: KeyRecord | None, known_index: int | None = None
) -> Admit | Known | Refuse:
    return decide_admission(asking, record=known_by, known_index=known_index, now=NOW)


def custody(event: str, signer: str) -> Custody:
    return Custody(
        header=header(8, signer=signer),
        event=event,
        item=INVENTORY_ID,
        item_name="listing",
        actor="somebody",
        details={"row": 1, "code": "file-unreadable"},
    )


MEDIA = Media(
    header=header(9),
    original=MANIFEST.digest,
    manifest=INVENTORY_ID,
    media_type="video/mp4",
    duration_ms=1,
    started_at=None,
    recorder=None,
    facts={},
    problem=None,
)
OF_STATIONS = (inventory(), MANIFEST, rendition(b"r", MANIFEST.digest, INVENTORY_ID), MEDIA)
OF_THE_COLLECTOR = (
    enrolled(OTHER_SEED, name="station-2"),
    revoked(OTHER_SEED),
    stored(MANIFEST, INVENTORY_ID),
    custody("viewed", COLLECTOR),
    custody("refused", COLLECTOR),
)


@pytest.mark.parametrize("statement", [*OF_STATIONS, custody("unreadable", STATION)], ids=kind_of)
def test_station_may_say(statement: Statement) -> None:
    assert decide(candidate(statement), record()) == Admit(implausible_time=False)


@pytest.mark.parametrize("statement", OF_THE_COLLECTOR, ids=kind_of)
def test_collector_may_say(statement: Statement) -> None:
    assert decide(candidate(statement, COLLECTOR_SEED), COLLECTOR_RECORD) == Admit(implausible_time=False)


@pytest.mark.parametrize("statement", OF_THE_COLLECTOR, ids=kind_of)
def test_station_may_not_say_what_is_the_collectors(statement: Statement) -> None:
    assert refusal(decide(candidate(statement), record())) == ("not-enrolled", True)


@pytest.mark.parametrize("statement", [*OF_STATIONS, custody("unreadable", STATION)], ids=kind_of)
def test_collector_may_not_say_what_is_the_stations(statement: Statement) -> None:
    assert refusal(decide(candidate(statement, COLLECTOR_SEED), COLLECTOR_RECORD)) == ("not-enrolled", True)


@pytest.mark.parametrize(
    ("asking", "known_by", "code", "authenticated"),
    [
        (candidate(), None, "not-enrolled", False),
        (candidate(manifest(b"c", INVENTORY_ID, agency="others")), record(), "agency-not-allowed", True),
        (candidate(), replace(record(), revoked_index=7), "key-revoked", True),
        (candidate(), record(name="station-2"), "not-enrolled", True),
        (candidate(seed=OTHER_SEED), record(), "signature-invalid", False),
    ],
    ids=["unknown key", "other agency", "revoked", "another's name", "another's key"],
)
def test_refused(asking: Candidate, known_by: KeyRecord | None, code: str, authenticated: bool) -> None:
    assert refusal(decide(asking, known_by)) == (code, authenticated)


def test_changed_payload_is_an_unauthenticated_refusal() -> None:
    honest, other = sign_statement(MANIFEST, STATION_SEED), manifest(b"other", INVENTORY_ID)
    forged = Candidate.read(replace(honest, payload=encode(other)))
    assert refusal(decide(forged, record())) == ("signature-invalid", False)


def test_repeated_statement_is_known() -> None:
    assert decide(candidate(), record(), 5) == Known(index=5)


def test_repetition_after_revocation_is_still_known() -> None:
    """Its answer was lost; what it said, it said in time."""
    assert decide(candidate(), replace(record(), revoked_index=7), 5) == Known(index=5)


def test_nobody_learns_what_is_known_without_the_key() -> None:
    assert refusal(decide(candidate(seed=OTHER_SEED), record(), 5)) == ("signature-invalid", False)


@pytest.mark.parametrize(
    ("ahead", "implausible"),
    [
        (timedelta(0), False),
        (PLAUSIBLE_SKEW, False),
        (PLAUSIBLE_SKEW + timedelta(seconds=1), True),
        (timedelta(days=-9000), False),
    ],
)
def test_only_the_future_is_implausible_and_it_is_admitted(ahead: timedelta, implausible: bool) -> None:
    head = replace(header(4), issued_at=NOW + ahead)
    assert decide(candidate(replace(MANIFEST, header=head)), record()) == Admit(implausible_time=implausible)


def test_signature_for_another_purpose_is_no_candidate() -> None:
    with pytest.raises(EnrolmentError):
        Candidate.read(Envelope.sign(ADMISSION_TYPE, encode(MANIFEST), STATION_SEED))


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", MalformedError),
        (b"[]", MalformedError),
        (b"{}", MalformedError),
        (encode(MANIFEST).replace(b":manifest:", b":prophecy:"), UnknownKindError),
        (encode(MANIFEST).replace(b'"attempts":1', b'"attempts":0'), MalformedError),
        (encode(MANIFEST).replace(b'"attempts":1', b'"attempts":1,"critical":["x"],"x":1'), ProtocolError),
    ],
)
def test_payload_that_is_no_statement_is_no_candidate(payload: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error):
        Candidate.read(Envelope.sign(STATEMENT_TYPE, payload, STATION_SEED))


def refusal(decision: Admit | Known | Refuse) -> tuple[str, bool]:
    assert isinstance(decision, Refuse)
    return decision.error.code, decision.authenticated
