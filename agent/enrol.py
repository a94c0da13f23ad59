"""First trust, the station's side: from an enrolment code to a certificate and a verified place in the log.

1. The keys are made and kept before anything is sent, so every later step can be repeated with the same code.
2. The CA certificate is fetched over TLS that proves nothing; nothing secret is sent. It must have the
   fingerprint in the code.
3. Over a new connection that trusts this CA alone, host name checked, the request with the secret is sent.
4. The answer is verified in full, the proof of enrolment included, before any of it is stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from agent.enrol_errors import (
    REFUSALS,
    AlreadyEnrolledError,
    AnswerInvalidError,
    ClockWrongError,
    CodeInvalidError,
    CollectorUnreachableError,
    CollectorUntrustedError,
    EnrolError,
    EnrolmentRefusedError,
    FingerprintMismatchError,
    WrongNameError,
)
from agent.keys.enrolment import Enrolment
from agent.keys.station_keys import StationKeys
from agent.keys.store import KeyStore
from protocol.digest import Digest
from protocol.enrolment import (
    MAX_PEM_CHARS,
    EnrolmentRequest,
    EnrolmentResponse,
    certificate_name,
    proof_message,
)
from protocol.enrolment_code import EnrolmentCode
from protocol.errors import ProtocolError
from protocol.limits import MAX_MESSAGE_BYTES, MAX_TEXT_CHARS

VerifyEnrolled = Callable[[EnrolmentCode, EnrolmentResponse, bytes], None]
"""Verifies ``response.enrolled`` for this Ed25519 public key under the code's log key; raises ProtocolError."""

TIMEOUT_S: Final = 30.0
"""For one request: the collector commits the enrolment to its log before it answers."""

_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_WRONG_HOST: Final = 62
_WRONG_ADDRESS: Final = 64
"""Verification results of OpenSSL (x509_vfy.h)."""

_log = logging.getLogger(__name__)


async def enrol(
    code_text: str, store: KeyStore, verify_enrolled: VerifyEnrolled, *, timeout_s: float = TIMEOUT_S
) -> Enrolment:
    """Enrol the station and keep the outcome durably. Repeating it with the same code is harmless.

    Raises EnrolError with ``advice``, KeyStoreError or OSError.
    """
    code = read_code(code_text)
    _check_not_elsewhere(code, await asyncio.to_thread(store.load_enrolment))
    keys = await asyncio.to_thread(store.ensure_keys)
    ca = await _fetch_ca(code, timeout_s)
    answer = await _request(code, _build_request(code, keys), ca, timeout_s)
    enrolment = _verify_answer(code, keys, ca, answer, verify_enrolled)
    await asyncio.to_thread(store.store_enrolment, enrolment)
    _log.info("station enrolled", extra={"station": code.station, "key": keys.key_id})
    return enrolment


def read_code(text: str) -> EnrolmentCode:
    """Raises CodeInvalidError."""
    try:
        return EnrolmentCode.from_text(text)
    except ProtocolError as error:
        raise CodeInvalidError(str(error)) from error


def _check_not_elsewhere(code: EnrolmentCode, stored: Enrolment | None) -> None:
    if stored is not None and (stored.station, stored.log_key) != (code.station, code.log_key):
        raise AlreadyEnrolledError(
            f"already enrolled as {stored.station} with the collector {stored.log_key.name}"
        )


def _build_request(code: EnrolmentCode, keys: StationKeys) -> EnrolmentRequest:
    csr_pem = keys.certificate_request(code.station)
    message = proof_message(secret=code.secret, csr_pem=csr_pem, public_key=keys.public_key)
    return EnrolmentRequest(
        secret=code.secret,
        csr_pem=csr_pem,
        public_key=keys.public_key,
        proof_of_possession=keys.sign(message),
    )


async def _fetch_ca(code: EnrolmentCode, timeout_s: float) -> x509.Certificate:
    async with _session(False, timeout_s) as session:
        response = await session.get(f"{code.url}/api/v1/ca", allow_redirects=False)
        body = await _read_limited(response, MAX_PEM_CHARS)
    if response.status != 200:
        raise CollectorUnreachableError(
            f"no collector at {code.url}: it answered {response.status} for its CA"
        )
    try:
        (certificate,) = x509.load_pem_x509_certificates(body)
    except ValueError as error:
        raise FingerprintMismatchError(f"{code.url} did not answer with one CA certificate") from error
    actual = Digest.of(certificate.public_bytes(serialization.Encoding.DER))
    if actual != code.ca_fingerprint:
        raise FingerprintMismatchError(
            f"the CA has fingerprint {actual}, the code says {code.ca_fingerprint}"
        )
    return certificate


