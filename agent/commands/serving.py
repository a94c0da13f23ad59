"""``run``: the station at work."""

from __future__ import annotations

import argparse
import asyncio
import signal

from agent.app import run
from agent.commands.output import Console, let_go_of_stdout
from agent.config import AgentConfig
from agent.memory import keep_little
from agent.stopping import stop_in_time


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    keep_little()
    try:
        asyncio.run(_serve(AgentConfig.load(options.data.resolve()), as_json=options.json))
    finally:
        let_go_of_stdout()
    return 0


async def _serve(config: AgentConfig, *, as_json: bool) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_in_time, stop)
    await run(config, stop, None if as_json else Console().show)
