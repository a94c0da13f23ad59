"""What came of a campaign, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.campaign.plan import Kind
from tests.campaign.view import VERDICTS


@dataclass(eq=False)
class Report:
    """``planned_runs`` less those that came to an end are what is left; ``options`` repeat a run."""

    planned_runs: int
    options: str = ""
    runs: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    planned: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    places_struck: Counter[str] = field(default_factory=Counter)
    bad: dict[int, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        return not self.bad

    @property
    def is_whole(self) -> bool:
        return self.runs == self.planned_runs

    @property
    def strikes(self) -> int:
        return sum(self.struck.values())

    def add(self, result: Mapping[str, Any]) -> None:
        """One line of a worker."""
        self.runs += 1
        self.planned.update(result["planned"])
        self.struck.update(result["struck"])
        self.places.update(result["places"])
        self.places_struck.update(result["places_struck"])
        if result["violations"]:
            self.bad[result["seed"]] = result["violations"]

    def never_struck(self) -> list[str]:
        """Places in the code where a durable step was taken, and never with a fault."""
        return sorted(place for place in self.places if not self.places_struck[place])

    def progress(self) -> str:
        """One line while it lasts."""
        left_s = self.wall_s / max(1, self.runs) * (self.planned_runs - self.runs)
        return (
            f"{self.runs} of {self.planned_runs} runs, {self.strikes} faults struck, {len(self.bad)} runs violated,"
            f" about {_duration(left_s)} left"
        )

    def to_json(self) -> dict[str, object]:
        return {
            "runs": self.runs,
            "planned_runs": self.planned_runs,
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
        """For people."""
        if not self.is_whole:
            yield f"interrupted: {self.runs} of {self.planned_runs} runs came to an end"
        each_s = self.cpu_s / max(1, self.runs)
        yield (
            f"{self.runs} runs, {self.strikes} faults struck; {_duration(self.wall_s)},"
            f" {self.cpu_s:.0f} s of CPU, {each_s:.2f} s a run"
        )
        for kind in Kind:
            yield f"  {kind.value:32} planned {self.planned[kind.value]:6}  struck {self.struck[kind.value]:6}"
        yield from self._durable_steps()
        counts = Counter(text.partition(":")[0] for texts in self.bad.values() for text in set(texts))
        yield ", ".join(f"{counts[kind]} {kind}" for kind in VERDICTS)
        for seed, texts in sorted(self.bad.items()):
            yield f"seed {seed}: scripts/faults --repeat {seed}{self.options}"
            yield from (f"  {text}" for text in texts[:5])

    def _durable_steps(self) -> Iterator[str]:
        left = self.never_struck()
        reached = len(self.places) - len(left)
        each = "every one of them" if not left else f"{reached} of them"
        yield f"durable steps: {len(self.places)} places in the code, faults struck at {each}"
        yield from (f"  never struck: {place}, come by {self.places[place]} times" for place in left)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )
