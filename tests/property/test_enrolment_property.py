"""Do enrolment code, request and response survive their bytes, and does nothing else get through?"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol import ed25519
from protocol.digest import Digest
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse, MqttAddress, proof_message
from protocol.enrolment_code import EnrolmentCode, MistypedCodeError
from protocol.errors import ProtocolError, SignatureError
from protocol.note import SignerKey

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
keys32 = st.binary(min_size=32, max_size=32)
pems = st.text("ABCabc123+/=\n", max_size=200).map(lambda text: f"-----BEGIN CERTIFICATE-----\n{text}")
agencies = st.lists(names, min_size=1, max_size=4, unique=True).map(tuple)
hosts = st.sampled_from(["collector.example", "127.0.0.1", "[::1]", "localhost"])
urls = st.builds(
    lambda host, port: f"https://{host}" + (f":{port}" if port else ""),
    hosts,
    st.none() | st.integers(1, 65_535),
)
codes = st.builds(
    EnrolmentCode,
    url=urls,
    secret=keys32,
    ca_fingerprint=keys32.map(Digest.of),
    log_key=st.builds(lambda name, seed: SignerKey(name=name, seed=seed).verifier, names, keys32),
    station=names,
    agencies=agencies,
)
responses = st.builds(
    EnrolmentResponse,
    certificate_pem=pems,
    ca_pem=pems,
    station=names,
    agencies=agencies,
    collector_public_key=keys32.map(ed25519.public_from_seed),
    mqtt=st.builds(MqttAddress, host=st.just("collector.example"), port=st.integers(1, 65_535)),
    enrolled=st.dictionaries(st.text("abc", max_size=3), st.integers(-9, 9) | st.text("xyz", max_size=5)),
)


def signed_request(secret: bytes, csr_pem: str, seed: bytes) -> EnrolmentRequest:
    public = ed25519.public_from_seed(seed)
    message = proof_message(secret=secret, csr_pem=csr_pem, public_key=public)
    return EnrolmentRequest(
        secret=secret, csr_pem=csr_pem, public_key=public, proof_of_possession=ed25519.sign(seed, message)
    )


requests = st.builds(signed_request, keys32, pems, keys32)


@given(codes)
def test_a_code_survives_its_text(code: EnrolmentCode) -> None:
    text = code.to_text()
    assert EnrolmentCode.from_text(text) == code
    assert not set(text) & set(" \t\n")


@given(codes, st.data())
def test_white_space_from_mail_does_not_matter(code: EnrolmentCode, data: st.DataObject) -> None:
    text = code.to_text()
    at = data.draw(st.integers(0, len(text)))
    assert EnrolmentCode.from_text(f" {text[:at]}\r\n {text[at:]}\n") == code


@given(codes, st.data())
def test_any_single_slip_is_noticed(code: EnrolmentCode, data: st.DataObject) -> None:
    text = code.to_text()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("abcXYZ019-_."))
    slips = [text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + other + text[at:]]
    slip = data.draw(st.sampled_from(slips))
    assume(slip != text)
    with pytest.raises(MistypedCodeError):
        EnrolmentCode.from_text(slip)


@given(st.text())
def test_no_text_crashes_the_reader_of_codes(text: str) -> None:
    with suppress(ProtocolError):
        EnrolmentCode.from_text(text)


@given(requests)
def test_a_request_survives_its_bytes_and_still_verifies(request: EnrolmentRequest) -> None:
    again = EnrolmentRequest.from_bytes(request.to_bytes())
    assert again == request
    again.verify()


@given(requests, requests)
def test_a_proof_is_good_for_its_own_request_only(one: EnrolmentRequest, two: EnrolmentRequest) -> None:
    assume(one.proof_of_possession != two.proof_of_possession)
    borrowed = EnrolmentRequest(
        secret=two.secret,
        csr_pem=two.csr_pem,
        public_key=one.public_key,
        proof_of_possession=one.proof_of_possession,
    )
    assume((one.secret, one.csr_pem) != (two.secret, two.csr_pem))
    with pytest.raises(SignatureError):
        borrowed.verify()


@given(responses)
def test_a_response_survives_its_bytes(response: EnrolmentResponse) -> None:
    assert EnrolmentResponse.from_bytes(response.to_bytes()) == response


@given(st.binary() | requests.map(EnrolmentRequest.to_bytes), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_crash_the_readers_of_messages(data: bytes, at: int, value: int) -> None:
    damaged = data[:at] + bytes([value]) + data[at + 1 :]
    for reader in (EnrolmentRequest.from_bytes, EnrolmentResponse.from_bytes):
        with suppress(ProtocolError):
            reader(damaged)
