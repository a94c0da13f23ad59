"""``scripts/fuzz``: every parser of ``tests/support/fuzz_targets.py`` for a while, each from valid inputs.

What was learnt is kept in ``.fuzz/<target>/`` and the next run goes on from there. A finding is a file in
``.fuzz/findings/<target>/``; fix it, then move the file to ``tests/fuzz/findings/<target>/``, where the tests try it
for ever. An input may take at most 10 s and 1 GiB.

Exit codes: 0 nothing found; 1 something was; 2 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.support.fuzz_targets import TARGETS

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / ".fuzz"
DEFAULT_S: Final = 60
_PER_INPUT_S: Final = 10
_MEMORY_MIB: Final = 1024
_LONGEST_INPUT_BYTES: Final = 20_000
_SHOWN_LINES: Final = 25
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=DEFAULT_S, help="for each target (default 60)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    wanted = options.targets or list(TARGETS)
    findings = [found for name in wanted for found in _search(name, options.seconds)]
    for path in findings:
        print(f"finding: {path.relative_to(ROOT)}")
    print(f"{len(wanted)} targets, {len(findings)} findings")
    return 1 if findings else 0


def _search(name: str, seconds: int) -> list[Path]:
    """Findings of one target, those of earlier runs included."""
    corpus, findings = WORK / name, WORK / "findings" / name
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds():
        (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
    done = subprocess.run(
        [
            sys.executable, "-m", "scripts.fuzz_child", name, str(corpus), f"-max_total_time={seconds}",
            f"-timeout={_PER_INPUT_S}", f"-rss_limit_mb={_MEMORY_MIB}", f"-max_len={_LONGEST_INPUT_BYTES}",
            f"-artifact_prefix={findings}/", "-print_final_stats=1", "-use_value_profile=1",
        ],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    output = done.stdout.decode("utf-8", "replace")
    executed = _EXECUTED.search(output)
    found = sorted(findings.iterdir())
    print(f"{name:20} {int(executed[1]) if executed else 0:>10,} inputs  {len(found)} findings", flush=True)
    if done.returncode != 0:
        print("\n".join(output.splitlines()[-_SHOWN_LINES:]))
    if done.returncode != 0 and not found:
        raise SystemExit(f"{name} could not be searched")
    return found


if __name__ == "__main__":
    sys.exit(main())
