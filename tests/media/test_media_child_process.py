"""Does a child always end, with all its own children, and can it flood nobody?"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from agent.errors import MediaLimitError, MediaTimeoutError, SandboxUnavailableError
from agent.media.child import run_child


def _sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def _is_known(pid: int) -> bool:
    """Alive, or dead and not reaped."""
    return Path(f"/proc/{pid}").exists()


def _is_running(pid: int) -> bool:
    """Alive. A grandchild's remains are the system's first process's to reap, whenever that comes to it."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_output_message_and_status_come_back() -> None:
    outcome = await run_child(_sh("echo out; echo err >&2; exit 3"), deadline_s=60)
    assert (outcome.exit_status, outcome.output, outcome.message) == (3, b"out\n", b"err\n")


async def test_the_child_inherits_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZHILU_SECRET", "42")
    assert b"ZHILU_SECRET" not in (await run_child(["env"], deadline_s=60)).output


async def test_a_child_that_floods_its_output_is_stopped() -> None:
    with pytest.raises(MediaLimitError):
        await run_child(["yes"], deadline_s=60, output_limit_bytes=1000)


async def test_only_the_tail_of_its_messages_is_kept() -> None:
    outcome = await run_child(_sh("seq 1 100000 >&2; echo end >&2"), deadline_s=60)
    assert len(outcome.message) <= 8192
    assert outcome.message.endswith(b"end\n")


async def test_lines_are_given_away_as_they_come() -> None:
    lines: list[bytes] = []
    outcome = await run_child(_sh("printf 'a\\nb\\nunfinished'"), deadline_s=60, on_line=lines.append)
    assert (lines, outcome.output) == ([b"a", b"b"], b"")


async def test_after_the_deadline_nothing_is_left(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(MediaTimeoutError):
        await run_child(_sh(f"sleep 1000 & echo $! > {pid_file}; wait"), deadline_s=1.0)
    assert not _is_running(int(pid_file.read_text()))


async def test_a_cancelled_run_leaves_nothing() -> None:
    pids: list[int] = []
    started = asyncio.Event()

    def note(line: bytes) -> None:
        pids.append(int(line))
        started.set()

    run = asyncio.create_task(run_child(_sh("echo $$; exec sleep 1000"), deadline_s=600, on_line=note))
    await started.wait()
    assert _is_running(pids[0])
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not _is_known(pids[0])


async def test_a_failing_callback_stops_the_child_and_reaches_the_caller() -> None:
    def refuse(_line: bytes) -> None:
        raise RuntimeError("not wanted")

    with pytest.raises(RuntimeError, match="not wanted"):
        await run_child(["yes"], deadline_s=60, on_line=refuse)


async def test_a_missing_program_is_said_to_be_missing() -> None:
    with pytest.raises(SandboxUnavailableError, match="no-such-program"):
        await run_child(["no-such-program"], deadline_s=60)


async def test_no_child_remains_unreaped() -> None:
    outcome = await run_child(_sh("echo $$"), deadline_s=60)
    with pytest.raises(ChildProcessError):
        os.waitpid(int(outcome.output), os.WNOHANG)
