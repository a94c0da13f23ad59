"""Does an envelope say what was signed, by whom and for what purpose, and nothing else?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from protocol import ed25519
from protocol.dsse import ADMISSION_TYPE, STATEMENT_TYPE, Envelope, pre_authentication_encoding
from protocol.errors import LimitError, MalformedError, ProtocolError, SignatureError
from protocol.limits import MAX_ENVELOPE_BYTES, MAX_PAYLOAD_BYTES

SEED = b"d" * 32
PUBLIC = ed25519.public_from_seed(SEED)
PAYLOAD = b'{"any":"bytes"}'
ENVELOPE = Envelope.sign(STATEMENT_TYPE, PAYLOAD, SEED)


def changed(**members: object) -> bytes:
    return json.dumps(json.loads(ENVELOPE.to_bytes()) | members).encode()


def signatures(**members: object) -> list[dict[str, Any]]:
    only: dict[str, Any] = json.loads(ENVELOPE.to_bytes())["signatures"][0]
    return [{name: value for name, value in (only | members).items() if value is not ...}]


def test_a_signed_envelope_verifies_under_its_key_and_purpose() -> None:
    ENVELOPE.verify(PUBLIC, STATEMENT_TYPE)


def test_it_names_its_key_by_digest() -> None:
    assert ENVELOPE.key_id == ed25519.key_id(PUBLIC)


def test_signing_twice_gives_the_same_bytes() -> None:
    assert Envelope.sign(STATEMENT_TYPE, PAYLOAD, SEED).to_bytes() == ENVELOPE.to_bytes()


def test_the_written_form_has_the_members_of_the_specification() -> None:
    value = json.loads(ENVELOPE.to_bytes())
    assert set(value) == {"payload", "payloadType", "signatures"}
    (signature,) = value["signatures"]
    assert set(signature) == {"keyid", "sig"}


def test_it_is_read_as_it_was_written() -> None:
    assert Envelope.from_bytes(ENVELOPE.to_bytes()) == ENVELOPE


def test_the_encoding_keeps_type_and_payload_apart() -> None:
    assert pre_authentication_encoding("a b", b"c") != pre_authentication_encoding("a", b"b c")
    assert pre_authentication_encoding("执", b"\x00\xff") == "DSSEv1 3 执 2 ".encode() + b"\x00\xff"


def test_a_statement_is_never_taken_for_an_admission() -> None:
    with pytest.raises(SignatureError, match="signed as"):
        ENVELOPE.verify(PUBLIC, ADMISSION_TYPE)
    with pytest.raises(SignatureError):
        replace(ENVELOPE, payload_type=ADMISSION_TYPE).verify(PUBLIC, ADMISSION_TYPE)


def test_another_key_is_refused_even_if_the_envelope_claims_it() -> None:
    other = ed25519.public_from_seed(b"e" * 32)
    with pytest.raises(SignatureError, match="signed by"):
        ENVELOPE.verify(other, STATEMENT_TYPE)
    with pytest.raises(SignatureError, match="does not verify"):
        replace(ENVELOPE, key_id=ed25519.key_id(other)).verify(other, STATEMENT_TYPE)


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_a_changed_signature_is_refused(position: int) -> None:
    bent = bytearray(ENVELOPE.signature)
    bent[position] ^= 1
    with pytest.raises(SignatureError):
        replace(ENVELOPE, signature=bytes(bent)).verify(PUBLIC, STATEMENT_TYPE)


def test_a_changed_payload_is_refused() -> None:
    with pytest.raises(SignatureError):
        replace(ENVELOPE, payload=PAYLOAD + b" ").verify(PUBLIC, STATEMENT_TYPE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        changed(payload=None),
        changed(payload=1),
        changed(payload=""),
        changed(payload="e30"),
        changed(payload="e3=="),
        changed(payload="e30=\n"),
        changed(payload="-_8="),
        changed(payloadType=""),
        changed(payloadType=7),
        changed(signatures=[]),
        changed(signatures={}),
        changed(signatures=signatures() * 2),
        changed(signatures=signatures(sig=...)),
        changed(signatures=signatures(keyid=...)),
        changed(signatures=signatures(sig="AAAA")),
        changed(signatures=signatures(sig="A" * 2_000)),
        changed(signatures=["text"]),
    ],
)
def test_what_is_no_envelope_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Envelope.from_bytes(data)


def test_members_of_later_versions_are_tolerated_since_nothing_here_relies_on_them() -> None:
    data = changed(extension={"x": 1}, signatures=signatures(cert="…"))
    assert Envelope.from_bytes(data) == ENVELOPE


def test_a_payload_has_a_largest_size_and_fits_into_the_largest_envelope() -> None:
    largest = Envelope.sign(STATEMENT_TYPE, b"x" * MAX_PAYLOAD_BYTES, SEED)
    assert len(largest.to_bytes()) <= MAX_ENVELOPE_BYTES
    assert Envelope.from_bytes(largest.to_bytes()) == largest
    with pytest.raises(ProtocolError, match="more than"):
        Envelope.sign(STATEMENT_TYPE, b"x" * (MAX_PAYLOAD_BYTES + 1), SEED)


def test_an_envelope_has_a_largest_size() -> None:
    with pytest.raises(LimitError):
        Envelope.from_bytes(b" " * (MAX_ENVELOPE_BYTES + 1))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_has_its_one_length(length: int) -> None:
    with pytest.raises(MalformedError, match="64 bytes"):
        replace(ENVELOPE, signature=bytes(length))
