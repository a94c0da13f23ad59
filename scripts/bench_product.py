"""The product's side of the bench: the real commands, from a folder that appears in the dock to the last receipt.

Each round founds a collector, enrols a station, docks the data set by renaming it (nothing is copied), and reads the
journal for what was achieved when. The journal's own times decide; looking at it now and then costs little. A manifest
says when the recorder gave the file's last byte: from there the announcement is measured.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from collector.config import CollectorConfig
from protocol.dsse import Envelope
from protocol.statements import Manifest, parse_statement
from protocol.times import parse_time
from scripts.bench_data import DataSet
from scripts.bench_measure import Round, Usage, children_of, prepare, since, usage_of
from scripts.demo_processes import AGENCY, STATION, Child, DemoError, call, free_port, wait_healthy

_LOOK_S: Final = 0.25
_GIVE_UP_S: Final = 3600.0
_SETTLE_S: Final = 0.1
"""How long a folder must be quiet to count as docked: part of every round's time."""

_RECEIPTED: Final = (
    "SELECT count(*), max(receipted_at) FROM deliveries"
    " WHERE receipted_at IS NOT NULL AND purpose = 'original'"
)
_MANIFESTS: Final = (
    "SELECT envelope, settled_at FROM statements WHERE kind = 'manifest' AND outcome = 'admitted'"
)


def product(data: DataSet, scratch: Path) -> Round:
    """Source → receipt, with TLS as always."""
    with founded(scratch) as site:
        prepare(data)
        files = len(data.files)
        before = site.usage
        begun = datetime.now(UTC)
        with _docked(data, site.dock / "ZFY0001"):
            ended = site.wait_receipted(files)
            after = site.usage
        facts = site.announce_facts()
        return Round(seconds=(ended - begun).total_seconds(), processes=since(before, after), facts=facts)


@contextmanager
def founded(scratch: Path) -> Iterator[Site]:
    """A site in ``scratch``, which goes with it."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield Site(scratch, stack)


@contextmanager
def stored(data: DataSet, scratch: Path) -> Iterator[Site]:
    """A site that has taken the data set in and been stopped."""
    with founded(scratch) as site:
        files = len(data.files)
        with _docked(data, site.dock / "ZFY0001"):
            site.wait_receipted(files)
        site.stop()
        yield site


class Site:
    """A fresh collector and a fresh station, running."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.collector_dir, self.agent_dir = folder / "collector", folder / "station"
        self.dock = self.agent_dir / "dock"
        self.dock.mkdir(parents=True)
        call(
            "zhilu-collector", "init", "--data", str(self.collector_dir), "--name", "bench",
            "--agency", AGENCY, "--host", "127.0.0.1", "--hostname", "127.0.0.1",
            "--http-port", str(free_port()), "--mqtt-port", str(free_port()),
        )  # fmt: skip
        self._collector = self._start("zhilu-collector", self.collector_dir, stack)
        config = CollectorConfig.load(self.collector_dir)
        wait_healthy(self._collector, config.url, config.trust.ca_certificate)
        code = call(
            "zhilu-collector", "enrolment-code", "--data", str(self.collector_dir), "--station", STATION
        )["code"]
        call("zhilu-agent", "enroll", "--data", str(self.agent_dir), code)
        (self.agent_dir / "agent.toml").write_text(f"settle_s = {_SETTLE_S}\nreserve_mib = 64\n")
        self._agent = self._start("zhilu-agent", self.agent_dir, stack)
        self._wait_for(self.agent_dir / "status.json")

    def stop(self) -> None:
        """What it has kept stays."""
        self._agent.stop()
        self._collector.stop()

    def _start(self, command: str, folder: Path, stack: ExitStack) -> Child:
        child = Child(command, "run", "--data", str(folder), log=folder.parent / f"{command}.log")
        stack.callback(child.stop)
        return child

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 60.0
        while not path.exists():
            self._agent.check()
            if time.monotonic() > deadline:
                raise DemoError("the station does not start")
            time.sleep(0.05)

    @property
    def usage(self) -> Mapping[str, Usage]:
        """``broker`` runs below the collector. Renditions are left out: they come later, at idle priority, and have a
        part of their own."""
        found = {
            "agent": _alone(usage_of(self._agent.pid)),
            "collector": _alone(usage_of(self._collector.pid)),
        }
        brokers = children_of(self._collector.pid)
        return {**found, "broker": usage_of(brokers[0])} if brokers else found

    def wait_receipted(self, files: int) -> datetime:
        """When the last original's receipt was journalled. Raises DemoError."""
        deadline = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < deadline:
            self._collector.check()
            self._agent.check()
            with closing(self._journal()) as journal:
                count, latest = journal.execute(_RECEIPTED).fetchone()
            if count >= files:
                return parse_time(latest)
            time.sleep(_LOOK_S)
        raise DemoError("not everything was receipted in time")

    def announce_facts(self) -> Mapping[str, float]:
        """Seconds from the last byte read to the admission of the manifest verified at the station, which is later
        than its commit: of the slowest clip, and the median."""
        with closing(self._journal()) as journal:
            rows = journal.execute(_MANIFESTS).fetchall()
        waits = sorted(_announced(envelope, settled_at) for envelope, settled_at in rows)
        return {"announce_max_s": waits[-1], "announce_median_s": statistics.median(waits)}

    def _journal(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.agent_dir / 'journal.sqlite'}?mode=ro", uri=True, timeout=30)


def _announced(envelope: bytes, settled_at: str) -> float:
    manifest = parse_statement(Envelope.from_bytes(envelope).payload)
    assert isinstance(manifest, Manifest)
    return (parse_time(settled_at) - manifest.read_finished_at).total_seconds()


def _alone(usage: Usage) -> Usage:
    return Usage(cpu_s=usage.cpu_s, children_cpu_s=0.0, peak_bytes=usage.peak_bytes)


@dataclass(frozen=True, slots=True)
class _docked:  # noqa: N801 - reads as a statement
    data: DataSet
    place: Path

    def __enter__(self) -> None:
        self.data.folder.rename(self.place)

    def __exit__(self, *_: object) -> None:
        self.place.rename(self.data.folder)
