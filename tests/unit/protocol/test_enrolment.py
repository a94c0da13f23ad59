"""Are enrolment code and bodies refused where they are not exactly what they should be?"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from protocol import ed25519
from protocol.canonical import canonical
from protocol.digest import Digest
from protocol.enrolment import EnrolmentRequest, proof_message
from protocol.enrolment_code import EnrolmentCode, MistypedCodeError, encode_base64url
from protocol.errors import KeyRejectedError, LimitError, MalformedError, ProtocolError, UnknownKindError
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.note import SignerKey

CODE = EnrolmentCode(
    url="https://collector.example:8443",
    secret=bytes(range(32)),
    ca_fingerprint=Digest.of(b"ca"),
    log_key=SignerKey(name="collector.example/log", seed=bytes(32)).verifier,
    station="dock-1",
    agencies=("jing-an",),
)
CSR = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
SEED = bytes(range(32))


def coded(members: dict[str, Any], version: str = "zhilu1") -> str:
    """A code with a good check group around any members."""
    body = f"{version}.{encode_base64url(canonical(members))}"
    check = base64.b32encode(hashlib.sha256(body.encode()).digest()[:5]).decode().lower()
    return f"{body}.{check}"


def members(**changes: Any) -> dict[str, Any]:
    text = CODE.to_text().split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=="))
    return {**found, **changes}


def test_the_code_is_spelled_as_last_year() -> None:
    assert CODE.to_text().startswith("zhilu1.eyJhZ2VuY2llcyI6WyJqaW5nLWFuIl0sImNhX3NoYTI1NiI6I")
    assert members() == {
        "v": 1,
        "url": "https://collector.example:8443",
        "secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "ca_sha256": Digest.of(b"ca").hex,
        "log_vkey": str(CODE.log_key),
        "station": "dock-1",
        "agencies": ["jing-an"],
    }
    assert EnrolmentCode.from_text(coded(members())) == CODE


def test_the_secret_is_not_in_the_repr() -> None:
    assert "secret" not in repr(CODE)


@pytest.mark.parametrize(
    "url",
    [
        "http://collector.example",
        "https://",
        "https://collector.example/",
        "https://collector.example/path",
        "https://collector.example?x",
        "https://collector.example#x",
        "https://user@collector.example",
        "https://collector.example:0",
        "https://collector.example:99999",
        "https://collector.example:",
        "https://[::1",
        "https://a b",
        "HTTPS://collector.example",
        "https://" + "a" * 300,
    ],
)
def test_an_address_that_is_no_https_origin_is_malformed(url: str) -> None:
    with pytest.raises(MalformedError):
        EnrolmentCode.from_text(coded(members(url=url)))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"secret": "AAAA"},
        {"secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9"},
        {"ca_sha256": "00"},
        {"log_vkey": "name+00000000+AAAA"},
        {"station": "_collector"},
        {"agencies": []},
        {"agencies": ["a", "a"]},
        {"agencies": ["a", 1]},
        {"agencies": [f"a{number}" for number in range(65)]},
        {"extra": 1},
    ],
)
def test_a_code_with_a_bad_member_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        EnrolmentCode.from_text(coded(members(**changes)))


def test_a_code_of_a_later_version_is_not_called_mistyped() -> None:
    with pytest.raises(UnknownKindError):
        EnrolmentCode.from_text(coded(members(), "zhilu2"))


@pytest.mark.parametrize("text", ["", "zhilu1", "zhilu1.AAAA", "hello.world.again", CODE.to_text()[:-1]])
def test_a_fragment_is_called_mistyped(text: str) -> None:
    with pytest.raises(MistypedCodeError):
        EnrolmentCode.from_text(text)


def test_an_endless_code_is_not_read() -> None:
    with pytest.raises(LimitError):
        EnrolmentCode.from_text("zhilu1." + "A" * 100_000)


def signed(public_key: bytes) -> EnrolmentRequest:
    message = proof_message(secret=CODE.secret, csr_pem=CSR, public_key=public_key)
    return EnrolmentRequest(
        secret=CODE.secret,
        csr_pem=CSR,
        public_key=public_key,
        proof_of_possession=ed25519.sign(SEED, message),
    )


def test_the_proof_message_is_label_and_three_digest_sized_parts() -> None:
    message = proof_message(secret=CODE.secret, csr_pem=CSR, public_key=bytes(32))
    assert message.startswith(b"zhilu-enrolment-v1\x00")
    assert len(message) == len(b"zhilu-enrolment-v1\x00") + 3 * 32


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\x00" * 31])
def test_a_key_verifiers_disagree_on_is_rejected(key: bytes) -> None:
    with pytest.raises(KeyRejectedError):
        signed(key).verify()


def test_an_unknown_critical_member_is_refused_and_any_other_tolerated() -> None:
    request = signed(ed25519.public_from_seed(SEED))
    body = json.loads(request.to_bytes())
    assert EnrolmentRequest.from_bytes(json.dumps({**body, "later": 1}).encode()) == request
    with pytest.raises(ProtocolError) as refused:
        EnrolmentRequest.from_bytes(json.dumps({**body, "later": 1, "critical": ["later"]}).encode())
    assert refused.value.code == "unknown-critical"


def test_a_body_above_the_limit_is_not_parsed() -> None:
    with pytest.raises(LimitError):
        EnrolmentRequest.from_bytes(b" " * (MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize("csr", ["", "hello", "-----BEGIN é", "-----BEGIN " + "A" * 20_000])
def test_a_request_without_pem_is_refused(csr: str) -> None:
    with pytest.raises(ProtocolError):
        replace(signed(ed25519.public_from_seed(SEED)), csr_pem=csr)
