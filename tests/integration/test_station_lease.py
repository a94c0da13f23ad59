"""Does one data directory ever have two agents?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.lease import AlreadyRunningError, StationLease

HOLDER = """
import sys
from pathlib import Path
from agent.lease import StationLease
lease = StationLease(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_agent(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_agent_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with another_agent(tmp_path):
        with pytest.raises(AlreadyRunningError, match=str(tmp_path)) as caught:
            StationLease(tmp_path)
        assert caught.value.code == "already-running"


def test_the_lease_of_a_killed_agent_is_free_at_once(tmp_path: Path) -> None:
    with another_agent(tmp_path) as process:
        process.kill()
        process.wait()
        StationLease(tmp_path).release()


def test_a_released_lease_can_be_taken_again(tmp_path: Path) -> None:
    StationLease(tmp_path).release()
    StationLease(tmp_path).release()


def test_a_data_directory_that_is_missing_is_made_private(tmp_path: Path) -> None:
    lease = StationLease(tmp_path / "deep" / "station")
    assert (tmp_path / "deep" / "station").stat().st_mode & 0o077 == 0
    lease.release()


def test_what_is_no_directory_is_not_taken_for_a_running_agent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        StationLease(tmp_path / "file")
