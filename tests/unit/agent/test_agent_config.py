"""Are a station's settings what the file says, and is a file that cannot be meant refused with the reason?"""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.config import CONFIG_NAME, AgentConfig, ConfigError


def loaded(folder: Path, text: str) -> AgentConfig:
    (folder / CONFIG_NAME).write_text(text)
    return AgentConfig.load(folder)


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    config = AgentConfig.load(tmp_path / "nowhere")
    assert config == AgentConfig(data_dir=tmp_path / "nowhere", dock_dir=tmp_path / "nowhere" / "dock")
    assert config.zone == ZoneInfo("Asia/Shanghai")
    assert loaded(tmp_path, "") == AgentConfig(data_dir=tmp_path, dock_dir=tmp_path / "dock")


def test_every_setting_can_be_set(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        'dock_dir = "/media/recorders"\nzone = "Asia/Urumqi"\nsettle_s = 0.5\nbays_at_once = 8\n'
        'uploads_at_once = 2\nreserve_mib = 64\nkeep_days = 0\n[holders]\nZFY0001 = "jing-an"\n"7" = "pu-tuo"\n',
    )
    assert config == AgentConfig(
        data_dir=tmp_path,
        dock_dir=Path("/media/recorders"),
        zone_name="Asia/Urumqi",
        settle_s=0.5,
        bays_at_once=8,
        uploads_at_once=2,
        reserve_bytes=64 * 1024 * 1024,
        keep_days=0,
        holders={"ZFY0001": "jing-an", "7": "pu-tuo"},
    )


def test_a_relative_dock_folder_is_below_the_data_directory(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'dock_dir = "bays"').dock_dir == tmp_path / "bays"


def test_a_stations_files_are_below_its_data_directory(tmp_path: Path) -> None:
    config = AgentConfig.load(tmp_path)
    for path in (
        config.keys_dir,
        config.spool_dir,
        config.rendering_dir,
        config.journal_path,
        config.status_path,
    ):
        assert path.parent == tmp_path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("setle_s = 1", "unknown settings: setle_s"),
        ("settle_s = ", "cannot be read"),
        ("settle_s = 0", "settle_s"),
        ("settle_s = 3601", "settle_s"),
        ("settle_s = nan", "settle_s"),
        ("settle_s = inf", "settle_s"),
        ("settle_s = true", "settle_s must be a number"),
        ('settle_s = "1"', "settle_s must be a number"),
        ("bays_at_once = 0", "bays_at_once"),
        ("bays_at_once = 65", "bays_at_once"),
        ("bays_at_once = 2.5", "bays_at_once must be a whole number"),
        ("bays_at_once = inf", "bays_at_once must be a whole number"),
        ("uploads_at_once = 33", "uploads_at_once"),
        ("uploads_at_once = true", "uploads_at_once must be a whole number"),
        ("reserve_mib = -1", "reserve_mib"),
        ("reserve_mib = 1000000000000", "reserve_mib"),
        ("keep_days = -1", "keep_days"),
        ("keep_days = 1000000000000", "keep_days"),
        ("keep_days = nan", "keep_days must be a whole number"),
        ("dock_dir = 7", "dock_dir must be a text"),
        ('dock_dir = ""', "dock_dir must be a text"),
        ('zone = "Asia/Nowhere"', "unknown time zone"),
        ('zone = "Asia"', "unknown time zone"),
        ('zone = "../../etc/passwd"', "unknown time zone"),
        (f'zone = "{"x" * 5000}"', "unknown time zone"),
        ("zone = 8", "zone must be a text"),
        ("holders = 7", "holders"),
        ("[holders]\nZFY0001 = 7", "holders"),
        ('[holders]\nZFY0001 = "No Such Name"', "holders: agency"),
        ("# " + 70_000 * "x", "more than 65536 bytes"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        loaded(tmp_path, text)
    assert caught.value.code == "config-invalid"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        AgentConfig.load(tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        AgentConfig.load(tmp_path)
