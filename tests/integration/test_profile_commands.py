"""Can somebody who writes no code add a recorder family, and is told everything that is wrong with it?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agent.config import AgentConfig, ConfigError
from agent.offload.stocktake import take_stock
from firmware_profiles.errors import ProfileConflict
from firmware_profiles.load import load_registry
from protocol.claims import Claim
from tests.support.memory_volume import MemoryVolume
from tests.support.processes import BIN

PROFILE = """\
schema = 1
id = "hall_dsj"
version = "1.0.0"
use = ["computers"]

[title]
zh = "大厅型执法记录仪"
en = "Hall recorder"

[match]
rank = 800
volume_labels = ["DSJ-HALL*"]
file_names = ["hall"]

[media]
roots = ["/REC"]

[media.kinds]
video = ["mp4"]

[[file_name]]
name = "hall"
regex = 'V(?P<recorder>[0-9]{5})-(?P<started_at>[0-9]{12})-(?P<sequence>[0-9]{3})(?P<mark>!)?\\.mp4'
started_at = { format = "%y%m%d%H%M%S", zone = "+08:00" }

[mark]
values = ["!"]

[identity]
recorder = ["marker file", "name"]

[identity.marker]
path = "/系统/设备.ini"
regex = '(?m)^编号=(?P<recorder>[0-9]{5})\\s*$'
encoding = "gbk"

[reading]
order = ["marked", "newest"]

[release]
allowed = false
why = "尚未在实机上验证"
"""
LISTING: dict[str, Any] = {
    "schema": 1,
    "about": "Written for a test, not from hardware.",
    "source": "public descriptions",
    "volume_label": "DSJ-HALL-3",
    "files": [
        {
            "path": "系统/设备.ini",
            "size_bytes": 30,
            "content": "型号=X\r\n编号=00042\r\n",
            "expect": {"rule": "outside-media-roots"},
        },
        {
            "path": "REC/V00042-260131081530-001!.mp4",
            "size_bytes": 9,
            "expect": {
                "kind": "video",
                "recorder": "00042",
                "started_at": "2026-01-31T00:15:30.000Z",
                "sequence": 1,
                "marked": True,
            },
        },
    ],
    "expect": {"profile": "hall_dsj", "recorder": "00042", "recorder_source": "marker file"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A station's data directory with one family of its own."""
    home = tmp_path / "families" / "hall_dsj"
    (home / "listings").mkdir(parents=True)
    (home / "profile.toml").write_text(PROFILE, "utf-8")
    (home / "listings" / "hall.json").write_text(json.dumps(LISTING), "utf-8")
    (tmp_path / "agent.toml").write_text('profiles_dir = ["families"]', "utf-8")
    return tmp_path


def profiles(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [BIN / "zhilu-agent", "profiles", *arguments], capture_output=True, check=False, timeout=60
    )
    said = (done.stdout + done.stderr).decode()
    assert "Traceback" not in said
    return done.returncode, said


