"""What an audit needs for a long log: ``python -m scripts.bench_audit --entries 1000000 --data DIR``.

The log is real: every statement signed, every tile and root computed, every payload, listing and original there. Only
the store is packed into one file, because a million small files would measure the file system. The audit runs in a
process of its own, whose peak of memory (VmHWM) is told with its CPU time.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from collector.audit import Audited, audit
from collector.audit.engine import Scope
from collector.audit.objects import ObjectName
from collector.errors import ObjectMissingError
from collector.files import PosixFiles
from collector.log.tile_files import TileFiles
from collector.objects import ObjectClass
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.listing import ListingRow, RowState
from protocol.note import VerifierKey
from protocol.statements import Inventory, Manifest, Statement, sign_statement, statement_id
from tests.support import evidence
from tests.support.memory_log import MemoryLog

_BATCH: Final = 10_000
_CLIPS: Final = 100
"""Of a visit: a bundle of photographs, or a week of clips."""

_SAMPLE: Final = 200
_Row = tuple[bytes, str, str, bytes]


class PackedObjects:
    """``AuditedObjects`` in one file."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA synchronous = OFF")

    def create(self) -> None:
        self._file.execute(
            "CREATE TABLE objects (digest BLOB PRIMARY KEY, agency TEXT, cls TEXT, content BLOB) WITHOUT ROWID"
        )

    def add(self, rows: list[_Row]) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?)", rows)
        self._file.execute("COMMIT")

    def agencies(self) -> list[str]:
        return [agency for (agency,) in self._file.execute("SELECT DISTINCT agency FROM objects")]

    def walk(self, agency: str) -> Iterator[ObjectName | str]:
        query = "SELECT digest, cls FROM objects WHERE agency = ? ORDER BY digest"
        for digest, cls in self._file.execute(query, (agency,)):
            yield ObjectName(agency=agency, cls=ObjectClass(cls), digest=Digest.sha256(digest.hex()))

    def read(self, name: ObjectName) -> bytes:
        query = "SELECT content FROM objects WHERE digest = ?"
        row = self._file.execute(query, (bytes.fromhex(name.digest.hex),)).fetchone()
        if row is None:
            raise ObjectMissingError(f"no object {name.digest}")
        content: bytes = row[0]
        return content

    def blocks(self, name: ObjectName) -> Iterator[bytes]:
        yield self.read(name)

    def rehash(self, name: ObjectName, passed: Callable[[int], object] = int) -> tuple[Digest, int]:
        content = self.read(name)
        passed(len(content))
        return Digest.of(content), len(content)

    def size_bytes(self, name: ObjectName) -> int:
        return len(self.read(name))

    def is_read_only(self, name: ObjectName) -> bool:
        return True


class Growing:
    """A log under way, and what it promises."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = MemoryLog()
        self._entries: list[bytes] = []
        self._rows: list[_Row] = []
        self.objects = PackedObjects(folder / "objects.sqlite")
        self.objects.create()
        self.size = 0

    def say(self, statement: Statement, seed: bytes) -> Digest:
        envelope = sign_statement(statement, seed)
        identity = statement_id(envelope)
        self._keep(statement.header.agency, ObjectClass.STATEMENTS, identity, envelope.payload)
        self._entries.append(LogEntry.of(envelope, statement).to_bytes())
        self.size += 1
        if len(self._entries) == _BATCH:
            self._flush()
        return identity

    def store(self, promise: Inventory | Manifest, of: Digest, cls: ObjectClass, content: bytes) -> None:
        self._keep(promise.header.agency, cls, Digest.of(content), content)
        self.say(evidence.stored(promise, of, self.size), evidence.COLLECTOR_SEED)

    def visit(self, number: int) -> None:
        """A recorder of its own, all of whose files are stored."""
        contents = [b"original %d" % (number * _CLIPS + row) for row in range(_CLIPS)]
        listing = b"".join(
            ListingRow(
                raw_path=b"DCIM/%08d.jpg" % row,
                size_bytes=len(content),
                modified_at=None,
                state=RowState.TO_READ,
            ).to_bytes()
            for row, content in enumerate(contents)
        )
        visit = f"{number:032x}"
        inventory = replace(
            evidence.inventory(self.size, rows=_CLIPS),
            listing=Digest.of(listing),
            listing_size_bytes=len(listing),
            visit=visit,
            bay=f"bay-{number % 8}",
            recorder=None,
        )
        of = self.say(inventory, evidence.STATION_SEED)
        self.store(inventory, of, ObjectClass.LISTINGS, listing)
        for row, content in enumerate(contents):
            manifest = replace(evidence.manifest(content, of, self.size, row=row), visit=visit)
            self.store(manifest, self.say(manifest, evidence.STATION_SEED), ObjectClass.ORIGINALS, content)

    def close(self) -> None:
        self._flush()
        self._log.write(self._folder / "log")

    def _keep(self, agency: str, cls: ObjectClass, digest: Digest, content: bytes) -> None:
        self._rows.append((bytes.fromhex(digest.hex), agency, cls.value, content))

    def _flush(self) -> None:
        self._log.append(self._entries)
        self.objects.add(self._rows)
        self._entries, self._rows = [], []


def grow(folder: Path, entries: int) -> None:
    """A collector's log and objects of so many entries, or a few more."""
    growing = Growing(folder)
    growing.say(
        evidence.enrolled(evidence.COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), evidence.COLLECTOR_SEED
    )
    growing.say(evidence.enrolled(evidence.STATION_SEED), evidence.COLLECTOR_SEED)
    number = 0
    while growing.size < entries:
        growing.visit(number)
        number += 1
    growing.close()


def audit_it(folder: Path) -> None:
    """In this process: what came out, how much memory and CPU it took."""
    log = TileFiles(folder / "log", PosixFiles())
    key = VerifierKey.parse((folder / "log" / "vkey").read_text().strip())
    audited = Audited(log=log, objects=PackedObjects(folder / "objects.sqlite"), key=key)
    report = audit(audited, Scope(sample=_SAMPLE))
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    first = report.problems[:3]
    print(
        f"{report.log_size:,} entries, clean {report.is_clean} {first or ''}: VmHWM {peak / 1024:.0f} MiB,"
        f" {time.process_time():.0f} s CPU"
    )
    for section in report.sections:
        print(f"  {section.name}: {section.checked:,}, {section.seconds:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description="What an audit needs for a long log.")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder; a log that is there is audited again"
    )
    parser.add_argument("--audit-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.data / str(options.entries)
    if options.audit_only:
        audit_it(folder)
        return 0
    if not (folder / "log" / "vkey").is_file():
        folder.mkdir(parents=True)
        grow(folder, options.entries)
    again = [sys.executable, "-m", "scripts.bench_audit", "--audit-only", "--data", str(options.data)]
    return subprocess.run([*again, "--entries", str(options.entries)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
