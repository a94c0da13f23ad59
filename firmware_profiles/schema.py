"""A firmware profile as a frozen value, read from the tables of a ``profile.toml``. Pure.

Guarantees: a ``Profile`` that exists is whole and consistent; its patterns compile; unknown keys were refused with
the path of the key. Paths and names given to it are display text (``protocol.listing.display_path``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, TypeVar

from firmware_profiles.device import UsbProfile
from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.expressions import Expression
from firmware_profiles.facts import ReleasePolicy, SidecarRule, VerifiedUnit, quirk_words
from firmware_profiles.globs import compile_globs
from firmware_profiles.grammar import NameGrammar, one_kind_each
from firmware_profiles.shape import PROFILE_SCHEMA
from firmware_profiles.structure import check_structure

_LABEL_GROUPS: Final = frozenset({"recorder", "officer"})
_CRITERIA: Final = ("volume_labels", "marker_files", "paths", "file_names")
_MARKER_GROUPS: Final = _LABEL_GROUPS | {"firmware"}
_Named = TypeVar("_Named")

OUTSIDE_ROOTS: Final = "outside-media-roots"
"""The rule that excludes what lies outside a profile's media roots."""

Parts: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Rows that several profiles use, by the name of the part: as in ``shared.toml``."""

NO_PARTS: Final[Parts] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """Files that are listed as excluded by this rule (排除规则), with the reason people are shown."""

    rule: str
    why: str
    regex: re.Pattern[str]

    @classmethod
    def from_table(cls, table: Mapping[str, Any], key: str) -> Self:
        return cls(rule=table["rule"], why=table["why"], regex=compile_globs(table["globs"], f"{key}.globs"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """What a volume must show for the profile to apply. A criterion not given is None; ``written`` are those given, as
    the profile has them."""

    rank: int
    fallback: bool
    volume_labels: re.Pattern[str] | None
    marker_files: re.Pattern[str] | None
    paths: re.Pattern[str] | None
    file_names: tuple[NameGrammar, ...]
    written: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any], grammars: tuple[NameGrammar, ...], *, is_talked_with: bool
    ) -> Self:
        globs = {
            name: compile_globs(table[name], f"match.{name}") if table.get(name) else None
            for name in _CRITERIA
            if name != "file_names"
        }
        wanted = table.get("file_names", [])
        unknown = set(wanted) - {grammar.name for grammar in grammars}
        if unknown:
            raise ProfileMalformedError("match.file_names", f"names no [[file_name]]: {sorted(unknown)[0]}")
        fallback = table.get("fallback", False)
        if fallback == bool(wanted or any(globs.values()) or is_talked_with):
            raise ProfileMalformedError("match", "has either criteria or fallback = true")
        return cls(
            rank=table["rank"],
            fallback=fallback,
            file_names=tuple(grammar for grammar in grammars if grammar.name in wanted),
            written={name: tuple(table[name]) for name in _CRITERIA if table.get(name)},
            **globs,
        )

    @property
    def has_criteria(self) -> bool:
        """Without any, and no fallback, the family is known by the conversation with its device alone."""
        return bool(self.file_names or self.volume_labels or self.marker_files or self.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A file of the recorder that names it (标识文件)."""

    path: str
    regex: Expression
    encoding: str

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        path = table["path"].strip("/")
        if not path or "" in path.split("/"):
            raise ProfileMalformedError("identity.marker.path", f"is no path of a file: {table['path']!r}")
        regex = Expression.compile(table["regex"], _MARKER_GROUPS, "identity.marker.regex")
        return cls(path=path, regex=regex, encoding=table["encoding"])

    def is_at(self, path: str) -> bool:
        return path.casefold() == self.path.casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which sources are believed on the recorder's and the officer's number, in order, and how they are read. USB
    serial numbers are none: often they are equal on every unit."""

    recorder: tuple[str, ...]
    officer: tuple[str, ...]
    volume_label: Expression | None
    marker: Marker | None
    unset: frozenset[str]

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        label = table.get("volume_label")
        identity = cls(
            recorder=tuple(table.get("recorder", ())),
            officer=tuple(table.get("officer", ())),
            volume_label=None
            if label is None
            else Expression.compile(label, _LABEL_GROUPS, "identity.volume_label"),
            marker=Marker.from_table(table["marker"]) if "marker" in table else None,
            unset=frozenset(table.get("unset", ())),
        )
        marker = None if identity.marker is None else identity.marker.regex
        identity._check_use("volume label", identity.volume_label, "identity.volume_label")
        identity._check_use("marker file", marker, "identity.marker.regex")
        return identity

    def _check_use(self, source: str, regex: Expression | None, key: str) -> None:
        groups = frozenset() if regex is None else regex.groups
        for role, sources in (("recorder", self.recorder), ("officer", self.officer)):
            if (source in sources) != (role in groups):
                raise ProfileMalformedError(
                    f"identity.{role}", f"{source!r} here and the group {role} of {key} go together"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Declared facts on one recorder family (固件配置): how its volume is recognised, read and understood."""

    id: str
    version: str
    title_zh: str
    title_en: str
    verified_on: tuple[VerifiedUnit, ...]
    quirks: frozenset[str]
    match: MatchRule
    media_roots: re.Pattern[str]
    kinds: Mapping[str, str]
    sidecars: tuple[SidecarRule, ...]
    ignore: tuple[IgnoreRule, ...]
    grammars: tuple[NameGrammar, ...]
    mark_values: frozenset[str]
    mark_paths: re.Pattern[str]
    identity: Identity
    reading_order: tuple[str, ...]
    release: ReleasePolicy
    usb: UsbProfile | None

    @classmethod
    def from_table(cls, table: Mapping[str, Any], parts: Parts = NO_PARTS) -> Self:
        """From the tables of a TOML file. Raises ProfileMalformedError."""
        check_structure(table, PROFILE_SCHEMA)
        table = _with_parts(table, parts)
        grammars = _named(table, "file_name", "name", NameGrammar.from_table)
        mark = table.get("mark", {})
        units = enumerate(table.get("verified_on", ()))
        usb = UsbProfile.from_table(table["usb"]) if "usb" in table else None
        return cls(
            id=table["id"],
            version=table["version"],
            title_zh=table["title"]["zh"],
            title_en=table["title"]["en"],
            verified_on=tuple(
                VerifiedUnit.from_table(row, f"verified_on[{number}]") for number, row in units
            ),
            quirks=quirk_words(table.get("quirk", ())),
            match=MatchRule.from_table(
                table["match"], grammars, is_talked_with=usb is not None and usb.sends
            ),
            media_roots=compile_roots(table["media"]["roots"]),
            kinds=one_kind_each(table["media"]["kinds"], "media.kinds"),
            sidecars=tuple(SidecarRule.from_table(row) for row in table.get("sidecar", ())),
            ignore=_named(table, "ignore", "rule", IgnoreRule.from_table),
            grammars=grammars,
            mark_values=frozenset(value.casefold() for value in mark.get("values", ())),
            mark_paths=compile_globs(mark.get("paths", ()), "mark.paths"),
            identity=Identity.from_table(table.get("identity", {})),
            reading_order=tuple(table["reading"]["order"]),
            release=ReleasePolicy.from_table(table.get("release")),
            usb=usb,
        )

    def ignoring_rule(self, path: str) -> str | None:
        """The name of the first rule that excludes the file or folder at ``path``."""
        return next((rule.rule for rule in self.ignore if rule.regex.search(path)), None)

    def in_media_roots(self, path: str) -> bool:
        return self.media_roots.search(path) is not None

    def kind_of(self, basename: str) -> str | None:
        """One of ``MEDIA_KINDS`` by the extension; None for a kind the profile does not know."""
        _, dot, extension = basename.rpartition(".")
        return self.kinds.get(extension.lower()) if dot else None

    def companion(self, basename: str, siblings: Mapping[str, str]) -> str | None:
        """The file in the same folder that a sidecar belongs to; ``siblings`` gives the kind by name."""
        found = (rule.companion(basename, siblings) for rule in self.sidecars)
        return next((name for name in found if name is not None), None)


