"""The two bodies of ``POST /api/v1/enrolments`` and what each side checks in them.

The station proves that it holds the key it enrols; the collector hands back a certificate and the proof that
the enrolment is in the log. Whether the secret is good is decided by the collector's rules, not here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, Self

from protocol import ed25519
from protocol.canonical import Fields, Json, canonical, parse_json
from protocol.enrolment_code import (
    SECRET_BYTES,
    check_agencies,
    decode_base64url,
    encode_base64url,
    parse_agencies,
)
from protocol.errors import LimitError, MalformedError
from protocol.ids import parse_name
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.lines import encode_base64

CODE_UNKNOWN: Final = "enrolment-code-unknown"
CODE_EXPIRED: Final = "enrolment-code-expired"
CODE_USED: Final = "enrolment-code-used"
CODE_WITHDRAWN: Final = "enrolment-code-withdrawn"
"""Why the collector refuses a code: the ``code`` member of its problem details."""

MAX_PEM_CHARS: Final = 16_384
"""One P-256 certificate or request is below 2 KiB; room for a chain, none for a flood."""

KEY_ALGORITHM: Final = "ed25519:"
"""What a key id begins with; the certificate's common name is the rest of it."""

_CERTIFICATE_NAME: Final = re.compile(r"[0-9a-f]{64}")
_VERSION: Final = 1
_PROOF_LABEL: Final = b"zhilu-enrolment-v1\x00"
_MAX_HOST_CHARS: Final = 253


def certificate_name(key_id: str) -> str:
    """The common name of a station's client certificate: the digest of the Ed25519 key it goes with, and nothing else.
    What that key is called and may do is said by the log. Raises MalformedError for what is no key id."""
    name = key_id.removeprefix(KEY_ALGORITHM)
    if key_id == name or not _CERTIFICATE_NAME.fullmatch(name):
        raise MalformedError(f"not the id of a station's key: {key_id[:80]!r}")
    return name


def certified_key(name: str) -> str | None:
    """The key id behind a certificate's common name; None for the names of other certificates."""
    return KEY_ALGORITHM + name if _CERTIFICATE_NAME.fullmatch(name) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRequest:
    """A station asks to be enrolled (注册申请); ``from_bytes`` does not verify, ``verify`` does."""

    secret: bytes = field(repr=False)
    csr_pem: str
    public_key: bytes
    proof_of_possession: bytes

    def __post_init__(self) -> None:
        _check_pem(self.csr_pem, "csr_pem")
        if len(self.secret) != SECRET_BYTES:
            raise MalformedError(f"the secret has {SECRET_BYTES} bytes")
        if len(self.proof_of_possession) != ed25519.SIGNATURE_BYTES:
            raise MalformedError(f"the proof of possession has {ed25519.SIGNATURE_BYTES} bytes")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises MalformedError, LimitError or UnknownCriticalError."""
        fields = Fields(parse_json(data, max_bytes=MAX_MESSAGE_BYTES, what="enrolment request"), "request")
        fields.integer("v", minimum=_VERSION, maximum=_VERSION)
        request = cls(
            secret=decode_base64url(fields.text("secret"), "the secret"),
            csr_pem=fields.text("csr_pem", max_chars=MAX_PEM_CHARS),
            public_key=fields.binary("public_key", max_bytes=ed25519.PUBLIC_KEY_BYTES),
            proof_of_possession=fields.binary("proof_of_possession", max_bytes=ed25519.SIGNATURE_BYTES),
        )
        fields.check_critical()
        return request

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "v": _VERSION,
                "secret": encode_base64url(self.secret),
                "csr_pem": self.csr_pem,
                "public_key": encode_base64(self.public_key),
                "proof_of_possession": encode_base64(self.proof_of_possession),
            }
        )

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 of the secret: what the collector keeps and looks the code up by."""
        return hash_secret(self.secret)

    @property
    def key_id(self) -> str:
        return ed25519.key_id(self.public_key)

    def verify(self) -> None:
        """Raises KeyRejectedError for a key verifiers disagree on, SignatureError if the proof does not hold."""
        ed25519.check_public_key(self.public_key)
        message = proof_message(secret=self.secret, csr_pem=self.csr_pem, public_key=self.public_key)
        ed25519.verify(self.public_key, message, self.proof_of_possession)


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttAddress:
    """Where the collector's broker listens."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if (
            not 0 < len(self.host) <= _MAX_HOST_CHARS
            or not self.host.isascii()
            or not self.host.isprintable()
        ):
            raise MalformedError(f"no host name: {self.host[:80]!r}")
        if not 0 < self.port < 65_536:
            raise MalformedError(f"no TCP port: {self.port}")

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        return cls(
            host=fields.text("host", max_chars=_MAX_HOST_CHARS), port=fields.integer("port", maximum=65_535)
        )

    def to_json(self) -> dict[str, Json]:
        return {"host": self.host, "port": self.port}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentResponse:
    """The station is enrolled (注册结果). ``enrolled`` is the logged statement with its proof, opaque here."""

    certificate_pem: str
    ca_pem: str
    station: str
    agencies: tuple[str, ...]
    collector_public_key: bytes
    mqtt: MqttAddress
    enrolled: dict[str, Json]

    def __post_init__(self) -> None:
        _check_pem(self.certificate_pem, "certificate_pem")
        _check_pem(self.ca_pem, "ca_pem")
        parse_name(self.station, "station")
        check_agencies(self.agencies)
        ed25519.check_public_key(self.collector_public_key)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises MalformedError, LimitError, KeyRejectedError or UnknownCriticalError."""
        fields = Fields(parse_json(data, max_bytes=MAX_MESSAGE_BYTES, what="enrolment response"), "response")
        fields.integer("v", minimum=_VERSION, maximum=_VERSION)
        response = cls(
            certificate_pem=fields.text("certificate_pem", max_chars=MAX_PEM_CHARS),
            ca_pem=fields.text("ca_pem", max_chars=MAX_PEM_CHARS),
            station=fields.text("station"),
            agencies=parse_agencies(fields),
            collector_public_key=fields.binary("collector_public_key", max_bytes=ed25519.PUBLIC_KEY_BYTES),
            mqtt=MqttAddress.from_fields(fields.object("mqtt")),
            enrolled=_parse_object(fields.raw("enrolled")),
        )
        fields.check_critical()
        return response

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "v": _VERSION,
                "certificate_pem": self.certificate_pem,
                "ca_pem": self.ca_pem,
                "station": self.station,
                "agencies": list(self.agencies),
                "collector_public_key": encode_base64(self.collector_public_key),
                "mqtt": self.mqtt.to_json(),
                "enrolled": self.enrolled,
            }
        )


def hash_secret(secret: bytes) -> bytes:
    """SHA-256 of a 256-bit random secret; being random it needs no slow hash."""
    return hashlib.sha256(secret).digest()


def proof_message(*, secret: bytes, csr_pem: str, public_key: bytes) -> bytes:
    """What the enrolling key signs: a label, then three parts of 32 bytes each, so no two readings exist.

    It binds the key to this code and this certificate request; a proof overheard is useless for another.
    """
    return _PROOF_LABEL + hash_secret(secret) + hashlib.sha256(csr_pem.encode()).digest() + public_key


def _check_pem(text: str, what: str) -> None:
    if len(text) > MAX_PEM_CHARS:
        raise LimitError(f"{what} has more than {MAX_PEM_CHARS} characters")
    if not text.isascii() or not text.startswith("-----BEGIN "):
        raise MalformedError(f"{what} is not PEM")


def _parse_object(value: object) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise MalformedError("enrolled must be an object")
    return value
