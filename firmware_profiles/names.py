"""What a file's name and place claim: recorder, officer, start, important mark. Claims, not evidence. Pure.

A value that cannot be is left out, never repaired: an impossible date gives no time, and so does a local time that
the zone's clock shows twice or never.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from firmware_profiles.schema import Profile
from protocol.claims import Claim, TimeClaim

MAX_NAME_CHARS: Final = 255
"""Longer names than any recorder's file system allows claim nothing; bounds the work of the expressions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameClaims:
    """What one file claims by its name and place (文件名所述)."""

    recorder: Claim | None = None
    officer: Claim | None = None
    started_at: TimeClaim | None = None
    marked: bool = False


def claims_from_name(profile: Profile, basename: str, zone: tzinfo) -> NameClaims:
    """Claims of a file's name by the first grammar of ``profile`` that fits the whole of it; ``zone`` is the
    station's."""
    if len(basename) > MAX_NAME_CHARS:
        return NameClaims()
    for grammar in profile.grammars:
        match = grammar.regex.fullmatch(basename)
        if match is not None:
            return _claims(profile, match, grammar.time_format, zone)
    return NameClaims()


def claims_from_path(profile: Profile, path: str, zone: tzinfo) -> NameClaims:
    """As ``claims_from_name`` for the last name of ``path``, and marked also where the folder says so."""
    claims = claims_from_name(profile, path.rpartition("/")[2], zone)
    if claims.marked or not profile.mark_paths.search(path):
        return claims
    return NameClaims(
        recorder=claims.recorder, officer=claims.officer, started_at=claims.started_at, marked=True
    )


def claims_from_label(profile: Profile, label: str | None) -> NameClaims:
    """What the volume's label claims about recorder and officer."""
    regex = profile.identity.volume_label
    match = None if regex is None or label is None else regex.fullmatch(label[:MAX_NAME_CHARS])
    if match is None:
        return NameClaims()
    parts = match.groupdict()
    return NameClaims(
        recorder=_claim(parts.get("recorder"), "volume label"),
        officer=_claim(parts.get("officer"), "volume label"),
    )


def _claims(profile: Profile, match: re.Match[str], time_format: str | None, zone: tzinfo) -> NameClaims:
    parts = match.groupdict()
    return NameClaims(
        recorder=_claim(parts.get("recorder"), "name"),
        officer=_claim(parts.get("officer"), "name"),
        started_at=_time(parts.get("started_at"), time_format, zone),
        marked=parts.get("mark") in profile.mark_values,
    )


def _claim(value: str | None, source: str) -> Claim | None:
    return Claim(value, source) if value else None


def _time(text: str | None, time_format: str | None, zone: tzinfo) -> TimeClaim | None:
    if not text or time_format is None:
        return None
    try:
        local = datetime.strptime(text, time_format)  # noqa: DTZ007 - the name carries no zone; it is added below
    except ValueError:
        return None
    if local.strftime(time_format) != text:  # strptime is lenient with blanks and single digits
        return None
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():  # shown twice or never by clocks of this zone
        return None
    try:
        return TimeClaim(first.astimezone(UTC), "name")
    except OverflowError:
        return None
