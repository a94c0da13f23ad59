"""Does docs/profiles.md tell the truth: followed as it is written, does a station print what it shows?"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from firmware_profiles.shape import PROFILE_SCHEMA
from tests.support.processes import BIN

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
FAMILIES = "/etc/zhilu/families"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Each command of the page and what it shows below."""
    said = "".join(blocks("console"))
    return [(line, shown) for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", said, re.MULTILINE)]


@pytest.fixture
def station(tmp_path: Path) -> Path:
    profile, settings = blocks("toml")
    home = tmp_path / "families" / "dsj_hall"
    (home / "listings").mkdir(parents=True)
    (home / "profile.toml").write_text(profile, "utf-8")
    (home / "listings" / "day.json").write_text(blocks("json")[0], "utf-8")
    (tmp_path / "agent.toml").write_text(settings.replace(FAMILIES, str(tmp_path / "families")), "utf-8")
    return tmp_path


def said(station: Path, line: str) -> str:
    """What the page's command prints, with the page's folders in the place of ours."""
    words = line.replace(FAMILIES, str(station / "families")).replace("/var/lib/zhilu-agent", str(station))
    program, *arguments = words.split()
    done = subprocess.run([BIN / program, *arguments], capture_output=True, check=False, timeout=60)
    return (done.stdout + done.stderr).decode().replace(str(station / "families"), FAMILIES)


def test_a_family_is_checked_and_tried_as_shown(station: Path) -> None:
    (check, shown), (try_out, tried), *_ = commands()
    assert said(station, check) == shown
    assert said(station, try_out) == tried


def test_mistakes_look_as_shown(station: Path) -> None:
    profile = station / "families" / "dsj_hall" / "profile.toml"
    text = profile.read_text("utf-8").replace("rank = 800", 'rank = "high"').replace('["mp4"]', '["MP4"]')
    profile.write_text(text, "utf-8")
    check, shown = commands()[2]
    assert said(station, check) == shown


def test_the_family_is_listed_as_shown(station: Path) -> None:
    listing, shown = commands()[3]
    assert shown.removeprefix("…\n") in said(station, listing) + "\n"
    assert os.sep not in shown


def keys(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, below in schema.get("properties", {}).items():
        if name != "usb":
            yield name
            yield from keys(below)
    if "items" in schema:
        yield from keys(schema["items"])


def test_every_key_of_a_profile_is_explained() -> None:
    assert [key for key in keys(PROFILE_SCHEMA) if f"`{key}`" not in PAGE] == []
