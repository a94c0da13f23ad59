"""A dead station's data directory as a rescue sees it: the journal is copied, blobs stay where they are.

Nothing is written below the dead directory. The copy of the journal and the receipts lie in a working folder, which
a second rescue of the same directory goes on with.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.lease import AlreadyRunningError
from agent.spool.directory import DirectorySpool
from agent.spool.files import Publication
from agent.spool.records import Purpose
from protocol.digest import Digest

_JOURNAL: Final = "journal.sqlite"
_WAL: Final = "-wal"
_SOURCE: Final = "source.sha256"
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class RescueError(AgentError):
    """The dead station's directory cannot be rescued from here. Says what is needed."""

    code = "rescue-impossible"


class RescueSpool(DirectorySpool):
    """Reads blobs of the dead spool, keeps receipts in the working folder, and changes no blob."""

    def __init__(self, dead: Path, work: Path) -> None:
        super().__init__(work, earlier_receipts=[dead / "receipts"])
        self._work = work
        self._dead = dead

    def path(self, purpose: Purpose, digest: Digest) -> Path:
        return self._dead / super().path(purpose, digest).relative_to(self._work)

    def blobs(self) -> Iterator[tuple[Purpose, Digest]]:
        """Every file that has the name of a blob, whatever the journal knows of it."""
        for purpose in Purpose:
            folder = self.path(purpose, Digest.of(b"")).parent.parent
            for path in sorted(folder.glob("??/*")):
                if path.is_file() and _NAME.fullmatch(path.name):
                    yield purpose, Digest.sha256(path.name)

    def unfinished_reads(self) -> list[Path]:
        """Files that were still being read from a recorder, which has them whole."""
        return sorted(path for path in (self._dead / "partial").glob("*") if path.is_file())

    def remove(self, purpose: Purpose, digest: Digest) -> None:
        raise RescueError("a rescue takes nothing away")

    def publish(self, publications: Sequence[Publication]) -> None:
        raise RescueError("a rescue adds nothing")

    def adopt(self, file: Path, purpose: Purpose, digest: Digest) -> None:
        raise RescueError("a rescue adds nothing")


def check_dead(data_dir: Path) -> None:
    """Raises AlreadyRunningError while an agent works in the directory, RescueError where there is no journal."""
    if not (data_dir / _JOURNAL).is_file():
        raise RescueError(f"{data_dir} is no station's data directory: it has no {_JOURNAL}")
    try:
        descriptor = os.open(data_dir / ".lease", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AlreadyRunningError(f"an agent is running in {data_dir}: it delivers by itself") from error
    finally:
        os.close(descriptor)


def copy_journal(data_dir: Path, work: Path) -> Path:
    """The journal in the working folder: one copied before goes on if the dead one has not changed since. Raises
    RescueError for a journal that SQLite cannot read."""
    source, target, mark = data_dir / _JOURNAL, work / _JOURNAL, work / _SOURCE
    identity = _identity(source)
    if target.exists() and mark.exists() and mark.read_text() == identity:
        return target
    for path in (mark, target, Path(f"{target}{_WAL}"), Path(f"{target}-shm")):
        path.unlink(missing_ok=True)
    for suffix in (_WAL, ""):
        if Path(f"{source}{suffix}").exists():
            shutil.copyfile(f"{source}{suffix}", f"{target}{suffix}")
    _check(target, source)
    mark.write_text(identity)
    return target


def _identity(source: Path) -> str:
    hasher = hashlib.sha256()
    for suffix in ("", _WAL):
        path = Path(f"{source}{suffix}")
        if path.exists():
            with path.open("rb") as file:
                hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()


def _check(copy: Path, source: Path) -> None:
    """Also plays what the dead station's write-ahead log held into the copy."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)") if row[0] != "ok"]
    except sqlite3.Error as error:
        problems = [str(error)]
    if problems:
        raise RescueError(
            f"the journal {source} is damaged ({'; '.join(problems)}): its files can still be brought in with "
            "zhilu-collector import, as what they are: files without a signed manifest"
        )
