"""``run``, ``status`` and ``checkpoint``: the station at work, what it says of itself, what it has seen of the log."""

from __future__ import annotations

import argparse
import asyncio
import signal
from datetime import timedelta
from typing import Final

from agent.app import run, utc_now
from agent.commands.output import Console, let_go_of_stdout, print_failure, print_result
from agent.config import AgentConfig
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from agent.status import format_lines, load_status
from agent.stopping import stop_in_time
from protocol.times import parse_time

_OLD: Final = timedelta(seconds=30)
"""A running station writes its status every second; while its disk is very busy, later."""


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
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


def status(options: argparse.Namespace) -> int:
    """The last snapshot the station wrote of itself."""
    config = AgentConfig.load(options.data.resolve())
    snapshot = load_status(config.status_path)
    if snapshot is None:
        return print_failure(options, "no-status", "this station has not been running yet: zhilu-agent run")
    print_result(options, snapshot, "\n".join([*format_lines(snapshot), *_age(snapshot["at"])]))
    return 0


def _age(at: str) -> list[str]:
    if utc_now() - parse_time(at) <= _OLD:
        return []
    return [f"以上为 {at} 的状态，本站程序可能未在运行。 Old: the station may not be running."]


def checkpoint(options: argparse.Namespace) -> int:
    """The newest checkpoint of the log that this station has verified: whoever restores a collector asks for it."""
    config = AgentConfig.load(options.data.resolve())
    if not config.journal_path.exists():
        return print_failure(options, "no-checkpoint", "this station has no journal yet")
    journal = Journal(config.journal_path, DirectorySpool(config.spool_dir))
    try:
        note = journal.last_checkpoint()
    finally:
        journal.close()
    if note is None:
        return print_failure(options, "no-checkpoint", "this station has not seen a checkpoint yet")
    text = note.decode()
    print_result(options, {"checkpoint": text, "entries": int(text.split("\n")[1])}, text.rstrip("\n"))
    return 0
