"""What a device's answers claim: named groups of the expected answer, read as facts. Pure.

Claims, not evidence, as with names: a value that cannot be is left out, never repaired. Expressions are RE2's, over
bytes: linear in time whatever a profile says and a device answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

import re2

from firmware_profiles.errors import ProfileMalformedError

FACT_GROUPS: Final = frozenset({"recorder", "officer", "battery_percent", "firmware", "clock"})

MAX_FACT_CHARS: Final = 64
"""Longer than any number of a recorder, an officer or a firmware that is known."""

MAX_PROGRAM_STEPS: Final = 2_000
"""Work is at most this times the length of the answer."""

_MAX_MEMORY_BYTES: Final = 1 << 20
_FULL_PERCENT: Final = 100


class _Match(Protocol):
    def groupdict(self) -> dict[bytes, bytes | None]: ...


class BytePattern(Protocol):
    """What is used of a compiled expression; the library has no types."""

    def fullmatch(self, text: bytes) -> _Match | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a recorder said of itself before it showed its storage (设备自述). None where it did not say.

    ``clock`` is what its clock showed, read in the station's zone; ``clock_step`` the unit it counts in.
    """

    recorder: str | None = None
    officer: str | None = None
    battery_percent: int | None = None
    firmware: str | None = None
    clock: datetime | None = None
    clock_step: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPattern:
    """An answer as it should be, the whole of it."""

    regex: BytePattern
    encoding: str
    clock_format: str | None

    def match(self, answer: bytes) -> Mapping[str, str] | None:
        """Texts of the groups that are there and can be decoded; None for another answer."""
        found = self.regex.fullmatch(answer)
        if found is None:
            return None
        texts = {name.decode(): self._text(value or b"") for name, value in found.groupdict().items()}
        return {name: text for name, text in texts.items() if text}

    def facts(self, texts: Mapping[str, str], zone: tzinfo) -> DeviceFacts:
        """What the groups of a matching answer say."""
        clock = self._clock(texts.get("clock"), zone)
        return DeviceFacts(
            recorder=texts.get("recorder"),
            officer=texts.get("officer"),
            firmware=texts.get("firmware"),
            battery_percent=_percent(texts.get("battery_percent")),
            clock=clock,
            clock_step=None if clock is None else clock_step(self.clock_format or ""),
        )

    def _text(self, value: bytes) -> str | None:
        try:
            text = value.decode(self.encoding).strip(" \0")
        except UnicodeDecodeError:
            return None
        return text if len(text) <= MAX_FACT_CHARS and text.isprintable() else None

    def _clock(self, text: str | None, zone: tzinfo) -> datetime | None:
        return (
            None if text is None or self.clock_format is None else read_local(text, self.clock_format, zone)
        )


def compile_answer(source: str, *, groups: frozenset[str], key: str) -> tuple[BytePattern, frozenset[str]]:
    """The expression and the groups it has. Raises ProfileMalformedError naming ``key``, also for a group that is not
    of ``groups``."""
    try:
        compiled = re2.compile(source.encode("ascii"), _options())
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if error.args else "unknown"
        raise ProfileMalformedError(key, f"is not a regular expression of RE2: {reason}") from error
    if not 0 <= compiled.programsize <= MAX_PROGRAM_STEPS:
        raise ProfileMalformedError(key, f"is too large: more than {MAX_PROGRAM_STEPS} steps")
    found = frozenset(name.decode() for name in compiled.groupindex)
    if not found <= groups:
        known = ", ".join(sorted(groups)) or "none"
        raise ProfileMalformedError(key, f"has named groups that mean nothing here; known: {known}")
    return compiled, found


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # a byte is a character
    options.dot_nl = True
    options.max_mem = _MAX_MEMORY_BYTES
    options.log_errors = False  # they are raised; the library would also print them
    return options


def read_local(text: str, time_format: str, zone: tzinfo) -> datetime | None:
    """A local time of ``zone`` in UTC; None when it cannot be, or when the zone's clock shows it twice or never."""
    try:
        local = datetime.strptime(text, time_format)  # noqa: DTZ007 - devices tell no zone; it is added below
    except ValueError:
        return None
    if local.strftime(time_format) != text:  # strptime is lenient with blanks and single digits
        return None
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        return None
    try:
        return first.astimezone(UTC)
    except OverflowError:
        return None


def clock_step(time_format: str) -> timedelta:
    """The smallest unit a clock shows in this format."""
    if "%f" in time_format:
        return timedelta(milliseconds=1)
    return timedelta(seconds=1) if "%S" in time_format else timedelta(minutes=1)


def merge_facts(earlier: DeviceFacts, later: DeviceFacts) -> DeviceFacts:
    """What was said first stands."""
    has_clock = earlier.clock is not None
    return DeviceFacts(
        recorder=earlier.recorder or later.recorder,
        officer=earlier.officer or later.officer,
        battery_percent=(
            later.battery_percent if earlier.battery_percent is None else earlier.battery_percent
        ),
        firmware=earlier.firmware or later.firmware,
        clock=earlier.clock if has_clock else later.clock,
        clock_step=earlier.clock_step if has_clock else later.clock_step,
    )


def _percent(text: str | None) -> int | None:
    if text is None or not re.fullmatch("[0-9]{1,3}", text):
        return None
    percent = int(text)
    return percent if percent <= _FULL_PERCENT else None
