"""Admissions (受理): the collector's signed answer to statements. Only this lets a station close its outbox row.

An admission is not logged: what it promises, a receipt proves later. It carries the checkpoint that covers the
admitted entries, so that every station keeps a witness of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from protocol.canonical import Fields, canonical, parse_json
from protocol.digest import Digest
from protocol.dsse import ADMISSION_TYPE, Envelope
from protocol.errors import MalformedError, UnknownKindError
from protocol.ids import parse_name
from protocol.limits import MAX_PAYLOAD_BYTES, MAX_TREE_SIZE
from protocol.times import format_time

MAX_RESULTS: Final = 64
"""Statements answered at once; with 64 refusals of full length the payload stays below its limit."""

_VERSION: Final = 1
_MAX_DETAIL_BYTES: Final = 300
_OUTCOMES: Final = frozenset({"admitted", "refused"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionResult:
    """One statement's fate: admitted at ``index``, or refused with a stable ``code``."""

    statement: Digest
    outcome: str
    index: int | None = None
    code: str | None = None
    detail: str | None = None
    retryable: bool = False

    def __post_init__(self) -> None:
        if (self.outcome == "admitted") != (self.index is not None):
            raise MalformedError("an admitted statement has an index, a refused one has none")
        if (self.outcome == "refused") != (self.code is not None):
            raise MalformedError("a refused statement has a code, an admitted one has none")

    @classmethod
    def admitted(cls, statement: Digest, index: int) -> Self:
        return cls(statement=statement, outcome="admitted", index=index)

    @classmethod
    def refused(cls, statement: Digest, code: str, detail: str, *, retryable: bool) -> Self:
        return cls(
            statement=statement,
            outcome="refused",
            code=code,
            detail=_shortened(detail) or code,
            retryable=retryable,
        )

    @classmethod
    def from_json(cls, value: object) -> Self:
        fields = Fields(value, "admission.results")
        return cls(
            statement=fields.digest("statement"),
            outcome=fields.one_of("outcome", _OUTCOMES),
            index=fields.optional_integer("index", maximum=MAX_TREE_SIZE),
            code=fields.optional_text("code", max_chars=64),
            detail=fields.optional_text("detail"),
            retryable=fields.boolean("retryable"),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "statement": str(self.statement),
            "outcome": self.outcome,
            "index": self.index,
            "code": self.code,
            "detail": self.detail,
            "retryable": self.retryable,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The collector's answer to one station. ``checkpoint`` is a signed note, None when nothing was admitted."""

    station: str
    issued_at: datetime
    results: tuple[AdmissionResult, ...]
    checkpoint: bytes | None

    def __post_init__(self) -> None:
        parse_name(self.station, "station")
        if not 0 < len(self.results) <= MAX_RESULTS:
            raise MalformedError(f"an admission answers 1 to {MAX_RESULTS} statements")

    def to_payload(self) -> bytes:
        return canonical(
            {
                "v": _VERSION,
                "station": self.station,
                "issued_at": format_time(self.issued_at),
                "results": [result.to_json() for result in self.results],
                "checkpoint": None if self.checkpoint is None else self.checkpoint.decode(),
            }
        )

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        fields = Fields(parse_json(payload, max_bytes=MAX_PAYLOAD_BYTES, what="admission"), "admission")
        if fields.integer("v") != _VERSION:
            raise UnknownKindError("admission of an unknown version")
        note = fields.optional_text("checkpoint", max_chars=MAX_PAYLOAD_BYTES)
        admission = cls(
            station=fields.text("station"),
            issued_at=fields.time("issued_at"),
            results=tuple(
                AdmissionResult.from_json(item) for item in fields.items("results", max_items=MAX_RESULTS)
            ),
            checkpoint=None if note is None else note.encode(),
        )
        fields.check_critical()
        return admission


def _shortened(detail: str) -> str:
    """The beginning whose JSON form fits: a hostile name quoted in it may take six bytes per character."""
    detail = detail[:_MAX_DETAIL_BYTES]
    while len(canonical(detail)) > _MAX_DETAIL_BYTES + len('""'):
        detail = detail[:-1]
    return detail


def sign_admission(admission: Admission, seed: bytes) -> Envelope:
    """Signed with the collector's statement key."""
    return Envelope.sign(ADMISSION_TYPE, admission.to_payload(), seed)


def open_admission(data: bytes, collector_public_key: bytes) -> Admission:
    """Verify, then parse. Raises SignatureError, MalformedError, LimitError, UnknownKindError."""
    envelope = Envelope.from_bytes(data)
    envelope.verify(collector_public_key, ADMISSION_TYPE)
    return Admission.from_payload(envelope.payload)
