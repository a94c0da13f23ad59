"""Does a station learn each statement's fate from its collector, and from nobody else?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from protocol import ed25519
from protocol.admission import MAX_RESULTS, Admission, AdmissionResult, open_admission, sign_admission
from protocol.canonical import canonical
from protocol.digest import Digest
from protocol.dsse import ADMISSION_TYPE, STATEMENT_TYPE, Envelope
from protocol.errors import (
    MalformedError,
    ProtocolError,
    SignatureError,
    UnknownCriticalError,
    UnknownKindError,
)
from protocol.limits import MAX_PAYLOAD_BYTES
from tests.support.evidence import COLLECTOR_SEED, NOW, OTHER_SEED, STATION_SEED, Story

PUBLIC = ed25519.public_from_seed(COLLECTOR_SEED)
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
ADMISSION = Admission(
    station="station-1",
    issued_at=NOW,
    results=(
        AdmissionResult.admitted(ONE, 7),
        AdmissionResult.refused(TWO, "not-enrolled", "no enrolment is known", retryable=False),
    ),
    checkpoint=Story().log.note,
)


def payload(**members: object) -> bytes:
    return canonical(json.loads(ADMISSION.to_payload()) | members)


def result(**members: object) -> dict[str, object]:
    value = json.loads(ADMISSION.to_payload())["results"][0] | members
    return {name: member for name, member in value.items() if member is not ...}


def test_an_admission_is_opened_as_it_was_signed() -> None:
    assert open_admission(sign_admission(ADMISSION, COLLECTOR_SEED).to_bytes(), PUBLIC) == ADMISSION


def test_an_admission_without_admitted_statements_needs_no_checkpoint() -> None:
    refusing = replace(ADMISSION, results=ADMISSION.results[1:], checkpoint=None)
    assert Admission.from_payload(refusing.to_payload()) == refusing


@pytest.mark.parametrize("seed", [STATION_SEED, OTHER_SEED])
def test_nobody_but_the_collector_admits(seed: bytes) -> None:
    forged = sign_admission(ADMISSION, seed)
    with pytest.raises(SignatureError):
        open_admission(forged.to_bytes(), PUBLIC)
    as_collector = replace(forged, key_id=ed25519.key_id(PUBLIC))
    with pytest.raises(SignatureError):
        open_admission(as_collector.to_bytes(), PUBLIC)


def test_a_statement_of_the_collector_is_never_taken_for_an_admission() -> None:
    disguised = Envelope.sign(STATEMENT_TYPE, ADMISSION.to_payload(), COLLECTOR_SEED)
    for envelope in (disguised, replace(disguised, payload_type=ADMISSION_TYPE)):
        with pytest.raises(SignatureError):
            open_admission(envelope.to_bytes(), PUBLIC)


def test_the_signature_is_judged_before_the_payload() -> None:
    rubbish = Envelope.sign(ADMISSION_TYPE, b"rubbish", STATION_SEED)
    with pytest.raises(SignatureError):
        open_admission(rubbish.to_bytes(), PUBLIC)


@pytest.mark.parametrize(
    "data",
    [
        b"rubbish",
        payload(station="Station"),
        payload(station=None),
        payload(issued_at="today"),
        payload(results=[]),
        payload(results=[result()] * (MAX_RESULTS + 1)),
        payload(results=["admitted"]),
        payload(results=[result(outcome="maybe")]),
        payload(results=[result(index=None)]),
        payload(results=[result(index=-1)]),
        payload(results=[result(index=1.5)]),
        payload(results=[result(code="not-enrolled")]),
        payload(results=[result(outcome="refused")]),
        payload(results=[result(outcome="refused", index=None)]),
        payload(results=[result(retryable=...)]),
        payload(results=[result(statement=ONE.hex)]),
        payload(checkpoint=1),
        payload(v="1"),
    ],
)
def test_what_is_no_admission_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Admission.from_payload(data)


def test_another_version_is_unknown() -> None:
    with pytest.raises(UnknownKindError):
        Admission.from_payload(payload(v=2))


def test_later_members_are_tolerated_unless_critical() -> None:
    assert Admission.from_payload(payload(later=1)) == ADMISSION
    with pytest.raises(UnknownCriticalError):
        Admission.from_payload(payload(later=1, critical=["later"]))


@pytest.mark.parametrize(
    "detail",
    ["x" * 1_000, "执" * 1_000, "😀" * 1_000, "\x01" * 1_000, '"\\' * 500, ""],
    ids=["letters", "Chinese", "emoji", "control characters", "quotes", "nothing"],
)
def test_the_largest_admission_fits_into_a_payload_whatever_is_quoted_in_it(detail: str) -> None:
    refused = AdmissionResult.refused(ONE, "c" * 64, detail, retryable=False)
    largest = replace(ADMISSION, results=(refused,) * MAX_RESULTS)
    assert len(largest.to_payload()) <= MAX_PAYLOAD_BYTES
    assert open_admission(sign_admission(largest, COLLECTOR_SEED).to_bytes(), PUBLIC) == largest


def test_a_short_detail_is_kept_whole_and_a_missing_one_is_the_code() -> None:
    assert AdmissionResult.refused(ONE, "code", "为什么", retryable=True).detail == "为什么"
    assert AdmissionResult.refused(ONE, "code", "", retryable=True).detail == "code"


def test_an_admission_does_not_answer_more_than_it_can_carry() -> None:
    for results in ((), ADMISSION.results * MAX_RESULTS):
        with pytest.raises(MalformedError, match="answers 1 to"):
            replace(ADMISSION, results=results)


def test_a_result_is_admitted_or_refused() -> None:
    with pytest.raises(MalformedError, match="index"):
        AdmissionResult(statement=ONE, outcome="admitted")
    with pytest.raises(MalformedError, match="index"):
        AdmissionResult(statement=ONE, outcome="refused", code="c", index=3)
    with pytest.raises(MalformedError, match="code"):
        AdmissionResult(statement=ONE, outcome="admitted", index=3, code="c")
    with pytest.raises(MalformedError, match="code"):
        AdmissionResult(statement=ONE, outcome="refused")


def test_a_flipped_bit_in_a_signed_admission_is_refused() -> None:
    data = sign_admission(ADMISSION, COLLECTOR_SEED).to_bytes()
    for position in range(0, len(data), 11):
        bent = bytearray(data)
        bent[position] ^= 0x04
        with pytest.raises(ProtocolError):
            open_admission(bytes(bent), PUBLIC)
