"""``import``: footage from before, through the running collector."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from collector.clock import utc_now
from collector.commands.output import FAILED, ProgressLine, print_failure, print_result
from collector.config import CollectorConfig
from collector.importing.client import connected
from collector.importing.errors import SheetError, SourceError
from collector.importing.identity import enrol_importer, one_at_a_time
from collector.importing.importer import Import, Outcome
from collector.importing.sheet import MAX_SHEET_BYTES, Sheet, parse_sheet
from collector.importing.source import FoundFile
from collector.importing.testimony import Testimony
from collector.keeping.stored_log import StoredLog
from collector.progress import Progress
from protocol.digest import Digest

_SHOWN: Final = 50


def import_footage(options: argparse.Namespace) -> int:
    """Import a folder; 0 when every file is stored and nothing needs a person."""
    config = CollectorConfig.load(options.data.resolve())
    if options.agency not in config.agencies:
        return print_failure(
            options, "agency-unknown", f"{options.agency} is not an agency of this collector"
        )
    folder = options.source.resolve()
    if config.data_dir == folder or folder in config.data_dir.parents or config.data_dir in folder.parents:
        raise SourceError("the folder to import lies apart from the collector's data")
    table = None if options.csv is None else options.csv.resolve()
    data = b"" if table is None else _read(table)
    sheet = Sheet() if table is None else parse_sheet(data, _zone(options.zone))
    with one_at_a_time(config), closing(ProgressLine()) as line:
        outcome = asyncio.run(_import(config, options.agency, folder, sheet, table, data, line.show))
    print_result(options, _values(outcome, sheet), "\n".join(_in_words(outcome, sheet)))
    return FAILED if outcome.failed or outcome.problems else 0


async def _import(
    config: CollectorConfig,
    agency: str,
    folder: Path,
    sheet: Sheet,
    table: Path | None,
    data: bytes,
    progress: Progress,
) -> Outcome:
    log_key = StoredLog.open(config.log_dir).key
    importer = await enrol_importer(config, agency, log_key, utc_now())
    async with connected(importer) as client:
        return await Import(
            client,
            Testimony(importer.seed, agency, folder.name),
            folder=folder,
            sheet=sheet,
            table=None if table is None or table.is_relative_to(folder) else _as_file(table),
            table_digest=Digest.of(data),
            progress=progress,
        ).run()


def _read(table: Path) -> bytes:
    with table.open("rb") as file:
        return file.read(MAX_SHEET_BYTES + 1)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SheetError(f"unknown time zone {name!r}") from error


def _as_file(table: Path) -> FoundFile:
    """The table is evidence too: it goes in under its own name."""
    facts = table.stat()
    return FoundFile(
        raw_path=b"import-table/" + table.name.encode("utf-8", "surrogateescape"),
        location=table,
        size_bytes=facts.st_size,
        modified_at=datetime.fromtimestamp(int(facts.st_mtime), UTC),
    )


def _values(outcome: Outcome, sheet: Sheet) -> dict[str, object]:
    return {
        "imported": outcome.imported,
        "imported_bytes": outcome.imported_bytes,
        "known": outcome.known,
        "rows": len(sheet.rows),
        "columns_ignored": list(sheet.ignored),
        "failed": [{"code": one.code, "about": one.about} for one in outcome.failed],
        "problems": [{"code": one.code, "about": one.about} for one in outcome.problems],
    }


def _in_words(outcome: Outcome, sheet: Sheet) -> Iterator[str]:
    yield (
        f"已导入 imported and receipted: {outcome.imported} files, {outcome.imported_bytes} bytes；"
        f"此前已导入 known before: {outcome.known}；未导入 failed: {len(outcome.failed)}"
    )
    if sheet.ignored:
        yield f"  未识别的列 columns without a known name: {', '.join(sheet.ignored)}"
    counts = Counter(one.code for one in (*outcome.failed, *outcome.problems))
    for code, count in sorted(counts.items()):
        yield f"  {code}: {count}"
    shown = [*outcome.failed, *outcome.problems]
    for one in shown[:_SHOWN]:
        yield f"    {one.code}: {one.about}"
    if len(shown) > _SHOWN:
        yield f"    … {len(shown) - _SHOWN} more, all of them with --json"
