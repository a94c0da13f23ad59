"""Entries of the evidence log: small, canonical, permanent; never the payload.

An entry commits to who said what kind of thing about which agency. The payload is a blob beside the log that can
be destroyed at disposal without harming the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from protocol.canonical import Fields, canonical, encode_base64, parse_canonical
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.errors import UnknownKindError
from protocol.limits import MAX_ENTRY_BYTES

_VERSION: Final = 1
_MEMBERS: Final = frozenset({"agency", "key_id", "kind", "signature", "statement", "v"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One record in the evidence log (存证日志条目)."""

    kind: str
    agency: str
    statement: Digest
    key_id: str
    signature: bytes

    @classmethod
    def of(cls, envelope: Envelope, *, kind: str, agency: str) -> Self:
        """The entry that commits to this envelope."""
        return cls(
            kind=kind,
            agency=agency,
            statement=Digest.of(envelope.payload),
            key_id=envelope.key_id,
            signature=envelope.signature,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises MalformedError unless ``to_bytes`` of the result would be exactly ``data``."""
        fields = Fields(parse_canonical(data, max_bytes=MAX_ENTRY_BYTES, what="log entry"), "log entry")
        if fields.integer("v") != _VERSION:
            raise UnknownKindError("log entry of an unknown version")
        fields.only(_MEMBERS)
        return cls(
            kind=fields.text("kind"),
            agency=fields.text("agency"),
            statement=fields.digest("statement"),
            key_id=fields.text("key_id"),
            signature=fields.binary("signature", max_bytes=64),
        )

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "agency": self.agency,
                "key_id": self.key_id,
                "kind": self.kind,
                "signature": encode_base64(self.signature),
                "statement": str(self.statement),
                "v": _VERSION,
            }
        )

    def envelope(self, payload: bytes) -> Envelope:
        """The envelope this entry commits to, given its payload blob."""
        return Envelope(
            payload_type=STATEMENT_TYPE, payload=payload, key_id=self.key_id, signature=self.signature
        )