def values(*arguments: str | Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(profiles(*arguments, "--json")[1])
    return answer


def test_a_new_family_is_one_folder_and_no_code(folder: Path) -> None:
    home = folder / "families" / "hall_dsj"
    assert profiles("check", home)[0] == 0
    code, said = profiles("test", home, home / "listings" / "hall.json")
    assert code == 0
    assert "选用 chosen: hall_dsj" in said
    registry = load_registry(AgentConfig.load(folder).profile_folders)
    contents = {entry["path"].encode(): entry.get("content", "x").encode("gbk") for entry in LISTING["files"]}
    volume = MemoryVolume(contents, label=LISTING["volume_label"])
    with take_stock(volume, registry, ZoneInfo("Asia/Shanghai")) as stock:
        assert stock.found.profile.id == "hall_dsj"
        assert stock.found.recorder == Claim("00042", "marker file")


def test_the_stations_own_families_are_listed_beside_the_shipped_ones(folder: Path) -> None:
    listed = {profile["id"]: profile for profile in values("list", "--data", folder)["profiles"]}
    assert listed.keys() > {"hall_dsj", "generic", "name_n1"}
    assert listed["hall_dsj"]["release"] == {"allowed": False, "why": "尚未在实机上验证"}
    assert "hall_dsj" not in values("list")["profiles"]
    said = profiles("list", "--data", folder)[1]
    assert "大厅型执法记录仪" in said
    assert "未在实机上验证" in said


def test_what_talks_with_a_device_untried_is_listed_as_off() -> None:
    listed = {profile["id"]: profile for profile in values("list")["profiles"]}
    assert {name for name, profile in listed.items() if profile["sends"]} == {
        "ambarella",
        "example_hid_unlock",
        "example_vendor_scsi",
    }
    assert not any(profile["on"] for profile in listed.values() if profile["sends"])


def test_every_mistake_is_said_at_once_with_file_and_key(folder: Path) -> None:
    home = folder / "families" / "hall_dsj"
    wrong = PROFILE.replace("rank = 800", 'rank = "high"').replace('version = "1.0.0"', "colour = 1")
    (home / "profile.toml").write_text(wrong.replace('roots = ["/REC"]', "roots = []"), "utf-8")
    code, said = profiles("check", folder / "families")
    assert code == 1
    for key in ("colour", "version", "match.rank", "media.roots"):
        assert f"{home / 'profile.toml'}: {key}: " in said
    assert "must be of type integer, not str" in said


def test_mistakes_of_meaning_are_said_at_once_too(folder: Path) -> None:
    home = folder / "families" / "hall_dsj"
    wrong = PROFILE.replace("%y%m%d%H%M%S", "%Q").replace("(?m)^编号", "(?m)^(?=编)号")
    (home / "profile.toml").write_text(wrong.replace("/REC", "REC"), "utf-8")
    (found,) = values("check", home)["faults"].values()
    keys = [fault.removeprefix(f"{home / 'profile.toml'}: ").split(": ")[0] for fault in found]
    assert keys == ["file_name[0].started_at.format", "media.roots[0]", "identity.marker.regex"]


def test_a_listing_that_is_read_otherwise_is_a_fault(folder: Path) -> None:
    home = folder / "families" / "hall_dsj"
    listing = json.loads(json.dumps(LISTING))
    listing["files"][1]["expect"]["sequence"] = 2
    (home / "listings" / "hall.json").write_text(json.dumps(listing), "utf-8")
    for arguments in (("check", home), ("test", home)):
        code, said = profiles(*arguments)
        assert code == 1
        assert "sequence: 2 expected, 1 found" in said


def test_a_listing_that_another_family_takes_is_said_and_why() -> None:
    listing = Path(__file__).parents[2] / "firmware_profiles" / "name_n4" / "listings"
    code, said = profiles("test", "name_n1", listing / "marked-and-encrypted.json")
    assert code == 1
    assert "选用 chosen: name_n4" in said
    assert "name_n1 (500) 不符 does not show: 文件名规则 file_names" in said


def test_two_families_of_one_name_are_an_error_that_names_both(folder: Path) -> None:
    home = folder / "families" / "dcf"
    home.mkdir()
    shipped = Path(__file__).parents[2] / "firmware_profiles" / "dcf"
    (home / "profile.toml").write_bytes((shipped / "profile.toml").read_bytes())
    for arguments in (("check", home), ("list", "--data", folder)):
        code, said = profiles(*arguments)
        assert code == 1
        assert "profile dcf is given twice" in said
        assert str(home) in said
    with pytest.raises(ProfileConflict, match=str(home)):
        load_registry([folder / "families"])


def test_a_second_fallback_cannot_be_used(folder: Path) -> None:
    home = folder / "families" / "hall_dsj"
    criteria = 'volume_labels = ["DSJ-HALL*"]\nfile_names = ["hall"]'
    (home / "profile.toml").write_text(PROFILE.replace(criteria, "fallback = true"), "utf-8")
    (home / "listings" / "hall.json").unlink()
    code, said = profiles("check", home)
    assert code == 1
    assert "more than one fallback: generic, hall_dsj" in said


def test_names_from_a_card_cannot_command_the_terminal(folder: Path) -> None:
    home = folder / "families" / "hall_dsj"
    listing = LISTING | {
        "files": [{"path": "REC/\x1b[2Jx\n.mp4", "size_bytes": 1}],
        "expect": {"profile": "x"},
    }
    (home / "listings" / "hall.json").write_text(json.dumps(listing), "utf-8")
    said = profiles("test", home)[1]
    assert "\x1b" not in said
    assert "REC/\\x1b[2Jx\\n.mp4" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("test", "nobody"),
        ("check", "/nowhere"),
        ("test", "generic", "/nowhere.json"),
        ("list", "--data", "."),
    ],
)
def test_what_is_not_there_is_said_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    if arguments[-1] == ".":
        (tmp_path / "agent.toml").write_text('profiles_dir = ["gone"]', "utf-8")
        arguments = (*arguments[:-1], str(tmp_path))
    code, said = profiles(*arguments)
    assert code == 1
    assert said.startswith("zhilu-agent: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("value", ["5", '"families"', "[5]", '[""]'])
def test_own_folders_are_a_list_of_folders(tmp_path: Path, value: str) -> None:
    (tmp_path / "agent.toml").write_text(f"profiles_dir = {value}", "utf-8")
    with pytest.raises(ConfigError, match="profiles_dir"):
        AgentConfig.load(tmp_path)
