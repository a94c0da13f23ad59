"""Agent and collector through whole visits, with faults at every durable step, and a judge who knows what was on every
recorder. docs/reliability.md tells how."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence

from tests.campaign.campaign import Campaign, scratch
from tests.campaign.mutations import MUTATIONS
from tests.campaign.noticing import Noticed, notice_all, table
from tests.campaign.plan import Kind
from tests.campaign.report import Report
from tests.campaign.single import Bench

INTERRUPTED = 130
EPILOG = (
    "exit codes: 0 no violation, or every mutation noticed; 1 violations, each with the command that repeats it, or a"
    " mutation that nobody noticed; 2 wrong options; 130 ended by Ctrl-C, after the report of what was done"
)


def main(words: Sequence[str] | None = None) -> int:
    options = _parse(words)
    if options.repeat is not None:
        return _repeat(options)
    if options.mutations:
        return _notice(options)
    campaign = Campaign(
        first_seed=options.seed,
        runs=options.runs,
        jobs=options.jobs,
        mutation=options.mutation,
        only=options.only,
    )
    report = campaign.run(lambda report: _progress(report.progress()))
    _progress("")
    print(json.dumps(report.to_json(), indent=1) if options.json else "\n".join(report.lines()))
    return _exit_code(report)


def _exit_code(report: Report) -> int:
    if not report.is_clean:
        return 1
    return 0 if report.is_whole else INTERRUPTED


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
    parser.add_argument(
        "--mutations",
        action="store_true",
        help="each protection disabled until a run notices; prints the table",
    )
    parser.add_argument("--repeat", type=int, metavar="SEED", help="one run again, with its story")
    return parser.parse_args(words)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _notice(options: argparse.Namespace) -> int:
    noticed: list[Noticed] = []
    try:
        for one in notice_all(jobs=options.jobs):
            noticed.append(one)
            _progress(f"{len(noticed)} of {len(MUTATIONS)} protections disabled in turn")
    except KeyboardInterrupt:
        _progress("")
    print("\n".join(table(noticed)))
    for one in noticed:
        if one.control:
            print(f"{one.mutation}: seed {one.seed} complains with the protection in place: {one.control[0]}")
    if not all(one.is_well for one in noticed):
        return 1
    return 0 if len(noticed) == len(MUTATIONS) else INTERRUPTED


def _repeat(options: argparse.Namespace) -> int:
    with scratch() as home:
        outcome = Bench(home).run(options.repeat, mutation=options.mutation, only=options.only)
    for fault in outcome.planned:
        print(f"planned: {fault.describe()}")
    print("\n".join(outcome.story))
    for violation in outcome.violations:
        print(violation)
    print(f"{len(outcome.violations)} violations after {outcome.virtual_s:.0f} s of virtual time")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: worker processes end, files go
    sys.exit(main())
