"""How long the catalogue takes for a page: ``python -m scripts.bench_catalogue --rows 1000000``.

The rows are written straight into the tables: what is measured is asking, not projecting. Each question is asked many
times, with other values and from another place of the list every time, first page and later ones alike.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import Table, insert

from collector.catalogue import Catalogue, ClipFilter, FindingFilter, tables
from collector.catalogue.conservation_tables import findings, log_clock
from collector.core.findings import KINDS, ClosedBy
from collector.database.engine import open_engine, sqlite_url, writing
from protocol.digest import Digest
from protocol.listing import ListingRow

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
AGENCIES: Final = ("east", "north", "west")
_CHUNK: Final = 10_000
_PAGE: Final = 100
_RECORDERS: Final = 2_000
_VISIT_FINDINGS: Final = 40
_CODES: Final = tuple(sorted(KINDS))

Row = Mapping[str, object]


def digest(*parts: object) -> Digest:
    """The same for the same parts."""
    return Digest.of(repr(parts).encode())


def at(number: int) -> datetime:
    """One entry every twenty seconds."""
    return START + timedelta(seconds=20 * number)


def clip_row(number: int) -> Row:
    return {
        "log_index": number,
        "manifest": digest("manifest", number),
        "agency": AGENCIES[number % 3],
        "station": f"dock-{number % 50}",
        "visit": f"{number // _VISIT_FINDINGS:032x}",
        "inventory": digest("inventory", number // _VISIT_FINDINGS),
        "row_no": number % _VISIT_FINDINGS,
        "digest": digest("original", number),
        "size_bytes": 50_000_000,
        "path": f"DCIM/100MEDIA/{number:08}.MP4",
        "media_type": "video/mp4",
        "recorder": f"R{number % _RECORDERS:05}",
        "recorder_source": "name",
        "officer": f"{number % (2 * _RECORDERS):06}",
        "officer_source": "name",
        "started_at": at(number),
        "started_source": "name",
        "marked": False,
        "read_started_at": at(number),
        "read_finished_at": at(number),
        "stored_index": None if number % 500 == 0 else number,
        "stored_at": None if number % 500 == 0 else at(number),
    }


def finding_row(number: int) -> Row:
    is_open, subject = number % 20 == 0, digest("inventory", number // _VISIT_FINDINGS)
    return {
        "id": digest("finding", number),
        "code": _CODES[number % len(_CODES)],
        "severity": "warning",
        "agency": AGENCIES[number % 3],
        "about": subject,
        "subject": subject,
        "place": f"row {number}",
        "station": f"dock-{number % 50}",
        "recorder": f"R{number % _RECORDERS:05}",
        "visit": f"{number // _VISIT_FINDINGS:032x}",
        "inventory": subject,
        "row_no": number % _VISIT_FINDINGS,
        "path": f"DCIM/100MEDIA/{number:08}.MP4",
        "files": 1,
        "details": "{}",
        "opened_index": number,
        "closed_index": None if is_open else number + 1_000,
        "closed_by": None if is_open else (ClosedBy.EVIDENCE if number % 3 else ClosedBy.EXPLANATION).value,
        "is_open": is_open,
    }


def explained_row(number: int) -> Row:
    """Every explanation of ``finding_row``."""
    return {
        "log_index": number,
        "statement": digest("custody", number),
        "agency": AGENCIES[number % 3],
        "event": "explained",
        "item": digest("finding", number),
        "item_name": "finding",
        "actor": "auditor",
        "details": '{"reason":"card was replaced"}',
        "issued_at": at(number),
    }


def fill(path: Path, rows: int) -> None:
    """A catalogue file with so many clips and so many findings."""
    Catalogue.scratch(path, read_listing=_no_listing).close()
    engine = open_engine(sqlite_url(path), durable=False)
    clock = ({"log_index": number, "at": at(number)} for number in range(0, rows, 3))
    sources: Mapping[Table, Iterator[Row]] = {
        tables.agencies: ({"name": name} for name in AGENCIES),
        log_clock: clock,
        tables.clips: map(clip_row, range(rows)),
        findings: map(finding_row, range(rows)),
        tables.custody: map(explained_row, range(0, rows, 3)),
    }
    indexes = [index for table in sources for index in table.indexes]
    for index in indexes:  # made once, at the end
        index.drop(engine)
    for table, source in sources.items():
        while chunk := [row for _, row in zip(range(_CHUNK), source, strict=False)]:
            with writing(engine) as connection:
                connection.execute(insert(table), chunk)
    for index in indexes:
        index.create(engine)
    engine.dispose()


def _no_listing(_agency: str, _listing: Digest) -> Iterator[ListingRow]:
    raise NotImplementedError


class Questions:
    """Every question is a function that asks it once, from somewhere."""

    def __init__(self, catalogue: Catalogue, rows: int, seed: int) -> None:
        self._catalogue = catalogue
        self._rows = rows
        self._random = random.Random(seed)

    def all(self) -> Mapping[str, Callable[[], int]]:
        return {
            "clips, all agencies": lambda: self._clips(ClipFilter(agencies=None)),
            "clips of a recorder": lambda: self._clips(ClipFilter(agencies=None, recorder=self._recorder())),
            "clips not stored": lambda: self._clips(ClipFilter(agencies=frozenset(AGENCIES), stored=False)),
            "findings, all agencies": lambda: self._findings(FindingFilter()),
            "findings open": lambda: self._findings(FindingFilter(is_open=True)),
            "findings of a recorder": lambda: self._findings(FindingFilter(recorder=self._recorder())),
            "findings of a visit": lambda: self._findings(FindingFilter(visit=self._visit())),
            "findings of a station": lambda: self._findings(
                FindingFilter(station=f"dock-{self._random.randrange(50)}")
            ),
            "findings of a code": lambda: self._findings(FindingFilter(code=self._random.choice(_CODES))),
            "open findings of a code": lambda: self._findings(
                FindingFilter(code=self._random.choice(_CODES), is_open=True)
            ),
            "open findings of no station": lambda: self._findings(
                FindingFilter(station="unknown", is_open=True)
            ),
            "findings of no station": lambda: self._findings(FindingFilter(station="unknown")),
            "findings before a day": lambda: self._findings(
                FindingFilter(opened_before=at(self._random.randrange(self._rows))), first_page=True
            ),
            "count of open findings": lambda: len(self._catalogue.open_findings()),
        }

    def _recorder(self) -> str:
        return f"R{self._random.randrange(_RECORDERS):05}"

    def _visit(self) -> str:
        return f"{self._random.randrange(self._rows // _VISIT_FINDINGS):032x}"

    def _clips(self, wanted: ClipFilter) -> int:
        return len(self._catalogue.clips(wanted, limit=_PAGE).clips)

    def _findings(self, wanted: FindingFilter, *, first_page: bool = False) -> int:
        """Half of the time a first page, else one from anywhere. No cursor that is given out lies behind the day that
        was asked for."""
        somewhere = self._random.randrange(self._rows)
        goes_on = not first_page and self._random.random() < 0.5
        after = (somewhere, digest("finding", somewhere)) if goes_on else None
        return len(self._catalogue.findings(wanted, limit=_PAGE, after=after).findings)


def measure(ask: Callable[[], int], times: int) -> tuple[float, float, float]:
    """Median and 95th percentile of CPU milliseconds, and the latter of the clock's."""
    cpu, wall = [], []
    for _ in range(times):
        cpu_before, before = time.process_time(), time.perf_counter()
        ask()
        wall.append(1000 * (time.perf_counter() - before))
        cpu.append(1000 * (time.process_time() - cpu_before))
    return median(cpu), quantiles(cpu, n=20)[-1], quantiles(wall, n=20)[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description="How long the catalogue takes for a page.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="zhilu-bench-") as folder:
        path = Path(folder) / "catalogue.sqlite"
        fill(path, options.rows)
        catalogue = Catalogue.look_into(path, read_listing=_no_listing)
        print(
            f"{options.rows:,} clips, {options.rows:,} findings; pages of {_PAGE}; milliseconds", flush=True
        )
        print(f"{'question':<30}{'CPU median':>12}{'CPU p95':>12}{'clock p95':>12}")
        for name, ask in Questions(catalogue, options.rows, options.seed).all().items():
            middle, high, clock = measure(ask, options.times)
            print(f"{name:<30}{middle:>12.1f}{high:>12.1f}{clock:>12.1f}", flush=True)
        catalogue.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
