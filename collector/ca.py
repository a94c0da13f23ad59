"""The collector's own certificate authority: who may open a TLS connection, and under which name.

ECDSA P-256 throughout, since browsers refuse Ed25519 certificates. The CA signs three kinds of leaf: the server
(names and addresses given at init), the collector's own client, and one client per station. Nothing of a
request but its public key gets into a certificate. A station's certificate names its Ed25519 key and not the
station: who that is, and whether it still may speak, is said by the log, never by this CA.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collector.errors import CollectorError, Fault
from protocol.digest import Digest
from protocol.enrolment import certificate_name
from protocol.ids import COLLECTOR

CA_LIFETIME: Final = timedelta(days=20 * 365)
"""Longer than a station lives: replacing the CA means enrolling every station again."""

STATION_LIFETIME: Final = timedelta(days=10 * 365)
"""A station must not fall silent because nobody renewed it; revocation is a statement in the log."""

SERVER_LIFETIME: Final = timedelta(days=825)
"""The longest that every browser accepts from a private CA; renewed at start when a third is left."""

_CLOCK_SKEW: Final = timedelta(days=1)
"""Certificates start a day early, so that a station whose clock is a little behind can enrol."""

_SERVER_NAME: Final = "zhilu collector server"
"""Holds a space, so it can never be a station's name."""


class CsrRejectedError(CollectorError):
    """A certificate request that is not a self-signed P-256 request."""

    code: ClassVar[str] = "csr-rejected"
    status: ClassVar[int] = 400
    fault: ClassVar[Fault] = "caller"


class ServerNameError(CollectorError):
    """A name the server cannot be certified for."""

    code: ClassVar[str] = "server-name"


class CaFilesError(CollectorError):
    """The stored CA is damaged, or its key belongs to another certificate. Raised at start, to the operator."""

    code: ClassVar[str] = "ca-files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A leaf certificate with its key, both PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """The CA (证书颁发机构) in memory; ``collector.ca_files`` keeps it on disk."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, now: datetime) -> Self:
        """A new root that may sign leaves only (path length 0)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"zhilu CA {_key_tag(key.public_key())}")
        builder = _builder(name, name, key.public_key(), now, CA_LIFETIME)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return cls(certificate=builder.sign(key, hashes.SHA256()), key=key)

    @classmethod
    def from_pem(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """Raises CaFilesError if either is damaged or they do not belong together."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CaFilesError(f"the stored CA cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise CaFilesError("the stored CA key does not belong to the stored CA certificate")
        return cls(certificate=certificate, key=key)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return _private_pem(self.key)

    @property
    def fingerprint(self) -> Digest:
        """SHA-256 of the DER certificate, as in the enrolment code and as ``openssl x509 -fingerprint`` prints."""
        return Digest.of(self.certificate.public_bytes(serialization.Encoding.DER))

    def issue_server(self, names: Sequence[str], now: datetime) -> Credentials:
        """For the HTTP and MQTT listeners, valid for these DNS names and IP addresses. Raises ServerNameError."""
        alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
        return self._issue_with_key(
            _SERVER_NAME, ExtendedKeyUsageOID.SERVER_AUTH, now, SERVER_LIFETIME, alternative
        )

    def issue_collector(self, now: datetime) -> Credentials:
        """The collector's own client certificate, under the name the broker gives all topics to."""
        return self._issue_with_key(COLLECTOR, ExtendedKeyUsageOID.CLIENT_AUTH, now, SERVER_LIFETIME)

    def issue_station(self, csr_pem: str, key_id: str, now: datetime) -> bytes:
        """A client certificate (PEM) for the TLS key in the request, whatever name it asks for: the name is that of the
        signing key ``key_id`` (``protocol.enrolment.certificate_name``).

        Raises CsrRejectedError, or MalformedError for what is no key id.
        """
        name = certificate_name(key_id)
        public_key = read_csr(csr_pem)
        return self._issue(public_key, name, ExtendedKeyUsageOID.CLIENT_AUTH, now, STATION_LIFETIME)

    def _issue_with_key(
        self,
        common_name: str,
        usage: x509.ObjectIdentifier,
        now: datetime,
        lifetime: timedelta,
        alternative: x509.SubjectAlternativeName | None = None,
    ) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate_pem = self._issue(key.public_key(), common_name, usage, now, lifetime, alternative)
        return Credentials(certificate_pem=certificate_pem, key_pem=_private_pem(key))

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        common_name: str,
        usage: x509.ObjectIdentifier,
        now: datetime,
        lifetime: timedelta,
        alternative: x509.SubjectAlternativeName | None = None,
    ) -> bytes:
        # a leaf that outlives its CA would be refused from then on anyway, but look valid
        lifetime = min(lifetime, self.certificate.not_valid_after_utc - now)
        builder = _builder(_name(common_name), self.certificate.subject, public_key, now, lifetime)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_csr(csr_pem: str) -> ec.EllipticCurvePublicKey:
    """The public key of a request whose own signature holds. Raises CsrRejectedError."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        public_key = csr.public_key()
        genuine = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CsrRejectedError(f"not a certificate request: {str(error)[:200]}") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(
        public_key.curve, ec.SECP256R1
    ):
        raise CsrRejectedError("a certificate request must be for an ECDSA P-256 key")
    if not genuine:
        raise CsrRejectedError("the signature of the certificate request does not hold")
    return public_key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_tag(public_key: ec.EllipticCurvePublicKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex()[:8]


def general_name(name: str) -> x509.GeneralName:
    """An IP address if it reads as one, else a DNS name in its ASCII form. Raises ServerNameError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ServerNameError(f"not a DNS name in ASCII form: {name[:80]!r}") from error


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
