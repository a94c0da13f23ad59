"""DSSE v1.0.2 envelopes with Ed25519: the signature covers the type and the exact bytes, nothing is re-parsed.

The payload type is the purpose label of the signature: a signed admission can never be taken for a statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from protocol import ed25519
from protocol.canonical import Fields, canonical, parse_json
from protocol.errors import MalformedError, SignatureError
from protocol.limits import MAX_ENVELOPE_BYTES, MAX_PAYLOAD_BYTES
from protocol.lines import encode_base64

STATEMENT_TYPE: Final = "application/vnd.in-toto+json"
ADMISSION_TYPE: Final = "application/vnd.zhilu.admission+json"

_SIGNATURE_BYTES: Final = 64


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """PAE of the DSSE specification: ``DSSEv1 SP len SP type SP len SP body``."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with one signature (信封). ``key_id`` is a hint until ``verify`` succeeded with the key itself."""

    payload_type: str
    payload: bytes
    key_id: str
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            raise MalformedError(f"payload of {len(self.payload)} bytes, more than {MAX_PAYLOAD_BYTES}")
        if len(self.signature) != _SIGNATURE_BYTES:
            raise MalformedError("an Ed25519 signature has 64 bytes")

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, seed: bytes) -> Self:
        """Sign with the 32-byte Ed25519 seed (RFC 8032: deterministic)."""
        return cls(
            payload_type=payload_type,
            payload=payload,
            key_id=ed25519.key_id(ed25519.public_from_seed(seed)),
            signature=ed25519.sign(seed, pre_authentication_encoding(payload_type, payload)),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse without trusting. Raises MalformedError or LimitError."""
        return cls.from_json(parse_json(data, max_bytes=MAX_ENVELOPE_BYTES, what="envelope"))

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = Fields(value, "envelope")
        signatures = fields.items("signatures", max_items=1)
        if len(signatures) != 1:
            raise MalformedError("an envelope carries exactly one signature here")
        signature = Fields(signatures[0], "envelope.signatures")
        return cls(
            payload_type=fields.text("payloadType"),
            payload=fields.binary("payload", max_bytes=MAX_PAYLOAD_BYTES),
            key_id=signature.text("keyid"),
            signature=signature.binary("sig", max_bytes=_SIGNATURE_BYTES),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "payload": encode_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": self.key_id, "sig": encode_base64(self.signature)}],
        }

    def to_bytes(self) -> bytes:
        return canonical(self.to_json())

    def verify(self, public_key: bytes, payload_type: str) -> None:
        """Raises SignatureError unless ``public_key`` signed this payload for this purpose."""
        if self.payload_type != payload_type:
            raise SignatureError(f"signed as {self.payload_type!r}, not as {payload_type!r}")
        if self.key_id != ed25519.key_id(public_key):
            raise SignatureError(f"signed by {self.key_id}, not by {ed25519.key_id(public_key)}")
        ed25519.verify(public_key, pre_authentication_encoding(payload_type, self.payload), self.signature)
