"""Which bytes of a file a request asks for (RFC 9110 §14, pure): one range, or the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes=(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """Bytes ``start`` to ``start + length - 1``; at least one."""

    start: int
    length: int


class RangeUnsatisfiableError(ValueError):
    """The file has none of the bytes asked for."""


def decide_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The range to send; None for the whole file: nothing asked for, or something a server may ignore (several
    ranges, another unit, a range that is none). Raises RangeUnsatisfiableError.
    """
    match = _ONE_RANGE.fullmatch((header or "").strip())
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        start, end = max(0, size_bytes - int(match["last"])), size_bytes
    else:
        start, end = int(match["first"]), min(int(match["last"] or size_bytes) + 1, size_bytes)
        if match["last"] and int(match["last"]) < start:
            return None
    if start >= end:
        raise RangeUnsatisfiableError(f"the file has {size_bytes} bytes")
    return ByteRange(start=start, length=end - start)
