"""What the collector states: keys enrolled and revoked, blobs stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Self

from protocol import ed25519
from protocol.digest import Digest
from protocol.errors import MalformedError, UnknownKindError
from protocol.ids import COLLECTOR, parse_name
from protocol.limits import MAX_ORIGINAL_BYTES
from protocol.lines import encode_base64
from protocol.statements.frame import Frame, Header, Subject
from protocol.times import format_time

ROLES: Final = frozenset({"station", "collector"})
PURPOSES: Final = frozenset({"original", "rendition", "listing"})
_ALGORITHM: Final = "ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """From this place in the log on, the key may speak for ``header.agency`` in this role (登记).

    One statement per station and agency. Entry 0 of a log enrols the collector's own key, signed by itself: its
    authority is that the holder of the log key put it there.
    """

    kind: ClassVar[str] = "enrolled"

    header: Header
    role: str
    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        ed25519.check_public_key(self.public_key)
        if (self.role == "collector") != (self.name == COLLECTOR):
            raise MalformedError("the role collector and the collector's name go together")
        if self.role == "station":
            parse_name(self.name, "station")

    @property
    def key_id(self) -> str:
        return ed25519.key_id(self.public_key)

    @property
    def subject(self) -> Subject:
        return Subject(f"{self.role}:{self.name}", Digest.of(self.public_key))

    def predicate(self) -> Mapping[str, object]:
        return {
            "role": self.role,
            "name": self.name,
            "algorithm": _ALGORITHM,
            "public_key": encode_base64(self.public_key),
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        algorithm = fields.text("algorithm")
        if algorithm != _ALGORITHM:
            raise UnknownKindError(f"an enrolment of a key of an unknown algorithm: {algorithm[:40]!r}")
        return cls(
            header=frame.header,
            role=fields.one_of("role", ROLES),
            name=fields.text("name"),
            public_key=fields.binary("public_key", max_bytes=ed25519.PUBLIC_KEY_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """From this place in the log on, the key may not speak for ``header.agency`` (吊销)."""

    kind: ClassVar[str] = "revoked"

    header: Header
    name: str
    key_digest: Digest
    reason: str

    @property
    def key_id(self) -> str:
        return f"ed25519:{self.key_digest.hex}"

    @property
    def subject(self) -> Subject:
        return Subject(f"key:{self.name}", self.key_digest)

    def predicate(self) -> Mapping[str, object]:
        return {"name": self.name, "reason": self.reason}

    @classmethod
    def read(cls, frame: Frame) -> Self:
        return cls(
            header=frame.header,
            name=frame.fields.text("name"),
            key_digest=frame.subject.digest,
            reason=frame.fields.text("reason"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The blob that ``statement`` promised lies durable in the collector and was re-read equal (已入库)."""

    kind: ClassVar[str] = "stored"

    header: Header
    digest: Digest
    size_bytes: int
    purpose: str
    statement: Digest
    stored_at: datetime

    @property
    def subject(self) -> Subject:
        return Subject(self.purpose, self.digest)

    def predicate(self) -> Mapping[str, object]:
        return {
            "size_bytes": self.size_bytes,
            "purpose": self.purpose,
            "statement": str(self.statement),
            "stored_at": format_time(self.stored_at),
        }

    @classmethod
    def read(cls, frame: Frame) -> Self:
        fields = frame.fields
        return cls(
            header=frame.header,
            digest=frame.subject.digest,
            size_bytes=fields.integer("size_bytes", maximum=MAX_ORIGINAL_BYTES),
            purpose=fields.one_of("purpose", PURPOSES),
            statement=fields.digest("statement"),
            stored_at=fields.time("stored_at"),
        )
