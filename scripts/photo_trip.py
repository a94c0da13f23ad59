"""Measures the way of many small files: dock, station, collector, receipts; CPU seconds for each process and stage.

``python -m scripts.photo_trip --files 2000`` makes a card of photographs (a JPEG's start, then random bytes), docks it
at a real station with a real collector, and prints when each stage was through and what it had cost by then. Wall times
depend on what else the machine does; CPU milliseconds for each photo are what to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.config import CollectorConfig
from scripts.demo_processes import AGENCY, STATION, Child, call, free_port, wait_healthy

_POLL_S: Final = 0.1
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_FOLDER_FILES: Final = 999
_START: Final = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")

STAGES: Final[Mapping[str, str]] = {
    "read": "SELECT count(*) FROM rows WHERE state IN ('read', 'known')",
    "admitted": "SELECT count(*) FROM statements WHERE kind = 'manifest' AND outcome = 'admitted'",
    "uploaded": "SELECT count(*) FROM deliveries WHERE purpose = 'original' AND uploaded_at IS NOT NULL",
    "receipted": "SELECT count(*) FROM deliveries WHERE purpose = 'original' AND receipted_at IS NOT NULL",
}
"""What the journal says of each stage, in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU seconds and resident bytes of one process. ``children_s`` are its ended children's."""

    cpu_s: float
    children_s: float
    rss_bytes: int


def cost_of(pid: int) -> Cost:
    """What a process has used until now (proc(5), ``stat`` and ``statm``)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) / _TICKS for field in fields[11:15])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Cost(
        cpu_s=user + system,
        children_s=child_user + child_system,
        rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
    )


def make_card(folder: Path, files: int, size_bytes: int) -> None:
    """Photographs as a recorder lays them out: folders of at most 999."""
    for number in range(files):
        place = folder / "DCIM" / f"{100 + number // _FOLDER_FILES}MEDIA"
        place.mkdir(parents=True, exist_ok=True)
        name = f"IMAG{1 + number % _FOLDER_FILES:04d}.JPG"
        (place / name).write_bytes(_START + os.urandom(size_bytes - len(_START)))


class Trip:
    """One collector and one station, made anew in ``folder``."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._collector_dir = folder / "collector"
        self._agent_dir = folder / "station"
        self._logs = folder
        (self._agent_dir / "dock").mkdir(parents=True)
        (self._agent_dir / "agent.toml").write_text("settle_s = 0.3\nreserve_mib = 64\n")

    def _child(self, command: str, data: Path) -> Child:
        child = Child(command, "run", "--data", str(data), log=self._logs / f"{command}.log")
        self._stack.callback(child.stop)
        return child

    def start(self) -> tuple[Child, Child]:
        """Collector and station, enrolled and running."""
        call(
            "zhilu-collector", "init", "--data", str(self._collector_dir), "--name", "trip", "--agency", AGENCY,
            "--host", "127.0.0.1", "--hostname", "127.0.0.1",
            "--http-port", str(free_port()), "--mqtt-port", str(free_port()),
        )  # fmt: skip
        config = CollectorConfig.load(self._collector_dir)
        collector = self._child("zhilu-collector", self._collector_dir)
        wait_healthy(collector, config.url, config.trust.ca_certificate)
        code = call(
            "zhilu-collector", "enrolment-code", "--data", str(self._collector_dir), "--station", STATION,
            "--agency", AGENCY,
        )["code"]  # fmt: skip
        call("zhilu-agent", "enroll", "--data", str(self._agent_dir), code)
        station = self._child("zhilu-agent", self._agent_dir)
        while not (self._agent_dir / "status.json").exists():
            station.check()
            time.sleep(_POLL_S)
        return collector, station

    def dock(self, card: Path) -> None:
        """The whole card appears at once."""
        card.rename(self._agent_dir / "dock" / "card-1")

    def counts(self) -> Mapping[str, int]:
        """How far the journal says it is."""
        journal = sqlite3.connect(f"file:{self._agent_dir / 'journal.sqlite'}?mode=ro", uri=True)
        try:
            return {stage: journal.execute(sql).fetchone()[0] for stage, sql in STAGES.items()}
        finally:
            journal.close()


def measure(trip: Trip, card: Path, files: int, *, deadline_s: float) -> Mapping[str, object]:
    """Dock, wait for the last receipt, tell each stage's end and cost."""
    collector, station = trip.start()
    before = {"collector": cost_of(collector.pid), "station": cost_of(station.pid)}
    began = time.monotonic()
    trip.dock(card)
    stages: dict[str, object] = {}
    peak = {"collector": 0, "station": 0}
    while len(stages) < len(STAGES):
        for child in (collector, station):
            child.check()
        if time.monotonic() - began > deadline_s:
            return {"stages": stages, "failed": f"not done after {deadline_s:.0f} s", "counts": trip.counts()}
        now = {"collector": cost_of(collector.pid), "station": cost_of(station.pid)}
        peak = {name: max(peak[name], cost.rss_bytes) for name, cost in now.items()}
        for stage, count in trip.counts().items():
            if count >= files and stage not in stages:
                stages[stage] = _stage(began, before, now, files)
        time.sleep(_POLL_S)
    return {"stages": stages, "peak_rss_mb": {name: round(size / 1e6) for name, size in peak.items()}}


def _stage(began: float, before: Mapping[str, Cost], now: Mapping[str, Cost], files: int) -> object:
    spent = {name: cost.cpu_s - before[name].cpu_s for name, cost in now.items()}
    children = {name: cost.children_s - before[name].children_s for name, cost in now.items()}
    return {
        "s": round(time.monotonic() - began, 2),
        "cpu_ms_per_file": {name: round(1000 * seconds / files, 2) for name, seconds in spent.items()},
        "children_ms_per_file": {
            name: round(1000 * seconds / files, 2) for name, seconds in children.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="photo_trip", description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=200_000, help="bytes of each photograph")
    parser.add_argument("--folder", type=Path, default=None, help="parent of the scratch folder")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="photo-trip-", dir=options.folder))
    try:
        make_card(folder / "card", options.files, options.size)
        with ExitStack() as stack:
            outcome = measure(
                Trip(folder, stack), folder / "card", options.files, deadline_s=options.deadline
            )
        print(json.dumps(outcome, indent=2))
    finally:
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if "failed" not in outcome else 1


if __name__ == "__main__":
    raise SystemExit(main())
