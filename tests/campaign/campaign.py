"""Many runs in several processes, counted together. A run is known by its seed alone, wherever it happens."""

from __future__ import annotations

import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.campaign.plan import Kind
from tests.campaign.report import Report

_ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Seeds ``first_seed`` and up, spread over ``jobs`` processes."""

    first_seed: int
    runs: int
    jobs: int = 2
    mutation: str | None = None
    only: Kind | None = None

    def run(self, show: Callable[[Report], None] | None = None) -> Report:
        """Until all have come to an end, or the user does not want to wait any longer (Ctrl-C)."""
        report = Report(planned_runs=self.runs, options=self._words())
        began_s, cpu_before_s = time.perf_counter(), _children_cpu_s()
        orders = [self._order(number) for number in range(self.jobs)]
        with suppress(KeyboardInterrupt), working(orders) as results:
            for result in results:
                report.add(result)
                report.wall_s = time.perf_counter() - began_s
                if show is not None:
                    show(report)
            if not report.is_whole:
                raise RuntimeError(f"{report.runs} of {self.runs} runs came to an end: a worker process died")
        report.cpu_s = _children_cpu_s() - cpu_before_s
        return report

    def _words(self) -> str:
        words = "" if self.mutation is None else f" --mutation {self.mutation}"
        return words if self.only is None else f"{words} --only '{self.only.value}'"

    def _order(self, number: int) -> Mapping[str, object]:
        return {
            "seeds": [self.first_seed + number, self.first_seed + self.runs, self.jobs],
            "mutation": self.mutation,
            "only": None if self.only is None else self.only.value,
        }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a while, in memory: a hundred times faster than on a disk, and no number of a file comes twice."""
    shm = Path("/dev/shm")
    in_memory = shm if os.access(shm, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="zhilu-faults-", dir=in_memory) as home:
        yield Path(home)


@contextmanager
def working(orders: Sequence[Mapping[str, object]]) -> Iterator[Iterator[Mapping[str, Any]]]:
    """A worker process for each order, and what they say, until they have nothing more to say. Afterwards they and
    their files are gone, whatever happened."""
    with scratch() as home:
        workers = [_start(home / str(number), order) for number, order in enumerate(orders)]
        try:
            yield _results(workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()


def _start(home: Path, order: Mapping[str, object]) -> subprocess.Popen[str]:
    home.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "tests.campaign.worker", str(home), json.dumps(order)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(_ROOT)},
        process_group=0,  # Ctrl-C is for this process, which ends them
    )


def _results(workers: Sequence[subprocess.Popen[str]]) -> Iterator[Mapping[str, Any]]:
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ, worker.stdout)
        while selector.get_map():
            for key, _ in selector.select():
                line = key.data.readline()
                if line:
                    yield json.loads(line)
                else:
                    selector.unregister(key.fileobj)


def _children_cpu_s() -> float:
    """CPU time of all processes that this one started and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
