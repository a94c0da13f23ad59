"""Reads profiles and recorded listings from folders: the program's and the station's own. The only file with I/O."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from firmware_profiles.errors import ProfileConflict, ProfileMalformedError
from firmware_profiles.faults import find_faults
from firmware_profiles.listing import RecordedListing
from firmware_profiles.registry import Registry
from firmware_profiles.schema import Parts, Profile
from firmware_profiles.shape import PART_SCHEMA
from firmware_profiles.structure import check_structure

FILE_NAME: Final = "profile.toml"
LISTINGS_NAME: Final = "listings"

MAX_PROFILE_BYTES: Final = 262_144
"""Ours have 3 KB; larger is not a profile but a mistaken file."""

MAX_LISTING_BYTES: Final = 4_194_304
"""Some ten thousand files: a recorded listing is an example, not a backup."""


PARTS_NAME: Final = "shared.toml"


def load_registry(extra_folders: Iterable[Path] = ()) -> Registry:
    """The built-in profiles and those in ``extra_folders``, each folder holding ``<id>/profile.toml``.

    Raises ProfileMalformedError, ProfileConflict, or OSError for a folder that cannot be read.
    """
    homes: dict[str, Traversable] = {}
    profiles = []
    for home in profile_homes(extra_folders):
        if home.name in homes:
            raise ProfileConflict(f"profile {home.name} is given twice: {homes[home.name]} and {home}")
        homes[home.name] = home
        profiles.append(load_profile(home))
    return Registry(tuple(profiles))


def profile_homes(extra_folders: Iterable[Path] = ()) -> list[Traversable]:
    """The folders of the built-in profiles, then of those in ``extra_folders``, each by name. Raises OSError."""
    return [home for folder in (files("firmware_profiles"), *extra_folders) for home in homes_in(folder)]


def homes_in(folder: Traversable) -> list[Traversable]:
    """The folders in ``folder`` that have a profile, by name. Raises OSError."""
    homes = sorted((home for home in folder.iterdir() if home.is_dir()), key=lambda home: home.name)
    return [home for home in homes if (home / FILE_NAME).is_file()]


def load_profile(home: Traversable) -> Profile:
    """The profile in the folder ``home``. Raises ProfileMalformedError naming file and key."""
    try:
        profile = Profile.from_table(_read_toml(home / FILE_NAME), _parts())
        if profile.id != home.name:
            raise ProfileMalformedError("id", f"must be the folder's name {home.name}, not {profile.id}")
    except ProfileMalformedError as error:
        raise ProfileMalformedError(f"{home}/{FILE_NAME}: {error.key}", error.problem) from error
    return profile


def find_profile_faults(home: Traversable) -> list[ProfileMalformedError]:
    """Everything that is wrong with the profile in ``home``, each naming file and key. Raises OSError."""
    try:
        table = _read_toml(home / FILE_NAME)
        faults = find_faults(table, _parts())
        if not faults:
            load_profile(home)
    except ProfileMalformedError as error:
        faults = [error]
    where = f"{home}/{FILE_NAME}: "
    return [ProfileMalformedError(where + fault.key.removeprefix(where), fault.problem) for fault in faults]


def load_listing(file: Traversable) -> RecordedListing:
    """A recorded listing. Raises ProfileMalformedError naming file and key, OSError."""
    try:
        data = _read(file, MAX_LISTING_BYTES)
        try:
            value = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ProfileMalformedError("", f"is not JSON: {error}") from error
        return RecordedListing.from_json(value)
    except ProfileMalformedError as error:
        raise ProfileMalformedError(f"{file}: {error.key}", error.problem) from error


def listings_of(home: Traversable) -> list[Traversable]:
    """The recorded listings of a family, by name."""
    folder = home / LISTINGS_NAME
    if not folder.is_dir():
        return []
    found = (file for file in folder.iterdir() if file.name.endswith(".json"))
    return sorted(found, key=lambda file: file.name)


@cache
def _parts() -> Parts:
    """What comes with the program; a station's own profiles use it too."""
    parts = _read_toml(files("firmware_profiles") / PARTS_NAME)
    for name, part in parts.items():
        check_structure(part, PART_SCHEMA, name)
    return parts


def _read_toml(file: Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(file, MAX_PROFILE_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProfileMalformedError("", f"is not TOML: {error}") from error


def _read(file: Traversable, max_bytes: int) -> bytes:
    with file.open("rb") as opened:
        data = opened.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ProfileMalformedError("", f"has more than {max_bytes} bytes")
    return data
