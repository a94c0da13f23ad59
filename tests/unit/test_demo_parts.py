"""Do the scripts parse, refuse what cannot be meant before they touch anything, and clean up after themselves?"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import demo_processes
from scripts.demo_processes import Child, DemoError, call, free_port
from scripts.demo_run import main, volume_names

ROOT = Path(__file__).parents[2]
BASH_SCRIPTS = ["scripts/demo", "scripts/test", "scripts/setup.sh", ".ci/run"]

needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="not installed: util-linux")


@pytest.mark.parametrize("script", BASH_SCRIPTS)
def test_a_script_is_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("script", ["scripts/demo", "scripts/test", ".ci/run"])
def test_a_script_can_be_started(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    assert "set -euo pipefail" in (ROOT / script).read_text()


def setup_says(expression: str, **environment: str) -> str:
    """What an expression prints with the setup's functions at hand."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". {ROOT / 'scripts/setup.sh'}; {expression}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_only_packages_of_missing_commands_are_wanted() -> None:
    assert setup_says("missing_packages bash:bash no-such-command:no-such-package") == "no-such-package\n"


def test_daemons_are_found_though_their_folder_is_not_in_the_path() -> None:
    daemon = next(
        path.name for path in Path("/usr/sbin").iterdir() if not Path("/usr/bin", path.name).exists()
    )
    assert setup_says(f"missing_packages {daemon}:package", PATH="/usr/bin:/bin") == ""


def test_a_python_that_is_new_enough_is_found() -> None:
    python = setup_says("usable_python").strip()
    assert subprocess.run([python, "-c", "import sys; assert sys.version_info >= (3, 11)"], check=True)


# Usage


def usage_error(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_help_is_given_without_setting_anything_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usage_error("--help") == 0
    assert "--source" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_source_that_is_no_directory_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "file").touch()
    assert usage_error("--source", str(tmp_path / name), "--data", str(tmp_path / "data")) == 2
    assert "is not a directory" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_source_around_the_demos_own_data_is_a_usage_error(tmp_path: Path) -> None:
    assert usage_error("--source", str(tmp_path), "--data", str(tmp_path / "data")) == 2
    assert usage_error("--source", str(tmp_path), "--data", str(tmp_path)) == 2
    assert list(tmp_path.iterdir()) == []


def test_every_source_gets_a_name_of_its_own_that_is_docked(tmp_path: Path) -> None:
    assert volume_names([Path("/a/card"), Path("/b/other")]) == ["card", "other"]
    assert volume_names([Path("/a/card"), Path("/b/card"), Path("/c/other")]) == [
        "card-1",
        "card-2",
        "other-3",
    ]
    assert volume_names([Path("/a/.hidden"), Path("/")]) == ["hidden", "recorder"]
    assert volume_names([tmp_path / "."]) == [tmp_path.name]


# Child processes


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"zhilu-agent status.*no-status"):
        call("zhilu-agent", "status", "--data", str(tmp_path))


@pytest.fixture
def sleeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands in place of ours: ``sleeper`` says so and sleeps."""
    monkeypatch.setattr(demo_processes, "BIN", tmp_path)
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\necho awake\nexec sleep 1000\n")
    sleeper.chmod(0o700)
    return tmp_path


@needs_setpriv
def test_a_child_runs_until_it_is_stopped(sleeping: Path) -> None:
    child = Child("sleeper", log=sleeping / "log")
    child.check()
    child.stop()
    with pytest.raises(DemoError, match=r"sleeper ended with -15, see .*log"):
        child.check()
    child.stop()


@needs_setpriv
def test_a_child_does_not_outlive_the_demo_even_when_that_is_killed(sleeping: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from scripts import demo_processes as d; d.BIN = Path(sys.argv[1]);"
        " c = d.Child('sleeper', log=None); os.write(1, b'%d\\n' % c._process.pid); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, sleeping],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = {demo.stdout.readline().strip(), demo.stdout.readline().strip()}
        (pid,) = (int(line) for line in said if line.isdigit())
        descriptor = os.pidfd_open(pid)
        demo.send_signal(signal.SIGKILL)
        demo.wait()
        assert wait_ended(descriptor), "the child goes on"
    os.close(descriptor)


def wait_ended(descriptor: int) -> bool:
    """Whether the process behind a pidfd ends within half a minute."""
    return bool(select.select([descriptor], [], [], 30)[0])


def test_a_free_port_can_be_listened_on() -> None:
    assert 1024 < free_port() < 65536
