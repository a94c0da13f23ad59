"""What the line-based C2SP texts (notes, checkpoints, proofs) have in common: one spelling for each value.

Canonical spelling matters: what is signed, compared or counted as a duplicate must not have a second form.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from protocol.errors import LimitError, MalformedError

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]*")
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\ud800-\udfff]")


def encode_base64(data: bytes) -> str:
    """Standard Base 64 with padding (RFC 4648 §4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """The inverse of ``encode_base64``; any other spelling, unused bits included, raises MalformedError."""
    try:
        data = binascii.a2b_base64(
            text
        )  # lenient: what it passes over is missing from the text made of its result
    except ValueError as error:
        raise MalformedError(f"{what} is not Base 64") from error
    if encode_base64(data) != text:
        raise MalformedError(f"{what} is not in canonical Base 64")
    return data


def parse_decimal(text: str, what: str, maximum: int) -> int:
    """A decimal number without leading zeros. Raises MalformedError, or LimitError above ``maximum``."""
    if not _DECIMAL.fullmatch(text):
        raise MalformedError(f"{what} must be decimal digits without leading zeros, not {text[:40]!r}")
    if len(text) > len(str(maximum)) or int(text) > maximum:
        raise LimitError(f"{what} is above {maximum}")
    return int(text)


def check_line(text: str, what: str) -> str:
    """Return a non-empty line of encodable text without control characters. Raises MalformedError."""
    if not text or _FORBIDDEN.search(text):
        raise MalformedError(f"{what} must be one non-empty line without control characters")
    return text
