"""Identifiers of agencies, stations, visits and statements: what may be written where."""

from __future__ import annotations

import re
from typing import Final

from protocol.errors import MalformedError

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HEX32: Final = re.compile(r"[0-9a-f]{32}")

COLLECTOR: Final = "_collector"
"""The collector's own certificate name; the underscore keeps it out of the stations' name space."""


def parse_name(text: str, what: str) -> str:
    """An agency or station name: 1-63 of ``a-z 0-9 -``, as a DNS label, because it becomes a topic level,
    a folder and a certificate name. Returns it unchanged; raises MalformedError."""
    if not _NAME.fullmatch(text):
        raise MalformedError(
            f"{what} must be 1-63 characters of a-z, 0-9 and inner hyphens, not {text[:80]!r}"
        )
    return text


def parse_agency(text: str) -> str:
    """An agency's name, or the collector's own for what concerns no agency. Raises MalformedError."""
    return text if text == COLLECTOR else parse_name(text, "agency")


def parse_random_id(text: str, what: str) -> str:
    """128 random bits as 32 lower-case hex digits (visit, nonce, upload). Raises MalformedError."""
    if not _HEX32.fullmatch(text):
        raise MalformedError(f"{what} must be 32 lower-case hex digits")
    return text
