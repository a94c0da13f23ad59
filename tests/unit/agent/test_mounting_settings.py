"""Are the mount helper's settings taken only from root, and only if they mean something?"""

from __future__ import annotations

import os
import pwd
import tomllib
from pathlib import Path

import pytest

from agent.mounting.cli import main
from agent.mounting.filesystems import FileSystem
from agent.mounting.options import mount_options
from agent.mounting.places import parse_mounts
from agent.mounting.settings import MounterConfigError, load_settings, parse_settings
from agent.mounting.setup import INSTALLED, filled, installation

SOMEBODY = next(user.pw_name for user in pwd.getpwall() if user.pw_uid != 0)
GOOD: dict[str, object] = {"agent_user": SOMEBODY, "bays": ["1-2.4"]}


def test_the_least_that_is_enough() -> None:
    settings = parse_settings(GOOD)
    assert settings.bays == {"1-2.4"}
    assert settings.user_id == pwd.getpwnam(SOMEBODY).pw_uid
    assert settings.file_systems == set(FileSystem)


@pytest.mark.parametrize(
    "wrong",
    [
        {"agent_user": "root"},
        {"agent_user": "nobody-of-this-name"},
        {"agent_user": 1000},
        {"bays": []},
        {"bays": "1-2"},
        {"bays": ["1-2", "sda"]},
        {"bays": [f"1-{port}" for port in range(1, 258)]},
        {"bays": [1]},
        {"base": "run/zhilu"},
        {"base": "/run/../etc"},
        {"base": "/run/zhi lu"},
        {"socket": ""},
        {"file_systems": ["ntfs"]},
        {"options": "suid"},
    ],
    ids=str,
)
def test_what_does_not_mean_anything_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(MounterConfigError):
        parse_settings({**GOOD, **wrong})


def test_file_systems_can_be_switched_off() -> None:
    assert parse_settings({**GOOD, "file_systems": ["vfat"]}).file_systems == {FileSystem.VFAT}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mounter.toml"
    path.write_text(f'agent_user = "{SOMEBODY}"\nbays = ["1-2.4"]\n')
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    return path


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to root")


@needs_root
def test_roots_file_is_read(file: Path) -> None:
    assert load_settings(file).bays == {"1-2.4"}


@needs_root
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(MounterConfigError, match="belong to root"):
        load_settings(file)


@needs_root
def test_a_folder_others_may_write_is_refused(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(MounterConfigError, match="belong to root"):
        load_settings(file)


@needs_root
def test_somebody_elses_file_is_refused(file: Path) -> None:
    os.chown(file, 1000, 1000)
    with pytest.raises(MounterConfigError, match="belong to root"):
        load_settings(file)


@needs_root
@pytest.mark.parametrize("content", [b"\xff", b"bays = [", b"#" * 70_000])
def test_a_file_that_cannot_be_read_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(MounterConfigError):
        load_settings(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MounterConfigError):
        load_settings(tmp_path / "mounter.toml")


def test_what_setup_prints_are_settings_that_are_accepted() -> None:
    text = filled("mounter.toml", user=SOMEBODY, bays=["1-2.4", "2-2.4"], program=Path("zhilu-mounter"))
    assert parse_settings(tomllib.loads(text)).bays == {"1-2.4", "2-2.4"}


def test_setup_prints_every_file_and_leaves_nothing_to_fill_in() -> None:
    text = installation(user="zhilu-agent", bays=["1-2.4"], program=Path("/opt/zhilu/bin/zhilu-mounter"))
    assert all(f"cat > {place} <<" in text for place in INSTALLED.values())
    assert 'KERNELS=="1-2.4", ENV{ZHILU_BAY}="1-2.4"' in text
    assert "ExecStart=/opt/zhilu/bin/zhilu-mounter run" in text
    assert "@" not in text.replace("@mount", "")


def test_setup_is_a_dry_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", "--user", "station", "--bay", "1-2.4"]) == 0
    assert 'agent_user = "station"' in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", [["--bay", "sda"], ["--bay", '1-2"'], ["--user", "a b"], ["--user", "x';y"]]
)
def test_setup_prints_nothing_it_was_not_meant_to(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["setup", *wrong])
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_without_settings_it_says_so_and_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--settings", str(tmp_path / "mounter.toml")]) == 1
    assert "mounter.toml cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("file_system", FileSystem)
@pytest.mark.parametrize("writable", [False, True])
def test_no_card_can_stop_the_station_by_its_errors(file_system: FileSystem, writable: bool) -> None:
    options = mount_options(file_system, writable=writable, user_id=1500, group_id=1500)
    assert options["errors"] == "remount-ro"


def test_a_journal_is_not_replayed_for_reading_and_is_used_for_writing() -> None:
    reading = mount_options(FileSystem.EXT4, writable=False, user_id=1500, group_id=1500)
    writing = mount_options(FileSystem.EXT4, writable=True, user_id=1500, group_id=1500)
    assert "noload" in reading
    assert "noload" not in writing


@pytest.mark.parametrize("file_system", [FileSystem.VFAT, FileSystem.EXFAT])
def test_what_has_no_owners_belongs_to_the_agent_alone(file_system: FileSystem) -> None:
    options = mount_options(file_system, writable=False, user_id=1500, group_id=1600)
    assert (options["uid"], options["gid"], options["umask"]) == ("1500", "1600", "0277")


def test_places_of_mounts_are_read_with_their_escapes() -> None:
    text = (
        b"22 1 0:20 / / rw - overlay overlay rw\n"
        b"31 22 8:17 / /run/a\\040b\\134c ro,nosuid shared:5 - vfat /dev/sdb1 ro\n"
        b"nonsense\n"
    )
    assert list(parse_mounts(text)) == [("0:20", b"/"), ("8:17", b"/run/a b\\c")]
