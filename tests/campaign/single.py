"""One run in this Python process, with what runs have in common made once."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.campaign.kernel import collect_garbage
from tests.campaign.mutations import MUTATIONS, mutated
from tests.campaign.plan import Kind
from tests.campaign.run import PATIENCE_S, RECOVERY_S, Outcome, Run
from tests.campaign.scenario import SHAPES, Extent, Targets
from tests.campaign.template import Template, make_template

_MUTANTS_PATIENCE_S: Final = 80.0
_MUTANTS_RECOVERY_S: Final = 200.0
"""Who cannot recover any more needs no half hour to show it."""

_COLLECT_EVERY: Final = 10
"""Runs between two collections of garbage: within a run its time would depend on what was run before."""


@dataclass(eq=False)
class Bench:
    """``home`` is an empty folder for it alone. A run is known by its seed, wherever and after whatever it happens."""

    home: Path
    _template: Template = field(init=False)
    _extents: dict[int, Extent] = field(default_factory=dict)
    _runs: int = 0

    def __post_init__(self) -> None:
        self._template = make_template(self.home / "template", self.home / "world")
        gc.collect()
        gc.freeze()

    def run(
        self, seed: int, *, mutation: str | None = None, is_control: bool = False, only: Kind | None = None
    ) -> Outcome:
        """A mutation brings the faults that would show it; its control has them without it."""
        targets, patience_s, recovery_s = Targets(), PATIENCE_S, RECOVERY_S
        if mutation is not None:
            targets = MUTATIONS[mutation].targets
            patience_s, recovery_s = _MUTANTS_PATIENCE_S, _MUTANTS_RECOVERY_S
        elif only is not None:
            targets = Targets((only,))
        run = Run(
            self._template,
            self.home / "world",
            seed,
            extent=self._extent(seed % SHAPES),
            targets=targets,
            patience_s=patience_s,
            recovery_s=recovery_s,
        )
        with mutated(None if is_control else mutation):
            outcome = run.go()
        self._runs += 1
        if self._runs % _COLLECT_EVERY == 0:
            collect_garbage()
        return outcome

    def _extent(self, shape: int) -> Extent:
        """What a scenario has to strike at: one run without faults tells."""
        if shape not in self._extents:
            quiet = Run(self._template, self.home / "world", shape, faults=[], extent=Extent())
            self._extents[shape] = quiet.go().extent
        return self._extents[shape]
