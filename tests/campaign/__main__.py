"""``scripts/faults``: options, and what people see."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from tests.campaign.campaign import Campaign, Report, run_one
from tests.campaign.mutations import MUTATIONS
from tests.campaign.plan import Kind

EPILOG = (
    """exit codes: 0 no violation; 1 violations, each with the command that repeats it; 2 wrong options"""
)


def main(words: Sequence[str] | None = None) -> int:
    options = _parse(words)
    if options.repeat is not None:
        return _repeat(options)
    campaign = Campaign(
        first_seed=options.seed,
        runs=options.runs,
        jobs=options.jobs,
        mutation=options.mutation,
        only=options.only,
    )
    report = campaign.run(_show_progress if sys.stderr.isatty() else None)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    print(json.dumps(report.to_json(), indent=1) if options.json else "\n".join(report.lines()))
    return 0 if report.is_clean else 1


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__, epilog=EPILOG)
    parser.add_argument("--runs", type=int, default=500, metavar="N", help="how many runs (default 500)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the first run's seed (default 1)")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="J", help="processes beside each other (default 2)"
    )
    parser.add_argument("--json", action="store_true", help="the report for machines")
    parser.add_argument(
        "--only", type=Kind, choices=list(Kind), metavar="KIND", help="this kind of fault alone"
    )
    parser.add_argument(
        "--mutation", choices=sorted(MUTATIONS), help="with one protection of the product disabled"
    )
    parser.add_argument("--repeat", type=int, metavar="SEED", help="one run again, with its story")
    return parser.parse_args(words)


def _show_progress(report: Report) -> None:
    sys.stderr.write(
        f"\r\x1b[K{report.runs} runs, {report.strikes} faults struck, {len(report.bad)} violated"
    )
    sys.stderr.flush()


def _repeat(options: argparse.Namespace) -> int:
    outcome = run_one(options.repeat, mutation=options.mutation, only=options.only)
    for fault in outcome.planned:
        print(f"planned: {fault.describe()}")
    print("\n".join(outcome.story))
    for violation in outcome.violations:
        print(violation)
    print(f"{len(outcome.violations)} violations after {outcome.virtual_s:.0f} s of virtual time")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
