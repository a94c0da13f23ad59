"""The form of a backup: a BagIt 1.0 bag (RFC 8493), so that ``sha256sum -c manifest-sha256.txt`` checks it.

``data/objects`` and ``data/log`` hold what never changes under its name and are shared by all backups made into one
place; ``data/state/<n>`` holds what does change, as it was at one moment. The manifest is replaced last, by a
rename: what it names is whole, and until then the manifest of the backup before holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from collector.files import Files
from collector.keeping.errors import BackupUnusableError
from collector.part_writer import write_all
from protocol.digest import Digest

MANIFEST: Final = "manifest-sha256.txt"
OBJECTS: Final = PurePosixPath("data/objects")
LOG: Final = PurePosixPath("data/log")
STATE: Final = PurePosixPath("data/state")
SCRATCH: Final = ".incoming"
LEASE: Final = ".lease"

_DECLARATION: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_LINE: Final = re.compile(r"([0-9a-f]{64})  (data/[A-Za-z0-9._/-]+)\n")
_CHUNK_LINES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of a bag: its path below the bag, and what it must hash to."""

    path: PurePosixPath
    digest: Digest


def write_manifest(files: Files, bag: Path, items: Iterable[Item]) -> int:
    """Declare the bag complete: durable on return; returns the number of files. Everything named is durable."""
    scratch = bag / SCRATCH / MANIFEST
    count = 0
    appender = files.create(scratch)
    try:
        lines: list[str] = []
        for item in items:
            lines.append(f"{item.digest.hex}  {item.path}\n")
            count += 1
            if len(lines) == _CHUNK_LINES:
                write_all(appender, "".join(lines).encode())
                lines.clear()
        write_all(appender, "".join(lines).encode())
        appender.sync()
    finally:
        appender.close()
    files.replace(scratch, bag / MANIFEST)
    files.sync_folder(bag)
    return count


def write_declaration(files: Files, bag: Path) -> None:
    """``bagit.txt``, which says what the rest is; durable with the manifest's folder."""
    if "bagit.txt" in files.names(bag):
        return
    appender = files.create(bag / SCRATCH / "bagit.txt")
    try:
        write_all(appender, _DECLARATION)
        appender.sync()
    finally:
        appender.close()
    files.replace(bag / SCRATCH / "bagit.txt", bag / "bagit.txt")


def read_manifest(bag: Path) -> Iterator[Item]:
    """What the bag must hold, line by line. Raises BackupUnusableError where there is no complete backup."""
    try:
        with (bag / MANIFEST).open(encoding="ascii", errors="replace", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                yield _parse(line, number)
    except FileNotFoundError as error:
        raise BackupUnusableError(
            f"there is no complete backup in {bag}: {MANIFEST} is missing, which is written last"
        ) from error


def _parse(line: str, number: int) -> Item:
    match = _LINE.fullmatch(line)
    if match is None or not {"", ".", ".."}.isdisjoint(match[2].split("/")):
        raise BackupUnusableError(f"line {number} of {MANIFEST} is not one that a backup writes")
    return Item(path=PurePosixPath(match[2]), digest=Digest.sha256(match[1]))
