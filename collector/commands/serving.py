"""``run``: the collector at work until a signal stops it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from collector.app import Collector, run
from collector.config import CollectorConfig
from collector.memory import keep_little
from collector.stopping import stop_in_time


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    keep_little()
    config = CollectorConfig.load(options.data.resolve())
    asyncio.run(_serve(config))
    return 0


async def _serve(config: CollectorConfig) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_in_time, stop)
    await run(config, stop, _announce)


def _announce(collector: Collector) -> None:
    print(f"汇聚端运行中 collector running at {collector.config.url}", file=sys.stderr)
