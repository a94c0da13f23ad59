"""``status``: what the station last said of itself."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Final

from agent.clock import utc_now
from agent.commands.output import print_failure, print_result
from agent.config import AgentConfig
from agent.status import format_lines, load_status
from protocol.times import parse_time

_OLD: Final = timedelta(seconds=30)
"""A running station writes its status every second; while its disk is very busy, later."""


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
