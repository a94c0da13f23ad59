"""The form of a recorder's file names, and what their parts mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final, Self

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.expressions import Expression
from firmware_profiles.shape import MEDIA_KINDS

_GROUPS: Final = frozenset({"recorder", "officer", "started_at", "mark", "sequence", "kind", "encrypted"})

_PROBE: Final = datetime(2031, 11, 23, 17, 46, 59)  # noqa: DTZ001 - names carry no zone
"""No two of its parts are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameGrammar:
    """One form of file names and what its parts claim (文件命名规则). ``zone`` None: the station's; ``kinds`` gives the
    kind for a value of the group ``kind``."""

    name: str
    regex: Expression
    time_format: str | None
    zone: tzinfo | None
    kinds: Mapping[str, str]

    @classmethod
    def from_table(cls, table: Mapping[str, Any], key: str) -> Self:
        """Raises ProfileMalformedError."""
        regex = Expression.compile(table["regex"], _GROUPS, f"{key}.regex")
        for group, member in (("started_at", "started_at"), ("kind", "kinds")):
            if (group in regex.groups) != (member in table):
                raise ProfileMalformedError(
                    f"{key}.{member}", f"is given exactly when the regex has the group {group}"
                )
        started_at = table.get("started_at", {})
        return cls(
            name=table["name"],
            regex=regex,
            time_format=_checked_format(started_at.get("format"), f"{key}.started_at.format"),
            zone=_zone(started_at.get("zone", "station")),
            kinds=one_kind_each(table.get("kinds", {}), f"{key}.kinds"),
        )


def one_kind_each(table: Mapping[str, list[str]], key: str) -> dict[str, str]:
    """The kind by value. Raises ProfileMalformedError for a value of two kinds."""
    kinds: dict[str, str] = {}
    for kind in MEDIA_KINDS:
        for value in table.get(kind, []):
            if value in kinds:
                raise ProfileMalformedError(f"{key}.{kind}", f"{value} is already {kinds[value]}")
            kinds[value] = kind
    return kinds


def _checked_format(time_format: str | None, key: str) -> str | None:
    """A format that does not give back day and hour would invent them. Raises ProfileMalformedError."""
    if time_format is None:
        return None
    try:
        read = datetime.strptime(_PROBE.strftime(time_format), time_format)  # noqa: DTZ007
    except (ValueError, re.error) as error:
        raise ProfileMalformedError(key, f"is no format of a time: {error}") from error
    if read.replace(minute=0, second=0, microsecond=0) != _PROBE.replace(minute=0, second=0):
        raise ProfileMalformedError(key, "must have year, month, day and hour, such as %Y%m%d%H%M%S")
    return time_format


def _zone(text: str) -> tzinfo | None:
    if text == "station":
        return None
    if text == "utc":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)
