"""``receipts``: kept receipts as single files, as auditors and ``zhilu-verify`` want them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.commands.output import print_failure, print_result
from agent.config import AgentConfig
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from protocol.digest import Digest


def receipts(options: argparse.Namespace) -> int:
    """Write the receipts asked for, or all, into a folder; the station may run meanwhile."""
    config = AgentConfig.load(options.data.resolve())
    if not config.journal_path.exists():
        return print_failure(options, "no-journal", "this station has not been running yet: zhilu-agent run")
    wanted = [_digest(name) for name in options.of]
    journal = Journal(config.journal_path, DirectorySpool(config.spool_dir))
    try:
        missing = [name for name in wanted if not journal.receipted_statements_of(name)]
        if missing:
            return print_failure(options, "receipt-unknown", f"no receipt is kept for {missing[0]}")
        written = list(write_receipts(journal, options.out, wanted))
    finally:
        journal.close()
    text = f"写出 {len(written)} 份回执到 wrote {len(written)} receipts to {options.out}"
    print_result(options, {"receipts": [str(path) for path in written]}, text)
    return 0


def write_receipts(journal: Journal, folder: Path, wanted: Iterable[Digest] = ()) -> Iterator[Path]:
    """Each kept receipt as ``<statement hex>.json``; ``wanted`` names files or statements, none means all. Raises
    SpoolError, JournalError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for statement in _statements(journal, wanted):
        receipt = journal.receipt(statement)
        if receipt is not None:
            path = folder / f"{statement.hex}.json"
            path.write_bytes(receipt)
            yield path


def _statements(journal: Journal, wanted: Iterable[Digest]) -> Iterator[Digest]:
    named = list(wanted)
    for name in named:
        yield from journal.receipted_statements_of(name)
    after = ""
    while not named and (page := journal.receipted_statements(after)):
        yield from page
        after = str(page[-1])


def _digest(text: str) -> Digest:
    return Digest.parse(text if ":" in text else f"sha256:{text}")
