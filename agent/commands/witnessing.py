"""``checkpoint``: what the station has seen of the log."""

from __future__ import annotations

import argparse

from agent.commands.output import print_failure, print_result
from agent.config import AgentConfig
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal


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
