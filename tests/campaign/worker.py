"""A worker process: does what its order says, one line of JSON for each run or mutation."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.campaign.noticing import notice
from tests.campaign.plan import Kind
from tests.campaign.single import Bench


def work(bench: Bench, order: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """``mutations`` to be noticed, or ``seeds`` to be run."""
    for name in order.get("mutations", ()):
        yield asdict(notice(bench, name))
    only = None if order.get("only") is None else Kind(order["only"])
    for seed in range(*order.get("seeds", (0,))):
        yield _run(bench, seed, order["mutation"], only)


def _run(bench: Bench, seed: int, mutation: str | None, only: Kind | None) -> Mapping[str, Any]:
    outcome = bench.run(seed, mutation=mutation, only=only)
    return {
        "seed": seed,
        "planned": Counter(fault.kind.value for fault in outcome.planned),
        "struck": outcome.struck,
        "places": outcome.places,
        "places_struck": outcome.places_struck,
        "violations": [str(violation) for violation in outcome.violations],
    }


if __name__ == "__main__":
    for line in work(Bench(Path(sys.argv[1])), json.loads(sys.argv[2])):
        print(json.dumps(line), flush=True)
