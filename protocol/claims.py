"""Facts about a recording that somebody or something claims, with where the claim comes from.

What the system does not know it leaves out (``None``); it never invents. A file name is a claim, not evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from protocol.errors import MalformedError
from protocol.limits import MAX_TEXT_CHARS
from protocol.times import format_time, parse_time

SOURCES: Final = frozenset(
    {
        "name",
        "container",
        "exif",
        "config",
        "file time",
        "volume label",
        "marker file",
        "device",
        "register",
        "imported",
    }
)
"""Where a claim can come from; the word is part of the wire format. imported: the table that came with old footage."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A text value and its source (来源): recorder number, officer number."""

    value: str
    source: str

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise MalformedError(f"unknown source of a claim: {self.source[:40]!r}")
        if not self.value or len(self.value) > MAX_TEXT_CHARS:
            raise MalformedError(f"a claimed value has 1 to {MAX_TEXT_CHARS} characters")

    @classmethod
    def from_json(cls, value: object) -> Self:
        if not isinstance(value, dict) or set(value) != {"value", "source"}:
            raise MalformedError("a claim is an object of value and source")
        text, source = value["value"], value["source"]
        if not isinstance(text, str) or not isinstance(source, str):
            raise MalformedError("value and source of a claim are texts")
        return cls(text, source)

    def to_json(self) -> dict[str, str]:
        return {"value": self.value, "source": self.source}


@dataclass(frozen=True, slots=True)
class TimeClaim:
    """An aware UTC time and its source."""

    value: datetime
    source: str

    def __post_init__(self) -> None:
        if self.value.tzinfo is None:
            raise ValueError("naive time in a claim")
        if self.source not in SOURCES:
            raise MalformedError(f"unknown source of a claim: {self.source[:40]!r}")

    @classmethod
    def from_json(cls, value: object) -> Self:
        claim = Claim.from_json(value)
        return cls(parse_time(claim.value), claim.source)

    def to_json(self) -> dict[str, str]:
        return {"value": format_time(self.value), "source": self.source}
