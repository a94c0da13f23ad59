"""Entries of the evidence log: small, canonical, permanent; never the payload.

An entry commits to who said what kind of thing about which agency. The payload is a blob beside the log that can
be destroyed at disposal without harming the log. Enrolments and revocations also name the key they are about, so
that the log alone shows which key was valid where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from protocol.canonical import Fields, canonical, parse_canonical
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.ed25519 import SIGNATURE_BYTES
from protocol.errors import MalformedError, UnknownKindError
from protocol.limits import MAX_ENTRY_BYTES
from protocol.lines import encode_base64
from protocol.statements import Statement

_VERSION: Final = 1
_MEMBERS: Final = frozenset({"agency", "key_id", "kind", "signature", "statement", "v"})
KEY_KINDS: Final = frozenset({"enrolled", "revoked"})
"""Kinds whose entries carry ``subject``, the digest of the key they are about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One record in the evidence log (存证日志条目)."""

    kind: str
    agency: str
    statement: Digest
    key_id: str
    signature: bytes
    subject: Digest | None = None

    def __post_init__(self) -> None:
        if (self.kind in KEY_KINDS) != (self.subject is not None):
            raise MalformedError("a log entry names its subject if it is about a key, and only then")
        if len(self.signature) != SIGNATURE_BYTES:
            raise MalformedError(f"the signature of a log entry has {SIGNATURE_BYTES} bytes")

    @classmethod
    def of(cls, envelope: Envelope, statement: Statement) -> Self:
        """The entry that commits to this envelope, whose payload is ``statement``."""
        return cls(
            kind=statement.kind,
            agency=statement.header.agency,
            statement=Digest.of(envelope.payload),
            key_id=envelope.key_id,
            signature=envelope.signature,
            subject=statement.subject.digest if statement.kind in KEY_KINDS else None,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises MalformedError unless ``to_bytes`` of the result would be exactly ``data``."""
        fields = Fields(parse_canonical(data, max_bytes=MAX_ENTRY_BYTES, what="log entry"), "log entry")
        if fields.integer("v") != _VERSION:
            raise UnknownKindError("log entry of an unknown version")
        kind = fields.text("kind")
        fields.only(_MEMBERS | {"subject"} if kind in KEY_KINDS else _MEMBERS)
        return cls(
            kind=kind,
            agency=fields.text("agency"),
            statement=fields.digest("statement"),
            key_id=fields.text("key_id"),
            signature=fields.binary("signature", max_bytes=SIGNATURE_BYTES),
            subject=fields.digest("subject") if kind in KEY_KINDS else None,
        )

    @property
    def subject_key_id(self) -> str | None:
        """The id of the key this entry is about, None where it is about no key."""
        return None if self.subject is None else f"ed25519:{self.subject.hex}"

    def to_bytes(self) -> bytes:
        members: dict[str, object] = {
            "agency": self.agency,
            "key_id": self.key_id,
            "kind": self.kind,
            "signature": encode_base64(self.signature),
            "statement": str(self.statement),
            "v": _VERSION,
        }
        if self.subject is not None:
            members["subject"] = str(self.subject)
        return canonical(members)

    def envelope(self, payload: bytes) -> Envelope:
        """The envelope this entry commits to, given its payload blob."""
        return Envelope(
            payload_type=STATEMENT_TYPE, payload=payload, key_id=self.key_id, signature=self.signature
        )
