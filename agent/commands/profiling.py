"""``profiles``: which recorder families the station knows, whether they are in order, and what they make of a listing.

Needs no station: with ``--data`` the station's own profiles count beside those that come with the program.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from agent.commands.output import FAILED, print_result
from agent.commands.profile_text import (
    check_text,
    profile_text,
    profile_values,
    trial_text,
    trial_values,
)
from agent.config import AgentConfig
from firmware_profiles.errors import NoProfileError, ProfileError
from firmware_profiles.load import (
    FILE_NAME,
    find_profile_faults,
    homes_in,
    listings_of,
    load_listing,
    load_profile,
    load_registry,
    profile_homes,
)
from firmware_profiles.registry import Registry
from firmware_profiles.schema import Profile
from firmware_profiles.trial import try_listing

LISTING_ZONE: Final = ZoneInfo("Asia/Shanghai")
"""What is expected of a listing must not depend on the station it is tried at."""


def profiles(options: argparse.Namespace) -> int:
    """One of the tasks. Raises ProfileError, ConfigError, OSError."""
    return _TASKS[options.task](options)


def _list(options: argparse.Namespace) -> int:
    known = load_registry(_own_folders(options)).profiles
    turned_on = frozenset() if options.data is None else AgentConfig.load(options.data.resolve()).families_on
    values = {"profiles": [profile_values(profile, turned_on) for profile in known]}
    print_result(options, values, "\n\n".join(profile_text(profile, turned_on) for profile in known))
    return 0


def _check(options: argparse.Namespace) -> int:
    """Exit code 1 when anything is wrong."""
    own = _own_folders(options)
    homes = _homes(options.folders) if options.folders else profile_homes(own)
    faults = {str(home): [*_faults(home, own)] for home in homes}
    if not any(faults.values()):
        faults["registry"] = [*_conflicts(homes, own)]
    print_result(options, {"faults": faults}, check_text(faults))
    return FAILED if any(faults.values()) else 0


def _test(options: argparse.Namespace) -> int:
    """Exit code 1 when another family would be chosen, or something is not as the listing expects."""
    registry, profile, home = _find(options.family, _own_folders(options))
    files: Sequence[Traversable] = options.listings or listings_of(home)
    if not files:
        raise NoProfileError(f"{home} has no recorded listing: name one")
    trials = [try_listing(registry, profile, load_listing(file), LISTING_ZONE) for file in files]
    names = [file.name for file in files]
    values = {
        "trials": [trial_values(name, trial) for name, trial in zip(names, trials, strict=True)],
    }
    texts = [trial_text(name, trial) for name, trial in zip(names, trials, strict=True)]
    print_result(options, values, "\n\n".join(texts))
    return 0 if all(trial.chosen == profile.id and not trial.surprises for trial in trials) else FAILED


def _new(options: argparse.Namespace) -> int:
    from agent.commands.profile_drafting import draft  # brings the USB libraries, which the others do without

    return draft(options, load_registry(_own_folders(options)))


def _own_folders(options: argparse.Namespace) -> tuple[Path, ...]:
    return () if options.data is None else AgentConfig.load(options.data.resolve()).profile_folders


def _homes(folders: Sequence[Path]) -> list[Traversable]:
    """A folder is a family, or holds some."""
    homes: list[Traversable] = []
    for folder in folders:
        folder = folder.resolve()
        found = [folder] if (folder / FILE_NAME).is_file() else homes_in(folder)
        if not found:
            raise NoProfileError(f"{folder} has no {FILE_NAME}, nor has any folder in it")
        homes += found
    return homes


def _faults(home: Traversable, own: Sequence[Path]) -> Iterator[str]:
    """Of the profile; and where it has none, of its listings and of what it makes of them."""
    faults = find_profile_faults(home)
    yield from map(str, faults)
    if faults:
        return
    registry, profile = _with(load_profile(home), own)
    for file in listings_of(home):
        try:
            trial = try_listing(registry, profile, load_listing(file), LISTING_ZONE)
        except ProfileError as error:
            yield str(error)
        else:
            yield from (f"{file}: {surprise}" for surprise in trial.surprises)


def _conflicts(homes: Sequence[Traversable], own: Sequence[Path]) -> Iterator[str]:
    """Whether the checked profiles could be used beside those of the station."""
    others = {home.name: home for home in profile_homes(own)}
    for home in homes:
        other = others.get(home.name)
        if other is not None and str(other) != str(home):
            yield f"profile {home.name} is given twice: {other} and {home}"
    try:
        profiles = {home.name: load_profile(home) for home in (*others.values(), *homes)}
        Registry(tuple(profiles.values()))
    except ProfileError as error:
        yield str(error)


def _find(family: str, own: Sequence[Path]) -> tuple[Registry, Profile, Traversable]:
    """A known family by its id; else the folder of one that may not be known yet. Raises NoProfileError."""
    home = next((home for home in profile_homes(own) if home.name == family), None)
    if home is None:
        home = Path(family).resolve()
        if not (home / FILE_NAME).is_file():
            raise NoProfileError(
                f"no profile is called {family}, and no folder of that name has a {FILE_NAME}"
            )
    registry, profile = _with(load_profile(home), own)
    return registry, profile, home


def _with(profile: Profile, own: Sequence[Path]) -> tuple[Registry, Profile]:
    """The station's profiles and this one, in the place of one of the same id."""
    others = [known for known in map(load_profile, profile_homes(own)) if known.id != profile.id]
    return Registry((*others, profile)), profile


_TASKS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "list": _list,
    "check": _check,
    "test": _test,
    "new": _new,
}
