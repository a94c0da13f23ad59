"""Are profiles refused for every mistake, with the key at fault, and is the published schema the rule applied?"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import firmware_profiles
from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.globs import compile_globs
from firmware_profiles.load import load_profile, load_registry
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

Change = Callable[[dict[str, Any]], object]

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
    assert (
        loaded
        == {home.name for home in homes}
        == {
            *("name_n1", "dcf", "generic"),
            *("ambarella", "example_hid_unlock", "example_vendor_scsi"),
        }
    )
    for home in homes:
        assert f"# {home.name}" in (home / "README.md").read_text("utf-8")


def test_a_station_adds_its_own_profiles(tmp_path: Path) -> None:
    home = tmp_path / "own"
    home.mkdir()
    text = (HOME / "dcf" / "profile.toml").read_text("utf-8")
    (home / "profile.toml").write_text(text.replace('id = "dcf"', 'id = "own"'), "utf-8")
    (tmp_path / "README.md").write_text("not a profile", "utf-8")
    assert "own" in {profile.id for profile in load_registry([tmp_path]).profiles}


@pytest.mark.parametrize("data", [b"\xff", b"= 5", b"schema = 1", b"# " + b"x" * 300_000])
def test_a_broken_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "profile.toml").write_bytes(data)
    with pytest.raises(ProfileMalformedError, match=f"{tmp_path.name}/profile.toml"):
        load_profile(tmp_path)


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
