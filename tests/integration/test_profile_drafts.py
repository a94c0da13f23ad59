"""Does a recorder nobody knows become a profile that is valid at once, knows it again, and dares nothing?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import main
from firmware_profiles.draft import Shown, draft_profile
from firmware_profiles.errors import NothingToTellByError, ProfileMalformedError
from firmware_profiles.load import load_profile, load_registry
from firmware_profiles.registry import Registry
from protocol.listing import display_path
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import Ambarella, Disk, Recorder

NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))


def volume(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"footage")
    return folder


def test_a_card_becomes_a_folder_that_check_and_test_accept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = volume(tmp_path / "card", "REC/V0001.MP4", "REC/V0001.GPS", "REC/V0002.MP4", "设置.ini")
    home = tmp_path / "families" / "hall"
    assert main(["profiles", "new", str(home), "--volume", str(card)]) == 0
    assert "listings/first.json" in capsys.readouterr().out
    assert main(["profiles", "check", str(home)]) == 0
    assert main(["profiles", "test", str(home)]) == 0
    profile = load_profile(home)
    assert (profile.kind_of("V0001.MP4"), profile.kind_of("V0001.GPS")) == ("video", "sidecar")
    assert not profile.release.allowed
    assert profile.usb is None
    assert "V0001.MP4" in (home / "profile.toml").read_text("utf-8")


def test_names_of_a_known_rule_are_read_by_it(tmp_path: Path) -> None:
    card = volume(tmp_path / "card", "ZFY0001_031415_20260131081530.mp4")
    home = tmp_path / "families" / "hall"
    assert main(["profiles", "new", str(home), "--volume", str(card)]) == 0
    profile = load_profile(home)
    assert [grammar.name for grammar in profile.grammars] == ["n1"]
    assert profile.identity.recorder == ("name",)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = volume(tmp_path / "card", "a.mp4")
    (tmp_path / "hall").mkdir()
    assert main(["profiles", "new", str(tmp_path / "hall"), "--volume", str(card), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "system"
    assert list((tmp_path / "hall").iterdir()) == []


@pytest.mark.parametrize(("name", "files"), [("hall", ()), ("Hall 1", ("a.mp4",))], ids=["no files", "no id"])
def test_nothing_is_written_when_there_is_nothing_to_tell_by(
    tmp_path: Path, name: str, files: tuple[str, ...]
) -> None:
    (tmp_path / "card").mkdir()
    volume(tmp_path / "card", *files)
    assert main(["profiles", "new", str(tmp_path / name), "--volume", str(tmp_path / "card")]) == 1
    assert not (tmp_path / name).exists()


def test_without_a_station_there_is_no_bay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "new", str(tmp_path / "hall"), "--bay", "A01", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not-plugged"


@pytest.mark.parametrize(("recorder", "asks"), [(Ambarella(), True), (Disk(), False)], ids=["locked", "disk"])
def test_what_would_have_to_be_said_to_it_is_only_a_comment(
    tmp_path: Path, recorder: Recorder, asks: bool
) -> None:
    seen = MemoryUsbBus().plug(recorder, "1-2")
    text = draft_profile("hall", Shown(label="X", paths=["a.mp4"], device=seen, kinds={}, rules={}))
    assert ("# [usb.match]" in text) is asks
    assert "\n[usb" not in text


@given(
    label=st.none() | NAMES, paths=st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=8)
)
def test_whatever_a_recorder_shows_its_draft_is_valid_and_knows_it(
    tmp_path_factory: pytest.TempPathFactory, label: str | None, paths: list[str]
) -> None:
    shown = Shown(
        label=label,
        paths=[display_path(path.encode()) for path in paths],
        device=None,
        kinds={"mp4": "video"},
        rules={},
    )
    home = tmp_path_factory.mktemp("families") / "hall"
    home.mkdir()
    try:
        text = draft_profile("hall", shown)
    except NothingToTellByError:
        assert not paths
        return
    (home / "profile.toml").write_text(text, "utf-8")
    registry = Registry((*load_registry().profiles, load_profile(home)))
    assert registry.choose(label=label, paths=shown.paths).id == "hall"


@pytest.mark.parametrize("family", ["", "1a", "A", "a b", "a/b", "a" * 64])
def test_an_id_is_one(family: str) -> None:
    with pytest.raises(ProfileMalformedError):
        draft_profile(family, Shown(label=None, paths=["a"], device=None, kinds={}, rules={}))
