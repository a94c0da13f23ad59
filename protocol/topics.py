"""MQTT topics: ``zhilu/v1/{agency}/{station}/{channel}``, built and parsed in one place.

The broker lets a certificate speak only under its own station name; whether that station may speak for the
agency in the topic is decided at admission.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from protocol.errors import MalformedError
from protocol.ids import parse_name

ROOT: Final = "zhilu/v1"

MAX_TOPIC_CHARS: Final = 192
"""Root, two names of at most 63 characters, the longest channel and the slashes come to 149."""


class Channel(StrEnum):
    """What is said under a topic (频道)."""

    STATUS = "status"
    STATEMENTS = "statements"
    REPLIES = "replies"
    ADMISSIONS = "admissions"
    RECEIPTS = "receipts"
    COMMANDS = "commands"


UPWARD: Final = (Channel.STATUS, Channel.STATEMENTS, Channel.REPLIES)
"""Written by the station, read by the collector."""

DOWNWARD: Final = (Channel.ADMISSIONS, Channel.RECEIPTS, Channel.COMMANDS)
"""Written by the collector, read by the station."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic (主题) of one station within one agency; ``str()`` is its wire form."""

    agency: str
    station: str
    channel: Channel

    def __post_init__(self) -> None:
        parse_name(self.agency, "agency")
        parse_name(self.station, "station")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of ``str()``; wildcards, other levels and unknown channels raise MalformedError."""
        if len(text) > MAX_TOPIC_CHARS:
            raise MalformedError(f"a topic has at most {MAX_TOPIC_CHARS} characters, not {len(text)}")
        levels = text.split("/")
        if len(levels) != 5 or "/".join(levels[:2]) != ROOT:
            raise MalformedError(f"a topic is {ROOT}/agency/station/channel, not {text!r}")
        try:
            channel = Channel(levels[4])
        except ValueError as error:
            raise MalformedError(f"unknown channel {levels[4]!r} in a topic") from error
        return cls(agency=levels[2], station=levels[3], channel=channel)

    def __str__(self) -> str:
        return f"{ROOT}/{self.agency}/{self.station}/{self.channel}"


def station_filters(station: str) -> tuple[str, ...]:
    """What a station subscribes to: everything said to it, for whichever agency. Raises MalformedError."""
    parse_name(station, "station")
    return tuple(f"{ROOT}/+/{station}/{channel}" for channel in DOWNWARD)


def collector_filters() -> tuple[str, ...]:
    """What the collector subscribes to: everything stations say, and nothing it said itself."""
    return tuple(f"{ROOT}/+/+/{channel}" for channel in UPWARD)
