"""The collector's answers as values, strictly parsed, and how long each phase of a request may rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDictProxy
from yarl import URL

from agent.uplink.errors import CollectorProblemError
from protocol.canonical import Fields, parse_json
from protocol.digest import Digest
from protocol.errors import MalformedError, ProtocolError

RECEIPT_PENDING: Final = "receipt-pending"
STATEMENT_UNKNOWN: Final = "statement-unknown"
"""Codes of the receipts resource: not stored yet; never announced."""

MAX_ASKED: Final = 256
"""Statements of one question for receipts (``POST /api/v1/receipts``)."""

MAX_RECEIPTS_BYTES: Final = 16 * 1024 * 1024
"""Answer to such a question: a receipt of 20 KB is a large one."""

MAX_PROBLEM_BYTES: Final = 16_384
"""Problem details: a code and two sentences; a proxy's error page is cut off here."""

_RETRYABLE_STATUSES: Final = frozenset({408, 409, 421, 423, 425, 429, 460})


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each phase of a request may rest."""

    connect_s: float = 10.0
    answer_s: float = 60.0
    """From the last byte sent: the collector makes bytes durable, and may write out a large part, before it answers."""
    stall_s: float = 30.0
    """Without a byte leaving this machine: a half-open connection would otherwise hold a slot for a quarter hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer; ``problem`` is filled from problem details (or the status) when it is an error."""

    status: int
    headers: CIMultiDictProxy[str]
    url: URL
    body: bytes
    problem: CollectorProblemError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAnswer:
    """Receipts as bytes or as parsed JSON, none of them verified. What is neither here nor ``unknown`` is not stored
    yet."""

    receipts: Mapping[Digest, object]
    unknown: Sequence[Digest]


def parse_receipts(body: bytes) -> ReceiptAnswer:
    """Raises MalformedError, LimitError, UnknownKindError."""
    fields = Fields(parse_json(body, max_bytes=MAX_RECEIPTS_BYTES, what="answer"), "answer")
    receipts = fields.raw("receipts")
    if not isinstance(receipts, dict) or len(receipts) > MAX_ASKED:
        raise MalformedError(f"answer: receipts must be an object of at most {MAX_ASKED} members")
    unknown = [Digest.parse(str(name)) for name in fields.items("unknown", max_items=MAX_ASKED)]
    by_statement = {Digest.parse(name): receipt for name, receipt in receipts.items()}
    return ReceiptAnswer(receipts=by_statement, unknown=unknown)


def problem_of(status: int, headers: CIMultiDictProxy[str], body: bytes) -> CollectorProblemError | None:
    """What an answer's status and problem details say; None of a success."""
    if 200 <= status < 300:
        return None
    retryable = status in _RETRYABLE_STATUSES or status >= 500
    code, detail = f"http-{status}", "no problem details"
    if "json" in headers.get("Content-Type", ""):
        try:
            fields = Fields(parse_json(body, max_bytes=MAX_PROBLEM_BYTES, what="problem"), "problem")
            code = fields.text("code", max_chars=64)
            detail = fields.optional_text("detail") or detail
            retryable = fields.boolean("retryable") if fields.raw("retryable") is not None else retryable
        except ProtocolError as error:
            detail = f"problem details that cannot be read: {error}"
    return CollectorProblemError(
        status=status,
        problem=code,
        detail=detail,
        retryable=retryable or code == RECEIPT_PENDING,
        retry_after_s=_retry_after_s(headers.get("Retry-After")),
    )


def _retry_after_s(text: str | None) -> float | None:
    """Only the form in seconds: the date form would need the two clocks to agree."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 6:
        return None
    return float(text)
