"""The set of known profiles and the choice among them. Pure.

Guarantees: the same volume always gets the same profile, whatever the order of the files and of the profiles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from firmware_profiles.errors import NoProfileError, ProfileConflict
from firmware_profiles.expressions import AnyOf
from firmware_profiles.grammar import NameGrammar
from firmware_profiles.names import MAX_NAME_CHARS
from firmware_profiles.schema import MatchRule, Profile

_Criterion: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a profile fits a volume: ``unmet`` names the criteria that nothing on it meets, ``usb`` where only the
    device tells. A fallback has none."""

    profile: Profile
    unmet: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.unmet


@dataclass(frozen=True, slots=True)
class Registry:
    """All profiles of a station. Raises ProfileConflict for a repeated id or a second fallback."""

    profiles: tuple[Profile, ...]

    def __post_init__(self) -> None:
        repeated = [
            name for name, times in Counter(profile.id for profile in self.profiles).items() if times > 1
        ]
        if repeated:
            raise ProfileConflict(f"profile {repeated[0]} is given more than once")
        fallbacks = [profile.id for profile in self.profiles if profile.match.fallback]
        if len(fallbacks) > 1:
            raise ProfileConflict(f"more than one fallback: {', '.join(sorted(fallbacks))}")

    def choose(self, *, label: str | None, paths: Iterable[str]) -> Profile:
        """The profile for a volume that shows this label and these paths (display text, of files).

        Raises ProfileConflict when two best matches have equal rank, NoProfileError when nothing fits.
        """
        matching = self._matching(label, paths)
        best = max((profile.match.rank for profile in matching), default=None)
        found = [profile for profile in matching if profile.match.rank == best]
        if len(found) > 1:
            names = ", ".join(sorted(profile.id for profile in found))
            raise ProfileConflict(f"the volume fits several profiles of rank {best}: {names}")
        if found:
            return found[0]
        return self._fallback()

    def of_family(self, family: str | None) -> Profile | None:
        """The profile a recorder named itself by answering its questions; None for none, or one that is gone."""
        return next((profile for profile in self.profiles if profile.id == family), None)

    def judge(self, *, label: str | None, paths: Sequence[str]) -> tuple[Verdict, ...]:
        """What each profile says to such a volume, and why not: for people. ``choose`` decides."""
        return tuple(
            Verdict(profile=profile, unmet=tuple(_unmet(profile.match, label, paths)))
            for profile in self.profiles
        )

    def _matching(self, label: str | None, paths: Iterable[str]) -> list[Profile]:
        names = _Names(grammar for profile in self.profiles for grammar in profile.match.file_names)
        open_criteria = {
            profile.id: [criterion for _, criterion in _path_criteria(profile.match, names)]
            for profile in self.profiles
            if profile.match.has_criteria and _label_fits(profile.match, label)
        }
        unseen = iter(paths)
        while any(open_criteria.values()) and (path := next(unseen, None)) is not None:
            for criteria in open_criteria.values():
                criteria[:] = [criterion for criterion in criteria if not criterion(path)]
        return [profile for profile in self.profiles if open_criteria.get(profile.id) == []]

    def _fallback(self) -> Profile:
        for profile in self.profiles:
            if profile.match.fallback:
                return profile
        raise NoProfileError("the volume fits no profile and there is no fallback")


def _label_fits(match: MatchRule, label: str | None) -> bool:
    if match.volume_labels is None:
        return True
    return label is not None and match.volume_labels.search(label) is not None


def _unmet(match: MatchRule, label: str | None, paths: Sequence[str]) -> Iterator[str]:
    if not match.has_criteria and not match.fallback:
        yield "usb"
    if not _label_fits(match, label):
        yield "volume_labels"
    for name, criterion in _path_criteria(match, _Names(match.file_names)):
        if not any(map(criterion, paths)):
            yield name


class _Names:
    """Asks once for a name whether any grammar fits, however many families ask."""

    def __init__(self, grammars: Iterable[NameGrammar]) -> None:
        self._any = AnyOf([grammar.regex for grammar in grammars])
        self._last = ("", False)

    def may_fit(self, name: str) -> bool:
        if len(name) > MAX_NAME_CHARS:
            return False
        if name != self._last[0]:
            self._last = (name, self._any.may_fit(name))
        return self._last[1]


def _path_criteria(match: MatchRule, names: _Names) -> Iterator[tuple[str, _Criterion]]:
    if match.marker_files is not None:
        yield "marker_files", _path_criterion(match.marker_files)
    if match.paths is not None:
        yield "paths", _path_criterion(match.paths)
    if match.file_names:
        yield "file_names", _name_criterion(match.file_names, names)


def _path_criterion(pattern: re.Pattern[str]) -> _Criterion:
    return lambda path: pattern.search(path) is not None


def _name_criterion(grammars: tuple[NameGrammar, ...], names: _Names) -> _Criterion:
    def fits(path: str) -> bool:
        name = path.rpartition("/")[2]
        return names.may_fit(name) and any(grammar.regex.fits(name) for grammar in grammars)

    return fits
