"""Everything that is wrong with a profile at once, for whoever writes one. Pure.

``Profile.from_table`` stops at the first fault, which is enough to refuse a profile; mending one fault after the other
is no way to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.facts import VerifiedUnit
from firmware_profiles.globs import compile_globs
from firmware_profiles.grammar import NameGrammar, one_kind_each
from firmware_profiles.schema import Identity, IgnoreRule, Parts, Profile, compile_roots
from firmware_profiles.shape import PROFILE_SCHEMA
from firmware_profiles.structure import find_faults as find_faults_of_form

_Read: TypeAlias = Callable[[Mapping[str, Any], str], object]

_ROWS: Final[Mapping[str, _Read]] = {
    "verified_on": VerifiedUnit.from_table,
    "file_name": NameGrammar.from_table,
    "ignore": IgnoreRule.from_table,
}


def find_faults(table: Mapping[str, Any], parts: Parts) -> list[ProfileMalformedError]:
    """Each key at fault once: first what has not the form of the schema; where all has, what does not go together."""
    found: dict[str, ProfileMalformedError] = {}
    for fault in find_faults_of_form(table, PROFILE_SCHEMA):
        found.setdefault(fault.key, fault)
    if not found:
        for fault in _faults_of_meaning(table, parts):
            found.setdefault(fault.key, fault)
    return list(found.values())


def _faults_of_meaning(table: Mapping[str, Any], parts: Parts) -> Iterator[ProfileMalformedError]:
    for key, read in _ROWS.items():
        for number, row in enumerate(table.get(key, ())):
            yield from _fault(partial(read, row, f"{key}[{number}]"))
    yield from _fault(partial(compile_roots, table["media"]["roots"]))
    yield from _fault(partial(one_kind_each, table["media"]["kinds"], "media.kinds"))
    yield from _fault(partial(compile_globs, table.get("mark", {}).get("paths", ()), "mark.paths"))
    yield from _fault(partial(Identity.from_table, table.get("identity", {})))
    yield from _fault(partial(Profile.from_table, table, parts))


def _fault(read: Callable[[], object]) -> Iterator[ProfileMalformedError]:
    try:
        read()
    except ProfileMalformedError as fault:
        yield fault
