"""``rebuild``, ``backup``, ``restore``, ``resume``: what an administrator does so that nothing is ever lost."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from collector.clock import utc_now
from collector.commands.output import FAILED, ProgressLine, print_result
from collector.config import CollectorConfig
from collector.keeping import rebuilding, restoring
from collector.keeping.backup import BackupMade, back_up
from collector.keeping.rebuilding import Comparison
from collector.keeping.restoring import Restored
from collector.keeping.sealed_keys import read_passphrase
from collector.keeping.state import Keys
from collector.log.tile_files import WriterLease
from protocol.limits import MAX_NOTE_BYTES


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


def backup(options: argparse.Namespace) -> int:
    """Bring a backup up to date, beside a running collector or without one."""
    config = CollectorConfig.load(options.data.resolve())
    passphrase = _passphrase(options.passphrase_file)
    with closing(ProgressLine()) as line:
        made = back_up(
            config,
            options.to.resolve(),
            utc_now(),
            line.show,
            passphrase=passphrase,
            with_plain_keys=options.with_keys,
            recheck=options.recheck,
        )
    print_result(
        options,
        {
            "entries": made.entries,
            "files": made.files,
            "copied_files": made.copied_files,
            "copied_bytes": made.copied_bytes,
            "only_in_backup": made.only_here,
            "keys": made.keys.value,
            "problems": list(made.problems),
        },
        "\n".join(_backup_in_words(made)),
    )
    return FAILED if made.problems or made.only_here else 0


def _backup_in_words(made: BackupMade) -> Iterator[str]:
    yield (
        f"备份完成 backup complete: {made.entries} log entries, {made.files} files, "
        f"of which {made.copied_files} ({made.copied_bytes} bytes) are new"
    )
    if made.keys is Keys.NONE:
        yield (
            "  不含私钥 without the private keys: keep keys/ and tls/ca.key elsewhere, sealed; "
            "without them nobody can go on with this log"
        )
    if made.keys is Keys.PLAIN:
        yield "  含明文私钥 the private keys are in it, readable: whoever has this backup can sign in your name"
    if made.only_here:
        yield f"  {made.only_here} objects are in the backup and no longer in the collector: put them back"
    for problem in made.problems:
        yield f"  {problem}"


def restore(options: argparse.Namespace) -> int:
    """Make a collector again in an empty folder."""
    with closing(ProgressLine()) as line:
        restored = restoring.restore(
            options.source.resolve(),
            options.data.resolve(),
            line.show,
            seen=_notes(options.seen),
            even_if_older=options.even_if_older,
            passphrase=_passphrase(options.passphrase_file),
            accept_loss=options.accept_loss,
        )
    print_result(
        options,
        {
            "entries": restored.note.entries,
            "backup_made_at": restored.note.made_at.isoformat(),
            "files": restored.files,
            "keys": restored.keys.value,
            "held": restored.held,
            "problems": [*restored.note.problems, *restored.problems],
        },
        "\n".join(_restored_in_words(restored)),
    )
    return FAILED if restored.note.problems or restored.problems else 0


def _restored_in_words(restored: Restored) -> Iterator[str]:
    note = restored.note
    yield (
        f"已恢复 restored {note.collector}: {note.entries} log entries and {restored.files} files checked, "
        f"catalogue remade, as of {note.made_at.isoformat()}"
    )
    if restored.keys is Keys.NONE:
        yield (
            "  备份不含私钥 the backup has no private keys: put keys/log.key, keys/statement.key and tls/ca.key back "
            "(mode 600) before the collector runs"
        )
    yield from _held_in_words(restored.held)
    for problem in (*note.problems, *restored.problems):
        yield f"  {problem}"


def resume(options: argparse.Namespace) -> int:
    """Decide whether a restored log may go on; it may or may not while nobody runs it."""
    config = CollectorConfig.load(options.data.resolve())
    with stopped(config):
        outcome, held = restoring.resume(config, _notes(options.seen), even_if_older=options.even_if_older)
    decision = None if outcome.decision is None else outcome.decision.value
    print_result(
        options,
        {"entries": outcome.entries, "decision": decision, "held": held},
        "\n".join(_held_in_words(held)) or "可以运行 the collector may run: zhilu-collector run",
    )
    return FAILED if held else 0


def _held_in_words(held: str | None) -> Iterator[str]:
    if held is not None:
        yield f"  日志封存中，不能运行 the log is held and the collector does not run: {held}"


def _passphrase(path: Path | None) -> bytes | None:
    return None if path is None else read_passphrase(path)


def _notes(paths: list[Path]) -> list[bytes]:
    notes = []
    for path in paths:
        with path.open("rb") as file:
            notes.append(file.read(MAX_NOTE_BYTES))
    return notes
