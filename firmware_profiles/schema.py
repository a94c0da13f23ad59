"""A firmware profile as a frozen value, read from the tables of a ``profile.toml``. Pure.

Guarantees: a ``Profile`` that exists is whole and consistent; its patterns compile; unknown keys were refused with
the path of the key. Paths and names given to it are display text (``protocol.listing.display_path``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from firmware_profiles.device import UsbProfile
from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.globs import compile_globs
from firmware_profiles.shape import MEDIA_KINDS, PROFILE_SCHEMA
from firmware_profiles.structure import check_structure

_NAME_GROUPS: Final = frozenset({"recorder", "officer", "started_at", "mark"})
_LABEL_GROUPS: Final = frozenset({"recorder", "officer"})
_Named = TypeVar("_Named")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameGrammar:
    """One form of file names and what its parts claim (文件命名规则)."""

    name: str
    regex: re.Pattern[str]
    time_format: str | None

    @classmethod
    def from_table(cls, table: Mapping[str, Any], key: str) -> Self:
        regex = _compile_regex(table["regex"], _NAME_GROUPS, f"{key}.regex")
        if ("started_at" in regex.groupindex) != ("started_at" in table):
            raise ProfileMalformedError(f"{key}.started_at", "is given exactly when the regex has that group")
        return cls(
            name=table["name"],
            regex=regex,
            time_format=table["started_at"]["format"] if "started_at" in table else None,
        )


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
    """What a volume must show for the profile to apply. A criterion not given is None."""

    rank: int
    fallback: bool
    volume_labels: re.Pattern[str] | None
    marker_files: re.Pattern[str] | None
    paths: re.Pattern[str] | None
    file_names: tuple[NameGrammar, ...]

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any], grammars: tuple[NameGrammar, ...], *, is_talked_with: bool
    ) -> Self:
        globs = {
            name: compile_globs(table[name], f"match.{name}") if table.get(name) else None
            for name in ("volume_labels", "marker_files", "paths")
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
            **globs,
        )

    @property
    def has_criteria(self) -> bool:
        """Without any, and no fallback, the family is known by the conversation with its device alone."""
        return bool(self.file_names or self.volume_labels or self.marker_files or self.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Where the recorder's and the officer's numbers are looked for, in order."""

    recorder: tuple[str, ...]
    officer: tuple[str, ...]
    volume_label: re.Pattern[str] | None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        label = table.get("volume_label")
        regex = None if label is None else _compile_regex(label, _LABEL_GROUPS, "identity.volume_label")
        for role in ("recorder", "officer"):
            uses = "volume label" in table.get(role, [])
            if uses != (regex is not None and role in regex.groupindex):
                raise ProfileMalformedError(
                    f"identity.{role}", f"and the group {role} of identity.volume_label go together"
                )
        return cls(
            recorder=tuple(table.get("recorder", ())),
            officer=tuple(table.get("officer", ())),
            volume_label=regex,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Declared facts on one recorder family (固件配置): how its volume is recognised, read and understood."""

    id: str
    version: str
    title_zh: str
    title_en: str
    match: MatchRule
    media_roots: re.Pattern[str]
    kinds: Mapping[str, str]
    ignore: tuple[IgnoreRule, ...]
    grammars: tuple[NameGrammar, ...]
    mark_values: frozenset[str]
    mark_paths: re.Pattern[str]
    identity: Identity
    reading_order: tuple[str, ...]
    usb: UsbProfile | None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """From the tables of a TOML file. Raises ProfileMalformedError."""
        check_structure(table, PROFILE_SCHEMA)
        grammars = _named(table, "file_name", "name", NameGrammar.from_table)
        mark = table.get("mark", {})
        usb = UsbProfile.from_table(table["usb"]) if "usb" in table else None
        return cls(
            id=table["id"],
            version=table["version"],
            title_zh=table["title"]["zh"],
            title_en=table["title"]["en"],
            match=MatchRule.from_table(
                table["match"], grammars, is_talked_with=usb is not None and usb.sends
            ),
            media_roots=_compile_roots(table["media"]["roots"]),
            kinds=_kinds(table["media"]["kinds"]),
            ignore=_named(table, "ignore", "rule", IgnoreRule.from_table),
            grammars=grammars,
            mark_values=frozenset(mark.get("values", ())),
            mark_paths=compile_globs(mark.get("paths", ()), "mark.paths"),
            identity=Identity.from_table(table.get("identity", {})),
            reading_order=tuple(table["reading"]["order"]),
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


def _named(
    table: Mapping[str, Any], key: str, name: str, read: Callable[[Mapping[str, Any], str], _Named]
) -> tuple[_Named, ...]:
    rows = table.get(key, [])
    names = [row[name] for row in rows]
    for number, row_name in enumerate(names):
        if row_name in names[:number]:
            raise ProfileMalformedError(f"{key}[{number}].{name}", f"is used twice: {row_name}")
    return tuple(read(row, f"{key}[{number}]") for number, row in enumerate(rows))


def _compile_regex(source: str, groups: frozenset[str], key: str) -> re.Pattern[str]:
    try:
        regex = re.compile(source, re.ASCII | re.IGNORECASE)
    except re.error as error:
        raise ProfileMalformedError(key, f"is not a regular expression: {error}") from error
    if not regex.groupindex or not groups.issuperset(regex.groupindex):
        raise ProfileMalformedError(key, f"needs named groups, and only of {', '.join(sorted(groups))}")
    return regex


def _compile_roots(roots: list[str]) -> re.Pattern[str]:
    for number, root in enumerate(roots):
        if not root.startswith("/"):
            raise ProfileMalformedError(f"media.roots[{number}]", f"must start with /, not {root!r}")
    return compile_globs(roots, "media.roots")


def _kinds(table: Mapping[str, list[str]]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for kind in MEDIA_KINDS:
        for extension in table.get(kind, []):
            if extension in kinds:
                raise ProfileMalformedError(
                    f"media.kinds.{kind}", f"{extension} is already {kinds[extension]}"
                )
            kinds[extension] = kind
    return kinds
