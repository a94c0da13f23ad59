"""What a profile declares beside match and names: where it was tried, oddities, release, accompanying files. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.shape import MEDIA_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedUnit:
    """One real recorder that the profile was tried on (实机验证)."""

    model: str
    firmware: str
    date: date
    by: str

    @classmethod
    def from_table(cls, table: Mapping[str, Any], key: str) -> Self:
        """Raises ProfileMalformedError for a day that is not in the calendar."""
        try:
            day = date.fromisoformat(table["date"])
        except ValueError as error:
            raise ProfileMalformedError(f"{key}.date", f"is no day: {table['date']}") from error
        return cls(model=table["model"], firmware=table["firmware"], date=day, by=table["by"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePolicy:
    """Whether files may be erased from recorders of the family (清除放行), where the station's settings allow it."""

    allowed: bool = True
    why: str | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, Any] | None) -> Self:
        return cls() if table is None else cls(allowed=table["allowed"], why=table["why"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarRule:
    """Files that accompany another one of the same folder (附属文件): track, log, thumbnail of a clip."""

    extensions: frozenset[str]
    of: frozenset[str]
    by_stem: bool

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        return cls(
            extensions=frozenset(table["extensions"]),
            of=frozenset(table["of"]),
            by_stem=table["named"] == "stem",
        )

    def companion(self, basename: str, siblings: Mapping[str, str]) -> str | None:
        """The file that ``basename`` accompanies, None for none. ``siblings`` are the names in its folder with their
        kinds; of several (a film and its photograph of one stem) the first by kind, then by name."""
        stem, dot, extension = basename.rpartition(".")
        if not dot or extension.lower() not in self.extensions:
            return None
        found = [
            (kind, name)
            for name, kind in siblings.items()
            if kind in self.of and name != basename and self._is_named_by(name, stem)
        ]
        return min(found, key=lambda pair: (MEDIA_KINDS.index(pair[0]), pair[1]))[1] if found else None

    def _is_named_by(self, name: str, stem: str) -> bool:
        wanted = name.rpartition(".")[0] if self.by_stem else name
        return wanted.casefold() == stem.casefold()


def quirk_words(rows: Collection[Mapping[str, Any]]) -> frozenset[str]:
    """The oddities of a family, as words that code asks for. Raises ProfileMalformedError for one given twice."""
    words = [row["word"] for row in rows]
    if len(set(words)) < len(words):
        raise ProfileMalformedError("quirk", "names a word twice")
    return frozenset(words)
