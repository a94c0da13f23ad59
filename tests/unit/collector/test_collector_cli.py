"""The operator's words: what each command leaves behind, says, and answers with when it cannot."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.cli import main
from collector.config import CollectorConfig
from collector.log.tile_files import WriterLease
from protocol.enrolment_code import EnrolmentCode
from protocol.log_reading import LogCopy, read_entries
from protocol.note import VerifierKey
from protocol.tiles import parse_tile_path


@dataclass
class Desk:
    """An operator with one data directory; ``said`` is what the last command printed."""

    data: Path
    capture: pytest.CaptureFixture[str]
    said: str = ""
    complaint: str = ""

    def do(self, *words: str) -> int:
        code = main([*words, "--data", str(self.data)])
        self.said, self.complaint = self.capture.readouterr()
        return code

    def do_json(self, *words: str) -> dict[str, object]:
        self.do(*words, "--json")
        answer: dict[str, object] = json.loads(self.said)
        return answer

    def error_code(self, *words: str) -> object:
        answer = self.do_json(*words)["error"]
        assert isinstance(answer, dict)
        return answer["code"]

    def init(self, name: str = "court", *words: str) -> int:
        return self.do("init", "--name", name, "--agency", "a", "--hostname", "127.0.0.1", *words)

    def everything(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.data)): path.read_bytes()
            for path in sorted(self.data.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    umask = os.umask(0o022)
    yield Desk(tmp_path / "data", capsys)
    os.umask(umask)


def test_init_makes_a_collector_and_tells_its_key(desk: Desk) -> None:
    assert desk.init() == 0
    config = CollectorConfig.load(desk.data)
    assert (config.name, config.agencies, config.url) == ("court", ("a",), "https://127.0.0.1:8443")
    key = (desk.data / "log" / "vkey").read_text().strip()
    assert key in desk.said
    assert VerifierKey.parse(key).name == "zhilu/court"
    copy = LogCopy(b"", lambda tile: (desk.data / "log" / tile.path).read_bytes())
    assert len(list(read_entries(copy, 0, 1, 1))) == 1
    assert parse_tile_path("tile/0/000.p/1").width == 1


def test_what_init_makes_is_for_its_own_user_alone(desk: Desk) -> None:
    desk.init()
    for path in [desk.data, *desk.data.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        is_public = path.suffix == ".pem" or path.name == "collector.toml"
        assert mode & 0o007 == 0 or is_public, path
        if path.suffix == ".key":
            assert mode == 0o600


def test_init_again_changes_nothing(desk: Desk) -> None:
    desk.init()
    first, said = desk.everything(), desk.said
    assert desk.init() == 0
    assert desk.everything() == first
    assert desk.said == said


def test_init_again_may_change_settings_but_not_the_log(desk: Desk) -> None:
    desk.init()
    log = {path: data for path, data in desk.everything().items() if path.startswith(("log/", "keys/"))}
    assert desk.init("court", "--agency", "b", "--http-port", "9443") == 0
    config = CollectorConfig.load(desk.data)
    assert (config.agencies, config.http_port) == (("a", "b"), 9443)
    assert log.items() <= desk.everything().items()


def test_a_collector_cannot_be_renamed(desk: Desk) -> None:
    desk.init()
    before = desk.everything()
    assert desk.init("another") == 1
    assert "log-key-changed" in desk.complaint
    assert desk.everything() == before


@pytest.mark.parametrize("lost", ["keys/log.key", "keys/statement.key", "log/checkpoint"])
@pytest.mark.parametrize("command", ["init", "run"])
def test_what_a_backup_must_bring_back_is_not_made_anew(desk: Desk, lost: str, command: str) -> None:
    """A second log under the first one's name would be a fork."""
    desk.init()
    (desk.data / lost).unlink()
    before = desk.everything()
    assert (desk.init() if command == "init" else desk.do("run")) == 1
    assert ("key-file" if "key" in lost else "log-missing") in desk.complaint
    assert desk.everything() == before


def test_init_that_was_interrupted_is_finished(desk: Desk) -> None:
    desk.init()
    (desk.data / "collector.toml").unlink()
    (desk.data / "log" / "checkpoint").unlink()
    keys = (desk.data / "keys" / "log.key").read_bytes()
    assert desk.init() == 0
    assert (desk.data / "keys" / "log.key").read_bytes() == keys
    assert (desk.data / "log" / "checkpoint").exists()


