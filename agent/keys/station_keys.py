"""The two keys of a station: Ed25519 for what it says, ECDSA P-256 for its TLS connections."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from agent.keys.errors import KeyFileDamagedError
from protocol import ed25519


@dataclass(frozen=True, slots=True, kw_only=True)
class StationKeys:
    """Both secret keys (站点密钥). ``seed`` is the 32-byte Ed25519 seed; neither is ever shown or logged."""

    seed: bytes = field(repr=False)
    tls_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Two new random keys."""
        return cls(
            seed=secrets.token_bytes(ed25519.SEED_BYTES), tls_key=ec.generate_private_key(ec.SECP256R1())
        )

    @property
    def public_key(self) -> bytes:
        return ed25519.public_from_seed(self.seed)

    @property
    def key_id(self) -> str:
        return ed25519.key_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature over a message that already carries its purpose label."""
        return ed25519.sign(self.seed, message)

    def certificate_request(self, station: str) -> str:
        """A PKCS #10 request (PEM) for the TLS key; the collector takes nothing from it but the key."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, station)])
        csr = (
            x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.tls_key, hashes.SHA256())
        )
        return csr.public_bytes(serialization.Encoding.PEM).decode("ascii")


def seed_to_pem(seed: bytes) -> bytes:
    """PKCS #8, so that ``openssl pkey`` can read the key in an emergency."""
    return _to_pem(Ed25519PrivateKey.from_private_bytes(seed))


def seed_from_pem(pem: bytes, where: str) -> bytes:
    """Raises KeyFileDamagedError."""
    key = _from_pem(pem, where)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileDamagedError(f"{where} holds no Ed25519 key")
    return key.private_bytes_raw()


def tls_key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return _to_pem(key)


def tls_key_from_pem(pem: bytes, where: str) -> ec.EllipticCurvePrivateKey:
    """Raises KeyFileDamagedError."""
    key = _from_pem(pem, where)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileDamagedError(f"{where} holds no ECDSA key")
    return key


def _to_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _from_pem(pem: bytes, where: str) -> object:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileDamagedError(f"{where} holds no private key") from error
