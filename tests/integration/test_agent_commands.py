"""Does ``zhilu-agent`` answer everybody who uses it wrongly, and end when it is told to, whatever it is doing?"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.clock import utc_now
from agent.enrol_errors import CodeInvalidError
from agent.lease import StationLease
from protocol.times import format_time
from tests.support.cards import MIB
from tests.support.processes import BIN, Site, call, needs_site, open_site, wait_until

AGENT = BIN / "zhilu-agent"


def command(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([AGENT, *arguments], input=stdin, capture_output=True, check=False, timeout=60)


def refused(*arguments: str | Path, stdin: bytes = b"") -> str:
    """The code of a command that could not be done, the same for people and for machines, and no trace."""
    people, machine = command(*arguments, stdin=stdin), command(*arguments, "--json", stdin=stdin)
    assert (people.returncode, machine.returncode) == (1, 1)
    assert people.stdout == b""
    error: dict[str, Any] = json.loads(machine.stdout)["error"]
    assert error.keys() == {"code", "detail"}
    said = people.stderr.decode()
    assert said.startswith(f"zhilu-agent: {error['code']}: ")
    assert "Traceback" not in said + machine.stderr.decode()
    return str(error["code"])


# Used wrongly


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run"], ["enroll", "--data", "x"], ["status"]])
def test_what_is_no_command_is_a_usage_error(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert b"usage: zhilu-agent" in done.stderr


def test_help_is_given() -> None:
    assert b"enroll" in command("--help").stdout


@pytest.mark.parametrize("code", ["", "执法"])
def test_a_bad_code_is_refused_wherever_it_comes_from(tmp_path: Path, code: str) -> None:
    assert refused("enroll", "--data", tmp_path, code) == CodeInvalidError.code
    assert refused("enroll", "--data", tmp_path, "-", stdin=code.encode() + b"\n") == CodeInvalidError.code


def test_bytes_on_standard_input_that_are_no_text_are_a_bad_code(tmp_path: Path) -> None:
    assert refused("enroll", "--data", tmp_path, "-", stdin=os.urandom(100_000)) == CodeInvalidError.code


def test_running_before_enrolling_says_what_to_do(tmp_path: Path) -> None:
    assert refused("run", "--data", tmp_path) == "station-not-enrolled"
    assert b"zhilu-agent enroll" in command("run", "--data", tmp_path).stderr


def test_the_status_before_the_first_run_says_what_to_do(tmp_path: Path) -> None:
    assert refused("status", "--data", tmp_path) == "no-status"
    assert b"zhilu-agent run" in command("status", "--data", tmp_path).stderr


@pytest.mark.parametrize("subcommand", [["enroll", "x"], ["run"], ["status"]])
def test_settings_that_cannot_be_meant_stop_every_command(tmp_path: Path, subcommand: list[str]) -> None:
    (tmp_path / "agent.toml").write_text("setle_s = 1\n")
    assert refused(*subcommand, "--data", tmp_path) == "config-invalid"


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused("run", "--data", tmp_path / "file") == "config-invalid"


# With a collector


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path / "site") as opened:
        opened.collector.start()
        yield opened


@needs_site
@pytest.mark.e2e
def test_a_code_can_come_from_standard_input_wrapped_by_mail(site: Site) -> None:
    code = site.collector.enrolment_code("dock-1")
    wrapped = "\r\n  ".join(code[at : at + 40] for at in range(0, len(code), 40)).encode()
    done = command("enroll", "--data", site.station.folder, "-", "--json", stdin=wrapped)
    assert json.loads(done.stdout) == {
        "station": "dock-1",
        "agencies": ["jing-an"],
        "url": site.collector.config.url,
    }
    again = command("enroll", "--data", site.station.folder, "-", stdin=wrapped)
    assert again.returncode == 0, "the same code again, by the same station, is harmless"
    assert "注册成功".encode() in again.stdout
    assert all(path.stat().st_mode & 0o077 == 0 for path in (site.station.folder / "keys").iterdir())


@needs_site
@pytest.mark.e2e
def test_a_running_station_tells_its_status_and_refuses_a_second_one(site: Site) -> None:
    site.station.enrol(site.collector.enrolment_code("dock-1"))
    site.station.start()
    wait_until(site.station.status, "a status", watch=site.children)
    assert refused("run", "--data", site.station.folder) == "already-running"
    status = call("zhilu-agent", "status", "--data", str(site.station.folder))
    assert (status["v"], status["state"], status["station"]) == (1, "online", "dock-1")
    assert "待报 0" in command("status", "--data", site.station.folder).stdout.decode()
    site.station.child.end()


def test_a_status_that_is_old_is_said_to_be_old(tmp_path: Path) -> None:
    status: dict[str, Any] = {
        "v": 1, "station": "dock-1", "bays": [], "rendering_obstacle": None,
        "collector": {"log_contradiction": None, "answers": True, "broker_connected": True},
        "backlog": {"statements": 0, "deliveries": 0, "media_jobs": 0},
    }  # fmt: skip
    for age, is_old in ((timedelta(0), False), (timedelta(hours=1), True)):
        status["at"] = format_time(utc_now() - age)
        (tmp_path / "status.json").write_text(json.dumps(status))
        assert ("可能未在运行" in command("status", "--data", tmp_path).stdout.decode()) == is_old


def test_a_terminal_without_chinese_shows_what_it_can(tmp_path: Path) -> None:
    status = (
        '{"v": 1, "at": "2026-01-01T00:00:00.000Z", "station": "d", "bays": [], "rendering_obstacle": null, '
    )
    status += '"collector": {"log_contradiction": null, "answers": null, "broker_connected": true}, '
    status += '"backlog": {"statements": 0, "deliveries": 0, "media_jobs": 0}}'
    (tmp_path / "status.json").write_text(status)
    done = subprocess.run(
        [AGENT, "status", "--data", tmp_path],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")


# Told to end


@needs_site
@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_station_told_to_end_in_the_middle_of_a_big_file_ends_well(
    site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    station = site.station
    station.enrol(site.collector.enrolment_code("dock-1"))
    (tmp_path / "card").mkdir()
    with (tmp_path / "card" / "big.mp4").open("wb") as file:
        file.truncate(4096 * MIB)
    station.start()
    (tmp_path / "card").rename(station.dock_dir / "card")
    partials = station.folder / "spool" / "partial"
    wait_until(
        lambda: any(path.stat().st_size > MIB for path in partials.glob("*")), "a read", watch=site.children
    )
    process = station.child
    os.kill(process.pid, number)
    pid, status = os.waitpid(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, process.last_words()
    assert pid
    assert sum(path.stat().st_size for path in partials.glob("*")) < 4096 * MIB, "it did not wait for the end"
    lease = StationLease(station.folder)
    lease.release()


# A part that fails


def break_journal(site: Site) -> None:
    with closing(sqlite3.connect(site.station.folder / "journal.sqlite")) as other:
        other.execute("PRAGMA foreign_keys = OFF")
        other.execute("DROP TABLE deliveries")


def break_dock(site: Site) -> None:
    site.station.dock_dir.rename(site.station.folder / "away")
    site.station.dock_dir.touch()


@needs_site
@pytest.mark.e2e
@pytest.mark.parametrize(
    ("how", "said"), [(break_journal, "journal-error"), (break_dock, "dock")], ids=["journal", "dock"]
)
def test_a_part_that_fails_ends_the_station_loudly(
    site: Site, how: Callable[[Site], None], said: str
) -> None:
    station = site.station
    station.enrol(site.collector.enrolment_code("dock-1"))
    station.start()
    wait_until(station.status, "a status", watch=site.children)
    how(site)
    wait_until(lambda: not station.child.is_running, "the end of the station")
    words = station.child.last_words()
    assert "part-failed" in words
    assert said in words
    assert "Traceback" not in words


@needs_site
@pytest.mark.e2e
def test_nobody_reading_the_console_does_not_stop_the_station(site: Site) -> None:
    station = site.station
    station.enrol(site.collector.enrolment_code("dock-1"))
    with subprocess.Popen(
        [AGENT, "run", "--data", station.folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        threading.Thread(target=process.stderr.read, daemon=True).start()
        process.stdout.readline()
        process.stdout.close()
        wait_until(lambda: station.status().get("collector", {}).get("broker_connected"), "a connection")
        (station.dock_dir / "card").mkdir()
        wait_until(lambda: station.bay("card"), "the bay")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
