"""Opaque cursors (pure): where a list of clips or findings goes on, bound to the query it belongs to.

The checksum finds mistakes, it grants nothing: what a caller may see is decided for every page anew.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from collector.catalogue.errors import CursorError
from protocol.digest import Digest
from protocol.enrolment_code import decode_base64url, encode_base64url
from protocol.errors import MalformedError

_FORM: Final = struct.Struct(">qQ")
_FINDING_FORM: Final = struct.Struct(">Q32s")
_UNKNOWN: Final = -(2**63)
_CHECK_BYTES: Final = 8
_MAX_CHARS: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


FindingPosition = tuple[int, Digest]
"""The last finding of a page: where it opened, and its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last clip of a page: its start, None where unknown, and its manifest's log index."""

    started_at: datetime | None
    log_index: int


def encode_cursor(position: Position, query: str) -> str:
    """Text fit for a URL. ``query`` is any text that says which list this is a place in."""
    start = position.started_at
    body = _FORM.pack(_UNKNOWN if start is None else (start - _EPOCH) // _MILLISECOND, position.log_index)
    return _seal(body, query)


def parse_cursor(text: str, query: str) -> Position:
    """The inverse of ``encode_cursor``. Raises CursorError for anything else, another query's cursor included."""
    start_ms, log_index = _FORM.unpack(_open(text, query, _FORM.size))
    return Position(started_at=_start(start_ms), log_index=log_index)


def encode_finding_cursor(position: FindingPosition, query: str) -> str:
    """As ``encode_cursor``, for findings."""
    opened_index, finding = position
    return _seal(_FINDING_FORM.pack(opened_index, bytes.fromhex(finding.hex)), query)


def parse_finding_cursor(text: str, query: str) -> FindingPosition:
    """As ``parse_cursor``, for findings."""
    opened_index, finding = _FINDING_FORM.unpack(_open(text, query, _FINDING_FORM.size))
    return opened_index, Digest.sha256(finding.hex())


def _seal(body: bytes, query: str) -> str:
    return encode_base64url(body + _check(body, query))


def _open(text: str, query: str, size: int) -> bytes:
    try:
        data = decode_base64url(text, "the cursor") if len(text) <= _MAX_CHARS else b""
    except MalformedError as error:
        raise CursorError("the cursor is not one this collector gave out") from error
    body = data[:size]
    if len(data) != size + _CHECK_BYTES or data[size:] != _check(body, query):
        raise CursorError("the cursor is not one this collector gave out for this query")
    return body


def _start(start_ms: int) -> datetime | None:
    try:
        return None if start_ms == _UNKNOWN else _EPOCH + start_ms * _MILLISECOND
    except OverflowError as error:
        raise CursorError("the cursor is not one this collector gave out") from error


def _check(body: bytes, query: str) -> bytes:
    return hashlib.sha256(b"zhilu-cursor-v1\x00" + body + query.encode()).digest()[:_CHECK_BYTES]
