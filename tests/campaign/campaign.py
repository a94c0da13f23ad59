"""Many runs in several processes, counted together. A run is known by its seed alone, wherever it happens."""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.campaign.kernel import collect_garbage
from tests.campaign.mutations import MUTATIONS, mutated
from tests.campaign.plan import Kind
from tests.campaign.run import RECOVERY_S, Outcome, Run
from tests.campaign.scenario import SHAPES, Extent, Targets
from tests.campaign.template import Template, make_template
from tests.campaign.view import VERDICTS

_ROOT: Final = Path(__file__).parents[2]
_MUTANTS_RECOVERY_S: Final = 400.0
"""Who cannot recover any more needs no half hour to show it."""

_COLLECT_EVERY: Final = 10
"""Runs between two collections of garbage: within a run its time would depend on what was run before."""


@cache
def _home() -> Path:
    """In memory: the same bytes as on a disk, a hundred times faster."""
    shm = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="zhilu-faults-", dir=shm if os.access(shm, os.W_OK) else None))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


@cache
def _template() -> Template:
    template = make_template(_home() / "template", _home() / "world")
    gc.collect()
    gc.freeze()
    return template


@cache
def _extent(shape: int) -> Extent:
    """What a scenario has to strike at: one run without faults tells."""
    return Run(_template(), _home() / "world", shape, faults=[], extent=Extent()).go().extent


def run_one(
    seed: int, *, mutation: str | None = None, is_control: bool = False, only: Kind | None = None
) -> Outcome:
    """One run in this process. A mutation brings the faults that would show it; its control has them without it."""
    targets, recovery_s = Targets() if only is None else Targets((only,)), RECOVERY_S
    if mutation is not None:
        found = MUTATIONS[mutation]
        targets, recovery_s = Targets(tuple(found.kinds), found.machine, found.path), _MUTANTS_RECOVERY_S
    extent = _extent(seed % SHAPES)
    run = Run(_template(), _home() / "world", seed, extent=extent, targets=targets, recovery_s=recovery_s)
    with mutated(None if is_control else mutation):
        return run.go()


@dataclass(eq=False)
class Report:
    """What came of a campaign so far."""

    runs: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    planned: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    places_struck: Counter[str] = field(default_factory=Counter)
    bad: dict[int, list[str]] = field(default_factory=dict)
    options: str = ""

    @property
    def is_clean(self) -> bool:
        return not self.bad

    @property
    def strikes(self) -> int:
        return sum(self.struck.values())

    def add(self, result: Mapping[str, Any]) -> None:
        self.runs += 1
        self.cpu_s += result["cpu_s"]
        self.planned.update(result["planned"])
        self.struck.update(result["struck"])
        self.places.update(result["places"])
        self.places_struck.update(result["places_struck"])
        if result["violations"]:
            self.bad[result["seed"]] = result["violations"]

    def kinds_of_violations(self) -> Counter[str]:
        return Counter(text.partition(":")[0] for texts in self.bad.values() for text in set(texts))

    def to_json(self) -> dict[str, object]:
        return {
            "runs": self.runs,
            "cpu_s": round(self.cpu_s, 1),
            "wall_s": round(self.wall_s, 1),
            "faults": {
                kind.value: {"planned": self.planned[kind.value], "struck": self.struck[kind.value]}
                for kind in Kind
            },
            "durable_steps": {place: self.places_struck[place] for place in sorted(self.places)},
            "violations": {str(seed): texts for seed, texts in sorted(self.bad.items())},
        }

    def lines(self) -> Iterator[str]:
        cpu_s = self.cpu_s / max(1, self.runs)
        yield f"{self.runs} runs, {self.wall_s:.0f} s, {self.cpu_s:.0f} s of CPU: {cpu_s:.2f} s a run"
        for kind in Kind:
            yield f"  {kind.value:28} planned {self.planned[kind.value]:6}  struck {self.struck[kind.value]:6}"
        reached = sum(self.places_struck[place] > 0 for place in self.places)
        yield f"durable steps: {len(self.places)} places in the code, a fault struck at {reached}"
        for place in sorted(self.places):
            if not self.places_struck[place]:
                yield f"  never struck: {place}"
        counts = self.kinds_of_violations()
        yield ", ".join(f"{counts[kind]} {kind}" for kind in VERDICTS)
        for seed, texts in sorted(self.bad.items()):
            yield f"seed {seed}: scripts/faults --repeat {seed}{self.options}"
            yield from (f"  {text}" for text in texts[:5])


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Seeds ``first_seed`` and up, spread over ``jobs`` processes. Stops early after ``stop_after`` bad runs."""

    first_seed: int
    runs: int
    jobs: int = 2
    mutation: str | None = None
    is_control: bool = False
    only: Kind | None = None
    stop_after: int | None = None

    def run(self, show: Callable[[Report], None] | None = None) -> Report:
        report = Report(options=self._words(" --mutation ", " --only "))
        began = time.perf_counter()
        workers = [self._start(number) for number in range(self.jobs)]
        try:
            for result in _results(workers):
                report.add(result)
                report.wall_s = time.perf_counter() - began
                if show is not None:
                    show(report)
                if self.stop_after is not None and len(report.bad) >= self.stop_after:
                    break
        finally:
            for worker in workers:
                worker.terminate()
                worker.communicate()
        if self.stop_after is None and report.runs != self.runs:
            raise RuntimeError(f"{report.runs} of {self.runs} runs came to an end: a worker process died")
        return report

    def _words(self, mutation: str, only: str) -> str:
        words = "" if self.mutation is None else mutation + self.mutation
        return words if self.only is None else f"{words}{only}'{self.only.value}'"

    def _start(self, number: int) -> subprocess.Popen[str]:
        order = {
            "seeds": [self.first_seed + number, self.first_seed + self.runs, self.jobs],
            "mutation": self.mutation,
            "is_control": self.is_control,
            "only": None if self.only is None else self.only.value,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.campaign", json.dumps(order)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(_ROOT)},
        )


def _results(workers: list[subprocess.Popen[str]]) -> Iterator[Mapping[str, Any]]:
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


def work(order: Mapping[str, Any]) -> None:
    """A worker process: runs its seeds, one line of JSON for each."""
    only = None if order["only"] is None else Kind(order["only"])
    for number, seed in enumerate(range(*order["seeds"])):
        began = time.process_time()
        outcome = run_one(seed, mutation=order["mutation"], is_control=order["is_control"], only=only)
        if number % _COLLECT_EVERY == 0:
            collect_garbage()
        result = {
            "seed": seed,
            "cpu_s": time.process_time() - began,
            "planned": Counter(fault.kind.value for fault in outcome.planned),
            "struck": outcome.struck,
            "places": outcome.places,
            "places_struck": outcome.places_struck,
            "violations": [str(violation) for violation in outcome.violations],
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
