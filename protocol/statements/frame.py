"""The frame all statements share: in-toto Statement v1 with one digest-carrying subject and a common header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Protocol, Self

from protocol.canonical import Fields, canonical, parse_json
from protocol.digest import Digest
from protocol.errors import MalformedError, UnknownKindError
from protocol.ids import COLLECTOR, parse_agency, parse_name, parse_random_id
from protocol.limits import MAX_PATH_BYTES, MAX_PAYLOAD_BYTES, MAX_SUBJECTS
from protocol.times import format_time

IN_TOTO_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREFIX: Final = "urn:zhilu:statement:"
_SUFFIX: Final = ":v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Who speaks, for which agency, when. ``nonce`` makes the statement id unguessable and unique."""

    agency: str
    signer: str
    issued_at: datetime
    nonce: str

    def __post_init__(self) -> None:
        parse_agency(self.agency)
        if self.signer != COLLECTOR:
            parse_name(self.signer, "signer")
        parse_random_id(self.nonce, "nonce")

    @classmethod
    def read(cls, fields: Fields) -> Self:
        return cls(
            agency=fields.text("agency"),
            signer=fields.text("signer"),
            issued_at=fields.time("issued_at"),
            nonce=fields.text("nonce"),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "agency": self.agency,
            "signer": self.signer,
            "issued_at": format_time(self.issued_at),
            "nonce": self.nonce,
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """What the statement is about: a name for people, a digest for machines."""

    name: str
    digest: Digest


class StatementBody(Protocol):
    """What every kind of statement offers; the classes of this package satisfy it."""

    kind: ClassVar[str]

    @property
    def header(self) -> Header: ...

    @property
    def subject(self) -> Subject: ...

    def predicate(self) -> Mapping[str, object]: ...


def encode(statement: StatementBody) -> bytes:
    """The payload to sign: canonical bytes. Raises MalformedError when it exceeds the payload limit."""
    subject = statement.subject
    predicate: dict[str, object] = {**statement.header.to_json(), **statement.predicate()}
    payload = canonical(
        {
            "_type": IN_TOTO_TYPE,
            "subject": [{"name": subject.name, "digest": {subject.digest.algorithm: subject.digest.hex}}],
            "predicateType": f"{_PREFIX}{statement.kind}{_SUFFIX}",
            "predicate": predicate,
        }
    )
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MalformedError(
            f"{statement.kind} statement of {len(payload)} bytes exceeds {MAX_PAYLOAD_BYTES}"
        )
    return payload


@dataclass(frozen=True, slots=True)
class Frame:
    """A parsed but not yet interpreted statement."""

    kind: str
    subject: Subject
    header: Header
    fields: Fields


def open_frame(payload: bytes) -> Frame:
    """Parse the in-toto frame. Raises MalformedError, LimitError, UnknownKindError."""
    outer = Fields(parse_json(payload, max_bytes=MAX_PAYLOAD_BYTES, what="statement"), "statement")
    if outer.text("_type") != IN_TOTO_TYPE:
        raise UnknownKindError("not an in-toto Statement v1")
    kind = outer.text("predicateType")
    if not (kind.startswith(_PREFIX) and kind.endswith(_SUFFIX)):
        raise UnknownKindError(f"unknown predicate type {kind[:80]!r}")
    subjects = outer.items("subject", max_items=MAX_SUBJECTS)
    if len(subjects) != 1:
        raise MalformedError("a statement here has exactly one subject")
    subject = Fields(subjects[0], "statement.subject")
    digests = subject.object("digest")
    fields = outer.object("predicate")
    return Frame(
        kind=kind.removeprefix(_PREFIX).removesuffix(_SUFFIX),
        subject=Subject(
            subject.text("name", max_chars=MAX_PATH_BYTES),
            Digest.sha256(digests.text("sha256", max_chars=64)),
        ),
        header=Header.read(fields),
        fields=fields,
    )
