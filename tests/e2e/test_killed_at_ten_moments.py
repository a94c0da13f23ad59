"""Killed at any moment and started again, by either signal, on either side: is everything stored, and once?

Ten moments of one run are chosen by progress that can be seen on disk (bytes read, bytes of the largest clip
arrived, log entries, receipts), spread at random over the run; ``ZHILU_TEST_SEED`` chooses another spread. Progress
never ends before its last moment, so all ten kills happen. What a kill interrupted is read from the disk while the
process is dead.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.audit import audit_site
from tests.support.cards import MIB, clip_name, files_of, make_card, write_noise
from tests.support.media_lab import make_h264, photograph
from tests.support.processes import AGENCY, Site, needs_site, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.media, needs_site]

SEED: Final = int(os.environ.get("ZHILU_TEST_SEED", "20260304"))
MOMENTS: Final = 10

_BIG_BYTES: Final = 224 * MIB
_LATE_BYTES: Final = 24 * MIB
_SMALL_BYTES: Final = (700_000, 30_000, 450_000, 1, 250_000, 900_000)

_MEANT_FOR: Final = {
    "agent": {"a read", "an upload", "a delivery"},
    "collector": {"an upload", "a delivery"},
}
"""What the kills of one run must have interrupted at least; mostly they interrupt a storing and a rendition too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The first time that ``counter`` has reached ``least``."""

    counter: str
    least: int


class Progress:
    """How far a run is, seen from outside, while processes may be dead."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._spool = site.station.folder / "spool"
        self._staging = site.collector.config.staging_dir
        self._objects = site.collector.config.objects_dir
        self.counters: Mapping[str, Callable[[], int]] = {
            "bytes read": lambda: sum(
                (*_sizes(self._spool / "partial"), *_sizes(self._spool / "originals", "*/*"))
            ),
            "bytes arrived": lambda: max(
                *_sizes(self._staging, "*.bytes"),
                *_sizes(self._objects / AGENCY / "originals", "*/*/*"),
                0,
                0,
            ),
            "log entries": site.collector.log_size,
            "receipts": lambda: sum(
                path.read_bytes().count(b"\n") for path in (self._spool / "receipts").glob("*.jsonl")
            ),
        }

    def reached(self, moment: Moment) -> bool:
        return self.counters[moment.counter]() >= moment.least

    def interrupted(self) -> set[str]:
        """What is half done now."""
        found = {
            "a read": any(0 < size < _BIG_BYTES for size in _sizes(self._spool / "partial")),
            "an upload": any(0 < size < _BIG_BYTES for size in _sizes(self._staging, "*.bytes")),
            "a storing": any(size in (_BIG_BYTES, _LATE_BYTES) for size in _sizes(self._staging, "*.bytes")),
            "a rendition": any(_sizes(self._site.station.folder / "rendering", "**/*")),
            "a delivery": self._open_deliveries() > 0,
        }
        return {what for what, is_so in found.items() if is_so}

    def _open_deliveries(self) -> int:
        journal = f"file:{self._site.station.folder / 'journal.sqlite'}?mode=ro"
        with closing(sqlite3.connect(journal, uri=True)) as connection:
            row = connection.execute("SELECT count(*) FROM deliveries WHERE receipted_at IS NULL").fetchone()
            return int(row[0])


def _sizes(folder: Path, pattern: str = "*") -> list[int]:
    """Files may come and go while they are looked at."""
    sizes = []
    for path in folder.glob(pattern):
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except FileNotFoundError:
            continue
    return sizes


def _moments_of_agent(chance: random.Random, files: int) -> list[Moment]:
    """The big clip is read first, so the first bytes are its own; the last moments lie where small clips, facts and
    renditions follow."""
    return [
        Moment(counter="log entries", least=3),
        Moment(counter="bytes read", least=chance.randrange(1, 60 * MIB)),
        Moment(counter="bytes arrived", least=chance.randrange(8 * MIB, 70 * MIB)),
        Moment(counter="bytes read", least=chance.randrange(80 * MIB, 150 * MIB)),
        Moment(counter="bytes arrived", least=chance.randrange(90 * MIB, 160 * MIB)),
        Moment(counter="bytes read", least=chance.randrange(170 * MIB, _BIG_BYTES)),
        Moment(counter="bytes arrived", least=_BIG_BYTES),
        Moment(counter="bytes read", least=chance.randrange(_BIG_BYTES, _BIG_BYTES + _LATE_BYTES)),
        Moment(counter="receipts", least=chance.randrange(2, files)),
        Moment(counter="log entries", least=3 * files + chance.randrange(files // 2)),
    ]


def _moments_of_collector(chance: random.Random, files: int) -> list[Moment]:
    """Reading does not wait for a collector: its run goes by what arrives. When the big clip is whole it is about to
    be stored; small clips are stored around it."""
    shares = sorted(chance.randrange(4 * MIB, _BIG_BYTES) for _ in range(5))
    return [
        Moment(counter="log entries", least=3),
        *(Moment(counter="bytes arrived", least=share) for share in shares),
        Moment(counter="bytes arrived", least=_BIG_BYTES),
        Moment(counter="receipts", least=chance.randrange(2, files)),
        Moment(counter="log entries", least=3 * files + chance.randrange(files // 2)),
        Moment(counter="receipts", least=files),
    ]


def _plan_signals(chance: random.Random) -> Sequence[signal.Signals]:
    numbers = [signal.SIGTERM, signal.SIGKILL] * (MOMENTS // 2)
    chance.shuffle(numbers)
    return numbers


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """Big clip first, then small ones and media that can be rendered, then a clip of middle size."""
    folder = make_card(tmp_path / "ZFY0001", [_BIG_BYTES, *_SMALL_BYTES], seed=SEED)
    make_h264(folder / clip_name("ZFY0001", 40), seconds=4)
    (folder / clip_name("ZFY0001", 41, "jpg")).write_bytes(photograph())
    write_noise(folder / clip_name("ZFY0001", 50), _LATE_BYTES, random.Random(SEED + 1))
    return folder


@pytest.mark.parametrize("victim", ["agent", "collector"])
def test_ten_kills_in_one_run_lose_nothing_and_store_nothing_twice(
    site: Site, card: Path, victim: str
) -> None:
    chance = random.Random(f"{SEED} {victim}")
    docked = files_of(card)
    host = site.station if victim == "agent" else site.collector
    progress, interrupted = Progress(site), Counter[str]()
    site.start()
    site.station.dock(card)
    plan = _moments_of_agent if victim == "agent" else _moments_of_collector
    for moment, number in zip(plan(chance, docked.total()), _plan_signals(chance), strict=True):
        wait_until(lambda: progress.reached(moment), str(moment), watch=site.children)  # noqa: B023 - asked at once
        host.child.end(number)
        interrupted.update(progress.interrupted())
        print(f"{number.name} at {moment}: {progress.interrupted()}")
        host.start()
    site.wait_done()
    auditor = audit_site(site, docked)
    assert _MEANT_FOR[victim] <= set(interrupted), "no kill met the work it was meant for"
    assert len(auditor.inventories) == 1, "a restart is no new visit"