async def _request(
    code: EnrolmentCode, request: EnrolmentRequest, ca: x509.Certificate, timeout_s: float
) -> EnrolmentResponse:
    async with _session(_strict_context(ca), timeout_s) as session:
        response = await session.post(
            f"{code.url}/api/v1/enrolments",
            data=request.to_bytes(),
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
        )
        body = await _read_limited(response, MAX_MESSAGE_BYTES)
    if response.status not in (200, 201):
        raise _refusal(response.status, body)
    try:
        return EnrolmentResponse.from_bytes(body)
    except ProtocolError as error:
        raise AnswerInvalidError(f"the collector's answer cannot be read: {error}") from error


def _verify_answer(
    code: EnrolmentCode,
    keys: StationKeys,
    ca: x509.Certificate,
    answer: EnrolmentResponse,
    verify_enrolled: VerifyEnrolled,
) -> Enrolment:
    if (answer.station, answer.agencies) != (code.station, code.agencies):
        raise AnswerInvalidError(f"the answer is for {answer.station}, not for {code.station} as in the code")
    _verify_certificates(keys, ca, answer)
    try:
        verify_enrolled(code, answer, keys.public_key)
    except ProtocolError as error:
        raise AnswerInvalidError(f"the proof of enrolment does not hold: {error}") from error
    return Enrolment.of(code, answer)


def _verify_certificates(keys: StationKeys, ca: x509.Certificate, answer: EnrolmentResponse) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(answer.certificate_pem.encode())
        same_ca = x509.load_pem_x509_certificate(answer.ca_pem.encode()) == ca
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise AnswerInvalidError("the certificate is not one that this CA signed") from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not same_ca or [name.value for name in names] != [certificate_name(keys.key_id)]:
        raise AnswerInvalidError("the certificate names another key or comes with another CA")
    if certificate.public_key() != keys.tls_key.public_key():
        raise AnswerInvalidError("the certificate is for another key")


def _strict_context(ca: x509.Certificate) -> ssl.SSLContext:
    """Dates are checked here, unlike later: somebody is present who can set the clock."""
    context = ssl.create_default_context(cadata=ca.public_bytes(serialization.Encoding.PEM).decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@asynccontextmanager
async def _session(tls: ssl.SSLContext | bool, timeout_s: float) -> AsyncIterator[aiohttp.ClientSession]:
    """One connection's worth of session; what goes wrong in it becomes an EnrolError."""
    connector = aiohttp.TCPConnector(ssl=tls)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},  # a limit on unpacked bytes is no limit on memory
            auto_decompress=False,
        ) as session:
            yield session
    except aiohttp.ClientConnectorCertificateError as error:
        raise _untrusted(error.certificate_error) from error
    except aiohttp.ClientSSLError as error:
        raise CollectorUntrustedError(f"no TLS connection: {error}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise CollectorUnreachableError(f"the collector cannot be reached: {error or 'timeout'}") from error


def _untrusted(error: Exception) -> EnrolError:
    result = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else None
    if result in (_NOT_YET_VALID, _EXPIRED):
        return ClockWrongError("by this machine's clock the collector's certificate is not valid now")
    if result in (_WRONG_HOST, _WRONG_ADDRESS):
        return WrongNameError(f"the collector's certificate is for another name: {error}")
    return CollectorUntrustedError(
        f"the collector's certificate does not lead to the CA in the code: {error}"
    )


def _refusal(status: int, body: bytes) -> EnrolError:
    """From problem details (RFC 9457); a body of any other form is only worth its status."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = None
    members = problem if isinstance(problem, dict) else {}
    detail = str(members.get("detail", ""))[:MAX_TEXT_CHARS] or f"the collector answered {status}"
    if status >= 500:
        return CollectorUnreachableError(detail)
    known = REFUSALS.get(str(members.get("code", "")), EnrolmentRefusedError)
    return known(detail)


async def _read_limited(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    received = bytearray()
    async for piece in response.content.iter_any():
        received += piece
        if len(received) > max_bytes:
            raise AnswerInvalidError(f"the answer has more than {max_bytes} bytes")
    return bytes(received)
