"""``audit``: everything kept, checked again."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from collector.audit import Audited, AuditReport, DirectoryObjects, Scope, Section, audit
from collector.audit.listings import AuditedListings
from collector.catalogue import Catalogue
from collector.commands.output import ProgressLine, print_result
from collector.config import CollectorConfig
from collector.files import PosixFiles
from collector.log.tile_files import TileFiles
from protocol.errors import MalformedError
from protocol.limits import MAX_NOTE_BYTES
from protocol.note import VerifierKey

FOUND: Final = 3
"""Exit code: the audit was made and something is not as it should be."""

_TITLES: Final = {
    "log": "日志 log entries",
    "statements": "声明 statements",
    "objects": "对象 objects",
    "receipts": "回执 receipts",
    "conservation": "清点守恒 listed files",
}
_SHOWN: Final = 20
_MIB: Final = 1 << 20


def audit_collector(options: argparse.Namespace) -> int:
    """Audit a collector, running or stopped. Nothing of it is changed."""
    config = CollectorConfig.load(options.data.resolve())
    files = PosixFiles()
    objects = DirectoryObjects(files, config.objects_dir)
    scope = Scope(
        sample=options.sample, since=None if options.since is None else _read(options.since, MAX_NOTE_BYTES)
    )
    with closing(ProgressLine()) as line, _catalogue(config, objects) as catalogue:
        audited = Audited(
            log=TileFiles(config.log_dir, files),
            objects=objects,
            key=_key(options, config),
            catalogue=catalogue,
        )
        report = audit(audited, scope, progress=line.show)
    print_result(options, report.to_json(), "\n".join(_in_words(report, has_catalogue=catalogue is not None)))
    return 0 if report.is_clean else FOUND


@contextmanager
def _catalogue(config: CollectorConfig, objects: DirectoryObjects) -> Iterator[Catalogue | None]:
    if not config.catalogue_path.is_file():
        yield None
        return
    catalogue = Catalogue.look_into(config.catalogue_path, read_listing=AuditedListings(objects))
    try:
        yield catalogue
    finally:
        catalogue.close()


def _key(options: argparse.Namespace, config: CollectorConfig) -> VerifierKey:
    """The key given, else the one beside the log: good against accidents, not against who can change both."""
    text: str | None = options.log_key
    if text is None or "+" not in text or Path(text).is_file():
        path = config.log_dir / "vkey" if text is None else Path(text)
        text = _read(path, MAX_NOTE_BYTES).decode("utf-8", "replace")
    return VerifierKey.parse(text.strip())


def _read(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise MalformedError(f"{path} has more than {max_bytes} bytes")
    return data


def _in_words(report: AuditReport, *, has_catalogue: bool) -> Iterator[str]:
    yield f"{report.origin}: {report.log_size} log entries" + (
        f", looked into from {report.since} on" if report.since else ""
    )
    for section in report.sections:
        yield _sum(section, report.sampled)
        for remarks, count, mark in (
            (section.problems, section.problem_count, "问题 PROBLEM"),
            (section.notes, section.note_count, "提示 note"),
        ):
            for remark in remarks[:_SHOWN]:
                yield f"    {mark} {remark.code}: {_printable(remark.where)}: {_printable(remark.detail)}"
            if count > _SHOWN:
                yield f"    {mark}: {count - _SHOWN} more, see --json"
    if not has_catalogue:
        yield "没有目录可比 no catalogue to compare with"
    yield "审计通过 CLEAN" if report.is_clean else "审计发现问题 FINDINGS"


def _sum(section: Section, sampled: int | None) -> str:
    parts = [f"{_TITLES[section.name]}: {section.checked:,}"]
    if section.size_bytes:
        parts.append(f"{section.size_bytes:,} bytes")
    parts.append(f"{section.seconds:.1f} s")
    if section.size_bytes and section.seconds and section.name in ("objects", "statements"):
        parts.append(f"{section.size_bytes / section.seconds / _MIB:,.0f} MiB/s")
    if sampled is not None and section.name in ("objects", "receipts"):
        parts.append(f"抽查 a sample of {sampled}")
    return ", ".join(parts)


def _printable(text: str) -> str:
    """Texts quote what was received: an escape sequence in it must not repaint the verdict."""
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)
