"""Does ``scripts/demo`` do what it promises, also the second time and when it is interrupted?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.cards import MIB, clip_name, make_card
from tests.support.media_lab import photograph
from tests.support.processes import BIN, needs_site, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.media, needs_site]

ROOT = Path(__file__).parents[2]


def start(data: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """The demo without its setup: what it runs in stands already."""
    command = [sys.executable, "-m", "scripts.demo_run", "--data", data, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outcome(data: Path, *arguments: str | Path) -> Any:
    """What ``--once --json`` prints, after it ended well and left no process."""
    with start(data, "--once", "--json", *arguments) as demo:
        printed, said = demo.communicate(timeout=300)
        assert demo.returncode == 0, said.decode()
    assert said == b"", "a pipe is no terminal"
    assert processes_of(data) == []
    return json.loads(printed)


def processes_of(data: Path) -> Sequence[str]:
    """Command lines of running processes that name this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:
            continue
        if os.fsencode(data) in line and int(entry.parent.name) != os.getpid():
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def make_sources(folder: Path) -> list[str]:
    """Two cards of the same name, with a photograph each and a file that is no media: ``--source`` arguments."""
    arguments = []
    for number, recorder in enumerate(("ZFY0001", "ZFY0002")):
        card = folder / str(number) / "card"
        card.mkdir(parents=True)
        (card / clip_name(recorder, number, "jpg")).write_bytes(photograph(width=96 + number))
        arguments += ["--source", str(card)]
    return arguments


def test_two_cards_of_one_name_are_stored_and_a_second_run_stores_nothing_twice(tmp_path: Path) -> None:
    sources, data = make_sources(tmp_path), tmp_path / "data"
    first = outcome(data, *sources)
    assert {original["recorder_id"] for original in first["originals"]} == {"ZFY0001", "ZFY0002"}
    assert [[made["kind"] for made in original["renditions"]] for original in first["originals"]] == [
        ["thumbnail"],
        ["thumbnail"],
    ]
    assert (first["inventory"]["listed"], first["inventory"]["stored"]) == (2, 2)
    for original in first["originals"]:
        subprocess.run([BIN / "zhilu-verify", *original["verify"]], check=True, capture_output=True)
    assert (first["released"]["files"], first["released"]["kept"]) == (2, 0)
    second = outcome(data, *sources)
    assert second["originals"] == first["originals"]
    assert second["inventory"]["pending"] == 0
    assert second["checkpoint"]["tree_size"] >= first["checkpoint"]["tree_size"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    card, data = make_card(tmp_path / "card", [200 * MIB], seed=1), tmp_path / "data"
    with start(data, "--once", "--source", card) as demo:
        wait_until(
            lambda: (
                any(path.stat().st_size for path in (data / "station" / "spool" / "partial").glob("*"))
                or demo.poll() is not None
            ),
            "the card being read",
        )
        demo.send_signal(number)
        assert demo.wait(60) == (1 if number is not signal.SIGKILL else -number)
        assert demo.stderr is not None
        assert b"Traceback" not in demo.stderr.read()
    wait_until(lambda: not processes_of(data), "every process's end")


def test_without_once_it_runs_until_it_is_interrupted_and_can_be_started_again(tmp_path: Path) -> None:
    sources, data = make_sources(tmp_path), tmp_path / "data"
    for _ in range(2):
        with start(data, *sources) as demo:
            assert demo.stdout is not None
            for line in demo.stdout:
                if "回执 1/1".encode() in line:
                    break
            demo.send_signal(signal.SIGINT)
            assert demo.wait(60) == 0
        assert processes_of(data) == []
