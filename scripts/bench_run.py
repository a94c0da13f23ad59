"""``scripts/bench``: speed as ratios, the product and its peers on the same files in the same run.

All contenders take turns; each round begins with the source out of the page cache and an empty target. The bars are
about the full sizes; ``--scale 0.02`` runs every part on few files, to see that it runs. Exit codes: 0 done, whatever
was found; 1 it could not be done; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.errors import AgentError
from scripts.bench_parts import PARTS, Bench
from scripts.bench_report import Report
from scripts.demo_processes import DemoError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    options = _parser().parse_args(arguments)
    report = Report(scale=options.scale)
    try:
        _run(options, report)
    except (AgentError, DemoError, OSError, subprocess.CalledProcessError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    else:
        print(report.markdown() if options.markdown else report.text(), end="")
    return 0


def _run(options: argparse.Namespace, report: Report) -> None:
    options.data.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        report, data=options.data.resolve(), scale=options.scale, rounds=options.rounds, skip=options.skip
    )
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            bench.say(name)
            part(bench)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="only this part; repeatable")
    parser.add_argument(
        "--scale", type=_scale, default=1.0, help="so much of the data (0.001 to 1, default 1)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each contender (default 3)")
    parser.add_argument(
        "--skip", action="append", default=[], help="leave out contenders whose name contains this"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("bench-data"),
        help="data sets and scratch space (default bench-data)",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--markdown", action="store_true", help="the tables of docs/performance.md")
    return parser


def _scale(text: str) -> float:
    scale = float(text)
    if not 0.001 <= scale <= 1.0:
        raise argparse.ArgumentTypeError("a scale from 0.001 to 1")
    return scale


if __name__ == "__main__":
    sys.exit(main())
