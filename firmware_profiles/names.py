"""What a file's name and place, a volume's label and a marker file claim. Claims, not evidence. Pure.

A value that cannot be is left out, never repaired: an impossible date gives no time, and so does a local time that
the zone's clock shows twice or never.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Final

from firmware_profiles.grammar import NameGrammar
from firmware_profiles.identity import IdentityClaims, claim_of
from firmware_profiles.schema import Profile
from protocol.claims import TimeClaim

MAX_NAME_CHARS: Final = 255
"""Longer names than any recorder's file system allows claim nothing; bounds the work of the expressions."""

MAX_MARKER_BYTES: Final = 65_536
"""Of a marker file; what lies behind is not looked at. Real ones have a few lines."""

_MAX_SEQUENCE_DIGITS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class NameClaims(IdentityClaims):
    """What one file claims by its name and place (文件名所述)."""

    started_at: TimeClaim | None = None
    marked: bool = False
    sequence: int | None = None
    kind: str | None = None
    encrypted: bool = False


def claims_from_name(profile: Profile, basename: str, zone: tzinfo) -> NameClaims:
    """Claims of a file's name by the first grammar of ``profile`` that fits the whole of it; ``zone`` is the
    station's."""
    found = grammar_of(profile, basename)
    return NameClaims() if found is None else _claims(profile, *found, zone)


def grammar_of(profile: Profile, basename: str) -> tuple[NameGrammar, Mapping[str, str]] | None:
    """The first grammar that fits the whole name, and the parts it finds."""
    if len(basename) > MAX_NAME_CHARS:
        return None
    for grammar in profile.grammars:
        parts = grammar.regex.read_whole(basename)
        if parts is not None:
            return grammar, parts
    return None


def claims_from_path(profile: Profile, path: str, zone: tzinfo) -> NameClaims:
    """As ``claims_from_name`` for the last name of ``path``, and marked also where the folder says so."""
    claims = claims_from_name(profile, path.rpartition("/")[2], zone)
    if claims.marked or not profile.mark_paths.search(path):
        return claims
    return replace(claims, marked=True)


def claims_from_label(profile: Profile, label: str | None) -> IdentityClaims:
    """What the volume's label claims about recorder and officer."""
    regex = profile.identity.volume_label
    parts = None if regex is None or label is None else regex.read_whole(label[:MAX_NAME_CHARS])
    return _who(profile, parts or {}, "volume label")


def claims_from_marker(profile: Profile, data: bytes) -> IdentityClaims:
    """What the recorder's marker file claims, by the first ``MAX_MARKER_BYTES`` of it."""
    return _who(profile, marker_parts(profile, data), "marker file")


def marker_parts(profile: Profile, data: bytes) -> Mapping[str, str]:
    """The parts that the profile's expression finds in a marker file: recorder, officer, firmware."""
    marker = profile.identity.marker
    if marker is None:
        return {}
    return marker.regex.read_first(_decode(data[:MAX_MARKER_BYTES], marker.encoding)) or {}


def _decode(data: bytes, encoding: str) -> str:
    """GBK as its superset; a mark of the byte order is no part of the text."""
    name = "gb18030" if encoding == "gbk" else encoding
    return codecs.decode(data, name, "replace").removeprefix("\ufeff")


def _who(profile: Profile, parts: Mapping[str, str], source: str) -> IdentityClaims:
    return IdentityClaims(
        recorder=claim_of(profile.identity, parts.get("recorder"), source),
        officer=claim_of(profile.identity, parts.get("officer"), source),
    )


def _claims(profile: Profile, grammar: NameGrammar, parts: Mapping[str, str], zone: tzinfo) -> NameClaims:
    who = _who(profile, parts, "name")
    return NameClaims(
        recorder=who.recorder,
        officer=who.officer,
        started_at=_time(parts.get("started_at"), grammar.time_format, grammar.zone or zone),
        marked=parts.get("mark", "").casefold() in profile.mark_values,
        sequence=_sequence(parts.get("sequence")),
        kind=grammar.kinds.get(parts.get("kind", "")),
        encrypted=bool(parts.get("encrypted")),
    )


def _sequence(digits: str | None) -> int | None:
    if not digits or len(digits) > _MAX_SEQUENCE_DIGITS or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)


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
