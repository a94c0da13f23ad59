"""Tries profiles on a recorded listing: what would be chosen, taken and claimed, and is it what was expected? Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from firmware_profiles.errors import ProfileError
from firmware_profiles.identity import Answer, IdentityClaims, decide_identity, device_claims
from firmware_profiles.listing import ListedFile, RecordedListing
from firmware_profiles.names import (
    NameClaims,
    claims_from_label,
    claims_from_marker,
    claims_from_path,
    grammar_of,
)
from firmware_profiles.registry import Registry, Verdict
from firmware_profiles.schema import OUTSIDE_ROOTS, Profile
from protocol.times import format_time


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTrial:
    """What becomes of one file. ``rule``: why it is not read; ``grammar``: the form its name has."""

    path: str
    rule: str | None
    kind: str | None
    grammar: str | None
    claims: NameClaims
    accompanies: str | None

    def found(self) -> dict[str, object]:
        """Everything the file is and claims, in the words of a listing's ``expect``."""
        if self.rule is not None:
            return {"rule": self.rule}
        claims = self.claims
        found = {
            "kind": self.kind,
            "recorder": None if claims.recorder is None else claims.recorder.value,
            "officer": None if claims.officer is None else claims.officer.value,
            "started_at": None if claims.started_at is None else format_time(claims.started_at.value),
            "sequence": claims.sequence,
            "marked": claims.marked or None,
            "encrypted": claims.encrypted or None,
            "accompanies": self.accompanies,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A listing as seen through ``profile``. ``chosen`` is the family the registry takes, None when it takes none, and
    ``refused`` says why."""

    profile: Profile
    chosen: str | None
    refused: str | None
    verdicts: tuple[Verdict, ...]
    files: tuple[FileTrial, ...]
    recorder: Answer
    officer: Answer
    surprises: tuple[str, ...]


def try_listing(registry: Registry, profile: Profile, listing: RecordedListing, zone: tzinfo) -> Trial:
    """Everything that would be done with the volume; ``surprises`` are the differences to what is expected of it."""
    chosen, refused = _choose(registry, profile, listing)
    files = tuple(_try_files(profile, listing, zone))
    others = _volume_claims(profile, listing)
    named = [*others, *(file.claims for file in files if file.rule is None)]
    recorder = decide_identity(profile.identity.recorder, (who.recorder for who in named if who.recorder))
    officer = decide_identity(profile.identity.officer, (who.officer for who in named if who.officer))
    surprises = [
        *_volume_surprises(listing, chosen, recorder, officer),
        *_file_surprises(listing, files),
    ]
    return Trial(
        profile=profile,
        chosen=chosen,
        refused=refused,
        verdicts=registry.judge(label=listing.volume_label, paths=listing.paths),
        files=files,
        recorder=recorder,
        officer=officer,
        surprises=tuple(surprises),
    )


def _choose(registry: Registry, profile: Profile, listing: RecordedListing) -> tuple[str | None, str | None]:
    """A family known by its device alone is chosen before there is a volume."""
    if not profile.match.has_criteria and not profile.match.fallback:
        return profile.id, None
    try:
        return registry.choose(label=listing.volume_label, paths=listing.paths).id, None
    except ProfileError as error:
        return None, str(error)


def _try_files(profile: Profile, listing: RecordedListing, zone: tzinfo) -> Iterator[FileTrial]:
    claims = {path: claims_from_path(profile, path, zone) for path in listing.paths}
    kinds = {path: claims[path].kind or profile.kind_of(path) for path in listing.paths}
    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for path, kind in kinds.items():
        folder, _, name = path.rpartition("/")
        if kind is not None:
            folders[folder][name] = kind
    for path in listing.paths:
        rule = profile.ignoring_rule(path)
        if rule is None and not profile.in_media_roots(path):
            rule = OUTSIDE_ROOTS
        folder, slash, name = path.rpartition("/")
        found = grammar_of(profile, name)
        companion = profile.companion(name, folders[folder])
        yield FileTrial(
            path=path,
            rule=rule,
            kind=kinds[path],
            grammar=found and found[0].name,
            claims=claims[path],
            accompanies=companion and f"{folder}{slash}{companion}",
        )


def _volume_claims(profile: Profile, listing: RecordedListing) -> list[IdentityClaims]:
    marker = profile.identity.marker
    contents = [file.content for file in listing.files if marker is not None and marker.is_at(file.path)]
    encoding = "utf-8" if marker is None else marker.encoding
    markers = [claims_from_marker(profile, (text or "").encode(encoding, "replace")) for text in contents]
    label = claims_from_label(profile, listing.volume_label)
    return [device_claims(profile.identity, listing.device), *markers, label]


def _volume_surprises(
    listing: RecordedListing, chosen: str | None, recorder: Answer, officer: Answer
) -> Iterator[str]:
    if listing.expected is None:
        return
    expected = listing.expected
    found: Mapping[str, str | None] = {
        "profile": chosen,
        "recorder": recorder.value,
        "officer": officer.value,
    }
    sources = {
        "recorder_source": recorder.source,
        "officer_source": officer.source,
    }
    for key, value in found.items():
        if value != expected.get(key):
            yield f"{key}: {expected.get(key)!r} expected, {value!r} found"
    for key, value in sources.items():
        if key in expected and value != expected[key]:
            yield f"{key}: {expected[key]!r} expected, {value!r} found"


def _file_surprises(listing: RecordedListing, files: tuple[FileTrial, ...]) -> Iterator[str]:
    for listed, tried in zip(listing.files, files, strict=True):
        yield from _differences(listed, tried.found())


def _differences(listed: ListedFile, found: Mapping[str, object]) -> Iterator[str]:
    if listed.expected is None:
        return
    expected = {key: value for key, value in listed.expected.items() if value is not False}
    for key in sorted({*expected, *found}):
        if expected.get(key) != found.get(key):
            yield f"{listed.path}: {key}: {expected.get(key)!r} expected, {found.get(key)!r} found"
