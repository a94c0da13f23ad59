"""Reads profiles from folders: those that come with the program and the station's own. The only file with I/O."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.registry import Registry
from firmware_profiles.schema import Profile

FILE_NAME: Final = "profile.toml"

MAX_PROFILE_BYTES: Final = 262_144
"""Ours have 3 KB; larger is not a profile but a mistaken file."""


def load_registry(extra_folders: Iterable[Path] = ()) -> Registry:
    """The built-in profiles and those in ``extra_folders``, each folder holding ``<id>/profile.toml``.

    Raises ProfileMalformedError, ProfileConflict, or OSError for a folder that cannot be read.
    """
    profiles = load_folder(files("firmware_profiles"))
    for folder in extra_folders:
        profiles += load_folder(folder)
    return Registry(tuple(profiles))


def load_folder(folder: Traversable) -> list[Profile]:
    """The profiles in the sub-folders of ``folder``, by name. Raises as ``load_registry``."""
    homes = sorted((home for home in folder.iterdir() if home.is_dir()), key=lambda home: home.name)
    return [load_profile(home) for home in homes if (home / FILE_NAME).is_file()]


def load_profile(home: Traversable) -> Profile:
    """The profile in the folder ``home``. Raises ProfileMalformedError naming folder and key."""
    try:
        return _parse(home)
    except ProfileMalformedError as error:
        raise ProfileMalformedError(f"{home.name}/{FILE_NAME}: {error.key}", error.problem) from error


def _parse(home: Traversable) -> Profile:
    data = (home / FILE_NAME).read_bytes()
    if len(data) > MAX_PROFILE_BYTES:
        raise ProfileMalformedError("", f"has {len(data)} bytes, more than {MAX_PROFILE_BYTES}")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise ProfileMalformedError("", f"is not TOML: {error}") from error
    profile = Profile.from_table(table)
    if profile.id != home.name:
        raise ProfileMalformedError("id", f"must be the folder's name {home.name}, not {profile.id}")
    return profile
