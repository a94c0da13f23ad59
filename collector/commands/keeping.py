"""``rebuild``: the catalogue made anew, or compared with one that is."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

from collector.commands.output import FAILED, ProgressLine, print_result
from collector.config import CollectorConfig
from collector.keeping import rebuilding
from collector.keeping.rebuilding import Comparison
from collector.log.tile_files import WriterLease


def rebuild(options: argparse.Namespace) -> int:
    """Remake the catalogue while the collector is stopped; with ``--compare`` only look, also while it runs."""
    config = CollectorConfig.load(options.data.resolve())
    if options.compare:
        return _compare(options, config)
    with closing(ProgressLine()) as line, stopped(config):
        rebuilt = asyncio.run(rebuilding.rebuild(config, line.show, accept_loss=options.accept_loss))
    print_result(
        options,
        {"entries": rebuilt.size, "statements_lost": len(rebuilt.lost)},
        f"目录已重建 catalogue remade from {rebuilt.size} log entries"
        + (f", without {len(rebuilt.lost)} lost statements" if rebuilt.lost else ""),
    )
    return 0


def _compare(options: argparse.Namespace, config: CollectorConfig) -> int:
    with closing(ProgressLine()) as line:
        found = asyncio.run(rebuilding.compare(config, line.show))
    print_result(
        options,
        {
            "identical": found.count == 0,
            "entries": found.size,
            "differing_rows": found.count,
            "first": [str(difference) for difference in found.first],
            "statements_lost": len(found.lost),
        },
        "\n".join(_in_words(found)),
    )
    return FAILED if found.count else 0


def _in_words(found: Comparison) -> Iterator[str]:
    if not found.count:
        yield f"目录与日志一致 identical: catalogue and {found.size} log entries say the same"
        return
    yield f"目录与日志不一致 {found.count} rows differ (existing → new), of {found.size} log entries; the first:"
    for difference in found.first:
        yield f"  {difference}"
    if found.lost:
        yield f"  {len(found.lost)} statements cannot be read from objects/: that alone makes rows differ"


@contextmanager
def stopped(config: CollectorConfig) -> Iterator[None]:
    """Nobody runs this collector meanwhile. Raises LogLockedError."""
    lease = WriterLease(config.log_dir)
    try:
        yield
    finally:
        lease.release()
