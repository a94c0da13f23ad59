"""Text that comes out of media files, made fit for logs, pages and signed facts."""

from __future__ import annotations

import re
from typing import Final

from agent.media.limits import MAX_TEXT_CHARS

_ADDRESS: Final = re.compile(rb" @ 0x[0-9a-f]+")
"""ffmpeg names its parts with their memory address: the same failure should read the same twice."""


def clean_text(value: object, *, limit_chars: int = MAX_TEXT_CHARS) -> str | None:
    """Printable characters of a text or of UTF-8 bytes, trimmed and cut; None when nothing is left.

    Control characters, terminal sequences, bidirectional overrides and lone surrogates are dropped.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    printable = "".join(c for c in value[: 8 * limit_chars] if c.isprintable() and c != "\ufffd")
    return printable.strip()[:limit_chars].strip() or None


def last_lines(message: bytes, *, limit_chars: int = 300) -> str:
    """The end of a child's standard error as one printable line, for an error sentence."""
    lines = (
        clean_text(line, limit_chars=limit_chars) for line in _ADDRESS.sub(b"", message).splitlines()[-3:]
    )
    return "; ".join(line for line in lines if line)[-limit_chars:] or "no message"
