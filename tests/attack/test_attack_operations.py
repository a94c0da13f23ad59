"""What an administrator, a tired one or a thief can do to the machines: keys left open, two at once, odd terminals."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import BIN, CollectorHost, Site, needs_site, open_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site]

SECRETS = ("keys/log.key", "keys/statement.key", "tls/ca.key", "tls/server.key", "tls/collector.key")
STATION_SECRETS = ("signing.key", "tls.key", "enrolment.json")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("operations")) as running:
        running.start()
        wait_until(running.station.status, "the first status", watch=running.children)
        yield running


def run(command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_nothing_secret_can_be_read_by_other_users(site: Site) -> None:
    for folder in (site.collector.folder, site.station.folder / "keys", site.station.folder / "spool"):
        assert folder.stat().st_mode & 0o077 == 0
    for path in (
        *(site.collector.folder / name for name in SECRETS),
        *(site.station.folder / "keys" / name for name in STATION_SECRETS),
    ):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_no_secret_is_in_arguments_environment_logs_or_status(site: Site) -> None:
    token = site.collector.token("somebody", "clips:read")
    keys = [
        (site.collector.folder / name).read_text().split("\n")[1] for name in SECRETS
    ]  # the line of Base64
    seen = [path.read_text(errors="replace") for path in (site.collector.child.log, site.station.child.log)]
    seen.append((site.station.folder / "status.json").read_text())
    for child in site.children:
        seen += [
            Path(f"/proc/{child.pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ")
        ]
    for text in seen:
        assert token not in text
        assert "zlt_" not in text
        assert not any(key in text for key in keys)


def test_the_code_of_an_enrolment_can_be_kept_out_of_the_list_of_processes(site: Site) -> None:
    code = site.collector.enrolment_code("dock-2")
    done = subprocess.run(
        [BIN / "zhilu-agent", "enroll", "--data", str(site.folder / "dock-2"), "-"],
        input=code,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_second_process_in_the_same_folder_is_turned_away(site: Site) -> None:
    second = run("zhilu-collector", "run", "--data", str(site.collector.folder))
    assert (second.returncode, "log-locked" in second.stderr) == (1, True)
    second = run("zhilu-agent", "run", "--data", str(site.station.folder))
    assert (second.returncode, "already-running" in second.stderr) == (1, True)
    assert all(child.is_running for child in site.children)


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "latin-1"])
def test_a_terminal_without_chinese_gets_its_status_too(site: Site, encoding: str) -> None:
    shown = subprocess.run(
        [BIN / "zhilu-agent", "status", "--data", str(site.station.folder)],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert shown.returncode == 0, shown.stderr
    assert b"dock-1" in shown.stdout


@pytest.fixture
def resting(tmp_path: Path) -> CollectorHost:
    """A collector that does not run."""
    return CollectorHost(tmp_path / "resting")


@pytest.mark.parametrize("name", SECRETS)
def test_a_collector_does_not_start_with_a_key_others_can_read(resting: CollectorHost, name: str) -> None:
    (resting.folder / name).chmod(0o644)
    done = run("zhilu-collector", "run", "--data", str(resting.folder))
    assert (done.returncode, "key-file" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "pipe"])
def test_a_station_works_on_when_nobody_can_read_what_it_says(site: Site, encoding: str) -> None:
    station = site.station
    station.child.end()
    (station.folder / "status.json").unlink()
    reader, writer = os.pipe()
    sink: int = subprocess.DEVNULL
    if encoding == "pipe":
        sink = writer
    odd = {} if encoding == "pipe" else {"PYTHONIOENCODING": encoding}
    process = subprocess.Popen(
        [BIN / "zhilu-agent", "run", "--data", str(station.folder)],
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **odd},
    )
    os.close(writer)
    os.close(reader)
    try:
        wait_until(
            lambda: station.status().get("collector", {}).get("broker_connected"), "the station at work"
        )
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(60) == 0
        station.start()
        wait_until(station.status, "the status again", watch=site.children)
