"""Whom does an enrolment code admit?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from collector.core.enrolment import CodeRecord, EnrolmentGrant, EnrolmentRefusal, decide_enrolment
from protocol import ed25519
from protocol.enrolment import EnrolmentRequest, hash_secret, proof_message
from protocol.errors import SignatureError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = bytes(range(32))
CSR = "-----BEGIN CERTIFICATE REQUEST-----\n"
RECORD = CodeRecord(
    secret_hash=hash_secret(SECRET),
    station="dock-1",
    agencies=("jing-an",),
    expires_at=NOW + timedelta(hours=1),
)


def request_of(seed: bytes = SECRET, secret: bytes = SECRET) -> EnrolmentRequest:
    public = ed25519.public_from_seed(seed)
    message = proof_message(secret=secret, csr_pem=CSR, public_key=public)
    return EnrolmentRequest(
        secret=secret, csr_pem=CSR, public_key=public, proof_of_possession=ed25519.sign(seed, message)
    )


USED = replace(RECORD, used_by=request_of().key_id)
AFTER = RECORD.expires_at


def test_a_fresh_code_admits_a_key_as_its_station() -> None:
    request = request_of()
    assert decide_enrolment(request, RECORD, NOW) == EnrolmentGrant(
        station="dock-1",
        agencies=("jing-an",),
        public_key=request.public_key,
        key_id=request.key_id,
        repeated=False,
    )


@pytest.mark.parametrize("now", [NOW, AFTER, AFTER + timedelta(days=400)])
def test_the_same_key_may_ask_again_at_any_time(now: datetime) -> None:
    grant = decide_enrolment(request_of(), USED, now)
    assert isinstance(grant, EnrolmentGrant)
    assert grant.repeated


@pytest.mark.parametrize(
    ("request_", "record", "now", "code", "status"),
    [
        (request_of(), None, NOW, "enrolment-code-unknown", 403),
        (request_of(secret=bytes(32)), RECORD, NOW, "enrolment-code-unknown", 403),
        (request_of(), RECORD, AFTER, "enrolment-code-expired", 403),
        (request_of(seed=bytes(32)), USED, NOW, "enrolment-code-used", 409),
        (request_of(seed=bytes(32)), USED, AFTER, "enrolment-code-used", 409),
        (request_of(), replace(RECORD, withdrawn=True), NOW, "enrolment-code-withdrawn", 403),
        (request_of(), replace(USED, withdrawn=True), NOW, "enrolment-code-withdrawn", 403),
    ],
)
def test_everybody_else_is_refused_with_a_stable_code(
    request_: EnrolmentRequest, record: CodeRecord | None, now: datetime, code: str, status: int
) -> None:
    refusal = decide_enrolment(request_, record, now)
    assert isinstance(refusal, EnrolmentRefusal)
    assert (refusal.code, refusal.status) == (code, status)


def test_without_proof_of_the_key_nothing_is_told_about_the_code() -> None:
    forged = replace(request_of(), proof_of_possession=bytes(64))
    with pytest.raises(SignatureError):
        decide_enrolment(forged, None, NOW)
    with pytest.raises(SignatureError):
        decide_enrolment(forged, RECORD, NOW)


def test_a_record_with_a_naive_time_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="naive"):
        replace(RECORD, expires_at=datetime(2026, 1, 1))  # noqa: DTZ001