def _with_parts(table: Mapping[str, Any], parts: Parts) -> Mapping[str, Any]:
    """The profile's own rows first: the first that fits decides."""
    merged = dict(table)
    for number, name in enumerate(table.get("use", ())):
        if name not in parts:
            known = ", ".join(sorted(parts)) or "none"
            raise ProfileMalformedError(f"use[{number}]", f"names no part: {name}; known are {known}")
        for key, rows in parts[name].items():
            merged[key] = [*merged.get(key, ()), *rows]
    return merged


def _named(
    table: Mapping[str, Any], key: str, name: str, read: Callable[[Mapping[str, Any], str], _Named]
) -> tuple[_Named, ...]:
    rows = table.get(key, [])
    names = [row[name] for row in rows]
    for number, row_name in enumerate(names):
        if row_name in names[:number]:
            raise ProfileMalformedError(f"{key}[{number}].{name}", f"is used twice: {row_name}")
    return tuple(read(row, f"{key}[{number}]") for number, row in enumerate(rows))


def compile_roots(roots: list[str]) -> re.Pattern[str]:
    """Raises ProfileMalformedError for a root that is not written from the volume's root on."""
    for number, root in enumerate(roots):
        if not root.startswith("/"):
            raise ProfileMalformedError(f"media.roots[{number}]", f"must start with /, not {root!r}")
    return compile_globs(roots, "media.roots")
