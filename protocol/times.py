"""One spelling of time on the wire: RFC 3339, UTC, milliseconds, ``Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from protocol.errors import MalformedError

_FORM: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")


def format_time(moment: datetime) -> str:
    """``2026-01-31T08:15:30.123Z``; below milliseconds is cut. Raises ValueError for a naive time."""
    if moment.tzinfo is None:
        raise ValueError("naive time: every time in the protocol is aware")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The inverse of ``format_time``; any other spelling raises MalformedError."""
    if not _FORM.fullmatch(text):
        raise MalformedError(f"a time is written 2026-01-31T08:15:30.123Z, not {text[:40]!r}")
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise MalformedError(f"no such time: {text}") from error
    if format_time(moment) != text:  # Python 3.14 takes 24:00 for the next day's 00:00
        raise MalformedError(f"no such time: {text}")
    return moment
