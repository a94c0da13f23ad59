"""The collector's answers as values, strictly parsed, and how long each phase of a request may rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDictProxy
from yarl import URL

from agent.uplink.errors import CollectorProblemError
from protocol.canonical import Fields, parse_json
from protocol.errors import ProtocolError

RECEIPT_PENDING: Final = "receipt-pending"
STATEMENT_UNKNOWN: Final = "statement-unknown"
"""Codes of the receipts resource: not stored yet; never announced."""

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
