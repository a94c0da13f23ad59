"""Regular expressions of profiles, matched in linear time whatever they say (RE2).

Python's own matcher backtracks: one nested quantifier in a profile and one long name on a card would stop a bay for
years. RE2 has no backtracking, and no construct that needs it: look-around and back references are refused when the
profile is read. Letter case does not matter; ``\\d``, ``\\w``, ``\\s`` are ASCII.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, Protocol, Self

import re2

from firmware_profiles.errors import ProfileMalformedError

MAX_MEMORY_BYTES: Final = 1 << 20
"""For the program of one expression and its states; ours need a tenth."""

MAX_PROGRAM_STEPS: Final = 2_000
"""Work is at most this times the length of the text: with the largest text, 64 KiB, about a second. N3 has 300."""


class _Match(Protocol):
    def __getitem__(self, group: int) -> bytes | None: ...


class _Compiled(Protocol):
    """What this module uses of the library, which has no types."""

    @property
    def programsize(self) -> int: ...

    @property
    def groupindex(self) -> dict[str, int]: ...

    def fullmatch(self, text: bytes) -> _Match | None: ...

    def search(self, text: bytes) -> _Match | None: ...


class Expression:
    """One compiled expression with named groups."""

    __slots__ = ("_compiled", "_groups", "source")

    def __init__(self, source: str, compiled: _Compiled) -> None:
        self.source = source
        self._compiled = compiled
        self._groups: Mapping[str, int] = dict(compiled.groupindex)

    @classmethod
    def compile(cls, source: str, groups: Set[str], key: str) -> Self:
        """With at least one named group, and none but ``groups``. Raises ProfileMalformedError naming ``key``."""
        try:
            compiled: _Compiled = re2.compile(source, _options())
        except UnicodeEncodeError as error:
            raise ProfileMalformedError(key, "has characters that are no text") from error
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace") if error.args else "unknown"
            raise ProfileMalformedError(key, f"is not a regular expression of RE2: {reason}") from error
        if not 0 <= compiled.programsize <= MAX_PROGRAM_STEPS:
            raise ProfileMalformedError(key, f"is too large: more than {MAX_PROGRAM_STEPS} steps")
        expression = cls(source, compiled)
        if not expression.groups or not expression.groups <= groups:
            raise ProfileMalformedError(key, f"needs named groups, and only of {', '.join(sorted(groups))}")
        return expression

    @property
    def groups(self) -> Set[str]:
        return self._groups.keys()

    def fits(self, text: str) -> bool:
        """Whether the whole text is of this form."""
        return self._compiled.fullmatch(_bytes(text)) is not None

    def read_whole(self, text: str) -> dict[str, str] | None:
        """The groups, if the whole text is of this form; a group that took no part is left out."""
        return self._parts(self._compiled.fullmatch(_bytes(text)))

    def read_first(self, text: str) -> dict[str, str] | None:
        """The groups of the first place in the text that is of this form."""
        return self._parts(self._compiled.search(_bytes(text)))

    def _parts(self, match: _Match | None) -> dict[str, str] | None:
        if match is None:
            return None
        parts = ((name, match[place]) for name, place in self._groups.items())
        return {name: part.decode("utf-8", "replace") for name, part in parts if part is not None}


class AnyOf:
    """Whether a text may be of one of several forms: one look for all of them, where looking at each took most of the
    time of a large card. Never says no to what one of them fits."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._compiled = _alternatives([expression.source for expression in expressions])

    def may_fit(self, text: str) -> bool:
        return self._compiled is None or self._compiled.fullmatch(_bytes(text)) is not None


def _alternatives(sources: Sequence[str]) -> _Compiled | None:
    """None where they cannot be written as one: a quotation may be left open (``\\Q``), and together they may be too
    large."""
    if any("\\Q" in source for source in sources):
        return None
    options = _options()
    options.never_capture = True  # names of groups repeat
    try:
        compiled: _Compiled = re2.compile("|".join(f"(?:{source})" for source in sources), options)
    except re2.error:
        return None
    return compiled


def _options() -> re2.Options:
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = MAX_MEMORY_BYTES
    options.log_errors = False  # they are raised; the library would also print them
    return options


def _bytes(text: str) -> bytes:
    """UTF-8, twice as fast to match as text. A name of undecodable bytes is still a name: "?" in their place."""
    return text.encode("utf-8", "replace")