@pytest.mark.parametrize("command", ["init", "run"])
def test_one_collector_at_a_time(desk: Desk, command: str) -> None:
    desk.init()
    before = desk.everything()
    lease = WriterLease(desk.data / "log")
    try:
        assert (desk.init("other") if command == "init" else desk.do("run")) == 1
        assert "log-locked" in desk.complaint
    finally:
        lease.release()
    assert desk.everything() == before


def test_an_enrolment_code_has_all_a_station_needs(desk: Desk) -> None:
    desk.init()
    answer = desk.do_json("enrolment-code", "--station", "dock-1")
    code = EnrolmentCode.from_text(str(answer["code"]))
    assert (code.station, code.agencies, code.url) == ("dock-1", ("a",), "https://127.0.0.1:8443")
    assert str(code.log_key) == (desk.data / "log" / "vkey").read_text().strip()
    assert desk.do("enrolment-code", "--station", "dock-2") == 0
    assert EnrolmentCode.from_text(desk.said).station == "dock-2"


def test_a_token_is_shown_once_and_not_kept(desk: Desk) -> None:
    desk.init()
    token = str(desk.do_json("token", "--name", "cases", "--scope", "clips:read")["token"])
    assert token.startswith("zlt_")
    secret = token.rsplit("_", 1)[1].encode()
    assert not any(secret in data for data in desk.everything().values())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("enrolment-code", "--station", "dock-1", "--agency", "b"), "agency-unknown"),
        (("enrolment-code", "--station", "Dock 1"), None),
        (("token", "--name", "", "--scope", "clips:read"), None),
        (("token", "--name", "x" * 100, "--scope", "clips:read"), "register-refused"),
    ],
)
def test_what_cannot_be_done_says_why(desk: Desk, words: tuple[str, ...], code: str | None) -> None:
    desk.init()
    assert desk.do(*words) == 1
    assert desk.complaint.startswith("zhilu-collector: ")
    assert desk.said == ""
    assert code is None or desk.error_code(*words) == code


@pytest.mark.parametrize(
    "words",
    [("run",), ("enrolment-code", "--station", "d"), ("token", "--name", "x", "--scope", "clips:read")],
)
def test_without_a_collector_the_way_to_one_is_told(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.do(*words) == 1
    assert "config-invalid" in desk.complaint
    assert "zhilu-collector init" in desk.complaint


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "Court!", "--agency", "a"),
        ("--name", "court", "--agency", "A"),
        ("--name", "court", "--agency", "a", "--http-port", "0"),
        ("--name", "court", "--agency", "a", "--host", "it's"),
        ("--name", "court", "--agency", "a", "--host", "a\tb"),
        ("--name", "court", "--agency", "a", "--hostname", "münchen.example"),
    ],
)
def test_settings_that_cannot_be_used_leave_no_collector(desk: Desk, words: tuple[str, ...]) -> None:
    assert desk.do("init", *words) == 1
    assert desk.complaint
    assert not (desk.data / "collector.toml").exists()


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff", b"name = 1", b"x", b"name = 'court'\nagencies = 'a'\n"],
)
def test_damaged_settings_are_named(desk: Desk, damage: bytes) -> None:
    desk.init()
    (desk.data / "collector.toml").write_bytes(damage)
    assert desk.error_code("run") == "config-invalid"


@pytest.mark.parametrize(
    "words",
    [
        ["init"],
        ["run"],
        ["fly"],
        [],
        ["token", "--data", "x", "--name", "x", "--scope", "everything"],
        ["enrolment-code", "--data", "x", "--station", "d", "--valid-hours", "0"],
        ["enrolment-code", "--data", "x", "--station", "d", "--valid-hours", "9" * 30],
        ["token", "--data", "x", "--name", "n", "--scope", "clips:read", "--valid-days", "-1"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    """The bare package is installed: the command is there, its libraries are not."""
    program = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from collector.cli import main; sys.exit(main(['run', '--data', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "zhilu-collector needs aiohttp" in done.stderr
    assert "Traceback" not in done.stderr
