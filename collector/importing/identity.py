"""Who an import speaks as: a key of its own on the collector's machine, enrolled in the log under a name that no
station can have. Whoever reads the log sees from the signer that a file did not come from a recorder at a dock.

The key is made once. Every import has it enrolled again, by the same dialogue as a station's and with a code of its
own: what the log knows already is not repeated, and the certificate is always fresh.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from collector.config import CollectorConfig
from collector.errors import CollectorAwayError
from collector.importing.errors import ImportBusyError, ImportRefusedError
from collector.private_files import KeyFileError, read_private, write_durable
from collector.registers import Registers
from protocol import ed25519
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse, proof_message
from protocol.enrolment_proof import verify_enrolment_proof
from protocol.errors import ProtocolError
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.note import VerifierKey

IMPORTER: Final = "import"
"""The signer of everything imported. ``enrolment-code`` gives this name to no station."""

_FOLDER: Final = "importer"
_CODE_LIFETIME: Final = timedelta(minutes=10)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """An enrolled importer: how it signs, how it reaches the collector, and whom it believes."""

    seed: bytes = field(repr=False)
    agency: str
    url: str
    tls: ssl.SSLContext
    log_key: VerifierKey
    collector_key: bytes


@contextlib.contextmanager
def one_at_a_time(config: CollectorConfig) -> Iterator[None]:
    """Two imports at once could take the same file twice. Raises ImportBusyError."""
    folder = config.keys_dir / _FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ImportBusyError("another import runs into this collector") from error
    finally:
        os.close(descriptor)


async def enrol_importer(
    config: CollectorConfig, agency: str, log_key: VerifierKey, now: datetime
) -> Importer:
    """Have the importer's key enrolled for this agency by the running collector.

    Raises CollectorAwayError, ImportRefusedError, KeyFileError.
    """
    folder = config.keys_dir / _FOLDER
    seed, tls_key = _signing_key(folder), _tls_key(folder)
    request = _request(seed, tls_key, _issue_code(config, agency, now))
    response = await _ask(config, request)
    public_key = ed25519.public_from_seed(seed)
    try:
        proven = verify_enrolment_proof(
            response.enrolled, log_key=log_key, public_key=public_key, station=IMPORTER, agencies=(agency,)
        )
    except ProtocolError as error:
        raise ImportRefusedError(f"the collector does not prove the importer's enrolment: {error}") from error
    write_durable(folder / "certificate.pem", response.certificate_pem.encode())
    return Importer(
        seed=seed,
        agency=agency,
        url=config.url,
        tls=_context(config, folder),
        log_key=log_key,
        collector_key=proven.collector_public_key,
    )


def _issue_code(config: CollectorConfig, agency: str, now: datetime) -> bytes:
    registers = Registers.open(config.registers_path)
    try:
        return registers.issue_code(
            station=IMPORTER, agencies=(agency,), expires_at=now + _CODE_LIFETIME, now=now
        )
    finally:
        registers.close()


def _request(seed: bytes, tls_key: ec.EllipticCurvePrivateKey, secret: bytes) -> EnrolmentRequest:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, IMPORTER)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(tls_key, hashes.SHA256())
    csr_pem = csr.public_bytes(Encoding.PEM).decode("ascii")
    public_key = ed25519.public_from_seed(seed)
    message = proof_message(secret=secret, csr_pem=csr_pem, public_key=public_key)
    return EnrolmentRequest(
        secret=secret,
        csr_pem=csr_pem,
        public_key=public_key,
        proof_of_possession=ed25519.sign(seed, message),
    )


async def _ask(config: CollectorConfig, request: EnrolmentRequest) -> EnrolmentResponse:
    connector = aiohttp.TCPConnector(ssl=_context(config))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
            session.post(f"{config.url}/api/v1/enrolments", data=request.to_bytes()) as answer,
        ):
            body = await answer.content.read(MAX_MESSAGE_BYTES)
            if answer.status >= 400:
                raise ImportRefusedError(
                    f"the collector did not enrol the importer ({answer.status}): {body[:300]!r}"
                )
            return EnrolmentResponse.from_bytes(body)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise CollectorAwayError(
            f"no collector answers at {config.url}: an import needs it running ({error})"
        ) from error


def _context(config: CollectorConfig, folder: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(config.trust.ca_certificate))
    if folder is not None:
        context.load_cert_chain(folder / "certificate.pem", folder / "tls.key")
    return context


def _signing_key(folder: Path) -> bytes:
    path = folder / "signing.key"
    if not path.exists():
        write_durable(path, _to_pem(Ed25519PrivateKey.generate()))
    key = _load(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} does not hold an Ed25519 key")
    return key.private_bytes_raw()


def _tls_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    path = folder / "tls.key"
    if not path.exists():
        write_durable(path, _to_pem(ec.generate_private_key(ec.SECP256R1())))
    key = _load(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{path} does not hold an ECDSA key")
    return key


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(read_private(path), password=None)
    except ValueError as error:
        raise KeyFileError(f"{path} does not hold a private key") from error


def _to_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
