"""Are profiles refused for every mistake, with the key at fault, and is the published schema the rule applied?"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import firmware_profiles
from firmware_profiles.errors import ProfileConflict, ProfileMalformedError
from firmware_profiles.globs import compile_globs
from firmware_profiles.load import find_profile_faults, load_profile, load_registry
from firmware_profiles.schema import Profile
from firmware_profiles.shape import PROFILE_SCHEMA

HOME = Path(firmware_profiles.__file__).parent

TABLE: dict[str, Any] = {
    "schema": 1,
    "id": "family",
    "version": "1.0.0",
    "title": {"zh": "某型", "en": "Some family"},
    "match": {"rank": 10, "file_names": ["n"], "volume_labels": ["REC*"]},
    "media": {"roots": ["/Media", "/files/data"], "kinds": {"video": ["mp4"], "sidecar": ["gps"]}},
    "ignore": [{"rule": "temp", "why": "临时", "globs": ["/Temp"]}],
    "file_name": [
        {
            "name": "n",
            "regex": r"(?P<recorder>[0-9]{4})_(?P<started_at>[0-9]{14})(?P<mark>_IMP)?\.mp4",
            "started_at": {"format": "%Y%m%d%H%M%S", "zone": "station"},
        }
    ],
    "mark": {"values": ["_IMP"], "paths": ["IMP"]},
    "identity": {
        "recorder": ["name", "volume label"],
        "officer": [],
        "volume_label": "REC(?P<recorder>[0-9]{4})",
    },
    "reading": {"order": ["marked", "newest"]},
}

SHIPPED = {"name_n1", "name_n2", "name_n3", "name_n4", "dcf", "generic", "network_drop"} | {
    "ambarella",
    "example_hid_unlock",
    "example_vendor_scsi",
}

Change = Callable[[dict[str, Any]], object]

UNIT = {"model": "DSJ-X1", "firmware": "1.2", "date": "2026-11-20", "by": "hall-1"}
SIDECAR = {"extensions": ["gps"], "of": ["video"], "named": "stem"}

BROKEN = [
    b"\xff",
    b"= 5",
    b"schema = 1",
    b"# " + b"x" * 300_000,
    b"schema = 0x" + b"f" * 50_000,  # Python refuses to write such a number out
    b"schema = " + b"9" * 50_000,
    b"a = " + b"[" * 50_000,
    b'"' + b"k" * 200_000 + b'" = 1',
    b"use = [" + b"'computers', " * 15_000 + b"]",
]

MISTAKES: list[tuple[str, Change]] = [
    ("colour", lambda t: t.update(colour="red")),
    ("match.colour", lambda t: t["match"].update(colour="red")),
    ("file_name[0].started_at.offset", lambda t: t["file_name"][0]["started_at"].update(offset=8)),
    ("schema", lambda t: t.update(schema=2)),
    ("schema", lambda t: t.update(schema=True)),
    ("id", lambda t: t.update(id="Family One")),
    ("id", lambda t: t.update(id="family\n")),
    ("version", lambda t: t.update(version="1")),
    ("title.zh", lambda t: t["title"].pop("zh")),
    ("title.en", lambda t: t["title"].update(en="")),
    ("match.rank", lambda t: t["match"].update(rank="10")),
    ("match.rank", lambda t: t["match"].update(rank=1001)),
    ("match", lambda t: t["match"].update(fallback=True)),
    ("match", lambda t: t.update(match={"rank": 1})),
    ("match.file_names", lambda t: t["match"].update(file_names=["other"])),
    ("media.roots", lambda t: t["media"].update(roots=[])),
    ("media.roots[0]", lambda t: t["media"].update(roots=["Media"])),
    ("media.kinds.film", lambda t: t["media"]["kinds"].update(film=["mp4"])),
    ("media.kinds.video[0]", lambda t: t["media"]["kinds"].update(video=["MP4"])),
    ("media.kinds.video", lambda t: t["media"]["kinds"].update(video=["mp4", "mp4"])),
    ("media.kinds.sidecar", lambda t: t["media"]["kinds"].update(sidecar=["mp4"])),
    ("ignore[0].globs", lambda t: t["ignore"][0].update(globs=[])),
    ("ignore[0].globs[0]", lambda t: t["ignore"][0].update(globs=["a//b"])),
    ("ignore[0].globs[0]", lambda t: t["ignore"][0].update(globs=["a[b"])),
    ("ignore[0].rule", lambda t: t["ignore"][0].update(rule="Temp Files")),
    ("ignore[1].rule", lambda t: t["ignore"].append(t["ignore"][0] | {"why": "另"})),
    ("file_name[0].regex", lambda t: t["file_name"][0].update(regex="(")),
    ("file_name[0].regex", lambda t: t["file_name"][0].update(regex="[0-9]+")),
    ("file_name[0].regex", lambda t: t["file_name"][0].update(regex="(?P<colour>x)")),
    ("file_name[0].started_at", lambda t: t["file_name"][0].pop("started_at")),
    ("file_name[0].started_at.zone", lambda t: t["file_name"][0]["started_at"].update(zone="local")),
    ("identity.recorder[0]", lambda t: t["identity"].update(recorder=["guess"])),
    ("identity.recorder", lambda t: t["identity"].pop("volume_label")),
    ("identity.recorder", lambda t: t["identity"].update(recorder=["name"])),
    ("identity.officer", lambda t: t["identity"].update(officer=["volume label"])),
    ("file_name[0].started_at.format", lambda t: t["file_name"][0]["started_at"].update(format="%Q")),
    ("file_name[0].started_at.format", lambda t: t["file_name"][0]["started_at"].update(format="%Y%Y")),
    ("file_name[0].started_at.format", lambda t: t["file_name"][0]["started_at"].update(format="%Y%m%d")),
    ("file_name[0].started_at.zone", lambda t: t["file_name"][0]["started_at"].update(zone="+15:00")),
    ("file_name[0].kinds", lambda t: t["file_name"][0].update(kinds={"video": ["01"]})),
    ("file_name[0].regex", lambda t: t["file_name"][0].update(regex="(?P<recorder>x)(?=y)")),
    ("use[0]", lambda t: t.update(use=["n9"])),
    ("verified_on[0].date", lambda t: t.update(verified_on=[UNIT | {"date": "2026-02-30"}])),
    ("verified_on[0].by", lambda t: t.update(verified_on=[{k: UNIT[k] for k in UNIT if k != "by"}])),
    ("quirk[0].word", lambda t: t.update(quirk=[{"word": "odd", "why": "怪"}])),
    ("quirk", lambda t: t.update(quirk=[{"word": "shared-volume-label", "why": why} for why in "甲乙"])),
    ("release.why", lambda t: t.update(release={"allowed": False})),
    ("sidecar[0].named", lambda t: t.update(sidecar=[SIDECAR | {"named": "near"}])),
    ("sidecar[0].of[0]", lambda t: t.update(sidecar=[SIDECAR | {"of": ["film"]}])),
    ("identity.unset[0]", lambda t: t["identity"].update(unset=[0])),
    (
        "ignore",
        lambda t: t.update(ignore=[{"rule": f"r{n}", "why": "x", "globs": ["a"]} for n in range(251)]),
    ),
    ("reading.order[0]", lambda t: t["reading"].update(order=["oldest"])),
    ("reading", lambda t: t.pop("reading")),
]


def test_the_whole_example_is_a_profile() -> None:
    profile = Profile.from_table(TABLE)
    assert (profile.id, profile.title_zh, profile.reading_order) == ("family", "某型", ("marked", "newest"))


@pytest.mark.parametrize(("key", "change"), MISTAKES)
def test_a_mistake_is_refused_with_the_key_at_fault(key: str, change: Change) -> None:
    table = copy.deepcopy(TABLE)
    change(table)
    with pytest.raises(ProfileMalformedError) as caught:
        Profile.from_table(table)
    assert caught.value.key == key


@pytest.mark.parametrize("value", [None, [], "profile", 5])
def test_what_is_no_table_is_refused(value: Any) -> None:
    with pytest.raises(ProfileMalformedError):
        Profile.from_table(value)


def test_the_published_schema_is_the_rule_that_is_applied() -> None:
    published = json.loads((HOME / "profile.schema.json").read_text("utf-8"))
    assert published == PROFILE_SCHEMA


def test_the_schema_uses_only_what_the_checker_checks() -> None:
    known = {
        *("$schema", "title", "description", "type", "const", "enum", "properties", "required"),
        *(
            "additionalProperties",
            "items",
            "minItems",
            "maxItems",
            "uniqueItems",
            "pattern",
            "minLength",
            "maxLength",
        ),
        *("minimum", "maximum"),
    }

    def walk(schema: dict[str, Any]) -> None:
        assert set(schema) <= known
        assert schema.get("additionalProperties", False) is False
        assert schema.get("pattern", "^$")[0] == "^"
        assert schema.get("pattern", "^$")[-1] == "$"
        for below in schema.get("properties", {}).values():
            walk(below)
        if "items" in schema:
            walk(schema["items"])

    walk(dict(PROFILE_SCHEMA))


def test_every_profile_folder_has_a_readme_and_loads() -> None:
    loaded = {profile.id for profile in load_registry().profiles}
    homes = {path.parent for path in HOME.glob("*/profile.toml")}
    assert loaded == {home.name for home in homes} == SHIPPED
    for home in homes:
        assert f"# {home.name}" in (home / "README.md").read_text("utf-8")


def test_two_folders_of_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    home = tmp_path / "dcf"
    home.mkdir()
    (home / "profile.toml").write_bytes((HOME / "dcf" / "profile.toml").read_bytes())
    with pytest.raises(ProfileConflict) as caught:
        load_registry([tmp_path])
    assert str(HOME / "dcf") in str(caught.value)
    assert str(home) in str(caught.value)


def test_parts_come_after_the_profiles_own_rows() -> None:
    part = {"ignore": [{"rule": "late", "why": "后", "globs": ["/Temp/x"]}]}
    profile = Profile.from_table(TABLE | {"use": ["p"]}, {"p": part})
    assert [rule.rule for rule in profile.ignore] == ["temp", "late"]
    with pytest.raises(ProfileMalformedError, match="used twice"):
        Profile.from_table(TABLE | {"use": ["p"]}, {"p": {"ignore": TABLE["ignore"]}})


def test_what_a_family_declares_of_itself_is_there() -> None:
    release = {"allowed": False, "why": "副本"}
    quirk = [{"word": "shared-volume-label", "why": "出厂卷标相同"}]
    profile = Profile.from_table(TABLE | {"verified_on": [UNIT], "quirk": quirk, "release": release})
    assert (profile.verified_on[0].model, str(profile.verified_on[0].date)) == ("DSJ-X1", "2026-11-20")
    assert profile.quirks == {"shared-volume-label"}
    assert not profile.release.allowed
    assert Profile.from_table(TABLE).release.allowed


@pytest.mark.parametrize(
    ("named", "name", "companion"),
    [
        ("stem", "A.gps", "a.MP4"),
        ("stem", "a.GPS", "a.MP4"),
        ("stem", "a.MP4.gps", None),
        ("stem", "b.gps", None),
        ("stem", "a.txt", None),
        ("stem", "gps", None),
        ("name", "a.mp4.gps", "a.MP4"),
        ("name", "A.gps", None),
    ],
)
def test_a_sidecar_belongs_to_the_clip_of_its_name(named: str, name: str, companion: str | None) -> None:
    profile = Profile.from_table(TABLE | {"sidecar": [SIDECAR | {"named": named}]})
    siblings = {"a.MP4": "video", "a.jpg": "image", "b.wav": "audio", name: "sidecar"}
    assert profile.companion(name, siblings) == companion


def test_a_station_adds_its_own_profiles(tmp_path: Path) -> None:
    home = tmp_path / "own"
    home.mkdir()
    text = (HOME / "dcf" / "profile.toml").read_text("utf-8")
    (home / "profile.toml").write_text(text.replace('id = "dcf"', 'id = "own"'), "utf-8")
    (tmp_path / "README.md").write_text("not a profile", "utf-8")
    assert "own" in {profile.id for profile in load_registry([tmp_path]).profiles}


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "profile.toml").write_bytes(data)
    with pytest.raises(ProfileMalformedError, match=f"{tmp_path.name}/profile.toml") as caught:
        load_profile(tmp_path)
    assert len(str(caught.value)) < 2000
    assert len(find_profile_faults(tmp_path)) >= 1


def test_a_profile_is_named_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_bytes((HOME / "dcf" / "profile.toml").read_bytes())
    with pytest.raises(ProfileMalformedError, match="folder's name"):
        load_profile(tmp_path)


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("Thumbs.db", "Thumbs.db", True),
        ("Thumbs.db", "a/b/THUMBS.DB", True),
        ("Thumbs.db", "a/Thumbs.db/c", True),
        ("Thumbs.db", "Thumbs.db2", False),
        ("Thumbs.db", "xThumbs.db", False),
        ("._*", "a/._b", True),
        ("._*", "a._b", False),
        ("/Temp", "temp/a", True),
        ("/Temp", "a/Temp", False),
        ("a/b", "a/b/c", True),
        ("a/b", "x/a/b", False),
        ("a/*", "a", False),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/b/c", False),
        ("[1-9]?[!0]", "12x", True),
        ("[1-9]?[!0]", "120", False),
        ("[!a]", "/", False),
        ("a.b", "axb", False),
        ("a\nb", "a\nb", True),
        ("/", "anything/at all", True),
    ],
)
def test_path_patterns_match_names_and_what_lies_below(glob: str, path: str, fits: bool) -> None:
    assert bool(compile_globs([glob], "key").search(path)) is fits


def test_no_patterns_match_nothing() -> None:
    assert compile_globs([], "key").search("") is None
