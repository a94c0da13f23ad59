"""Takes the inventory of a volume: scans it, chooses the profile, and writes the listing into the spool.

A million files need the memory of a few: what the scan finds is sorted in a temporary SQLite database on disk that
vanishes with its connection. Blocking code for threads.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from itertools import zip_longest
from typing import Final

from agent.core.inventory import (
    KnownFile,
    KnownReads,
    VisitTally,
    no_earlier_reads,
    reading_key,
    row_of,
)
from agent.offload.marker import read_marker
from agent.offload.reader import Copied, block_buffer, re_read
from agent.offload.testimony import Listed
from agent.ports import Obstacle, RecorderVolume, ScannedEntry, VolumeIdentity
from agent.spool.files import PartialFile, Publication, SpoolFiles
from agent.spool.journal import Journal
from agent.spool.records import FileKey, NewRow, Purpose
from firmware_profiles.identity import DeviceSays, IdentityClaims, device_claims
from firmware_profiles.names import claims_from_path
from firmware_profiles.registry import Registry
from firmware_profiles.schema import Profile
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.listing import MAX_SIZE_BYTES, ListingRow, RowState, display_path, encode_listing

SILENT: Final = DeviceSays()
"""What a volume without a device that could be asked says of itself."""

_TABLES: Final = """
CREATE TABLE found (path BLOB PRIMARY KEY, size_bytes INTEGER, modified_ns TEXT, obstacle TEXT) WITHOUT ROWID;
CREATE TABLE listed (path BLOB, shown TEXT, size_bytes INTEGER, modified_ns TEXT, state TEXT, rule TEXT,
                     manifest TEXT, order_1 INTEGER, order_2 INTEGER);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a scan says before anything is known about earlier visits: profile, and who it claims to be."""

    identity: VolumeIdentity
    profile: Profile
    recorder: Claim | None
    officer: Claim | None
    conflicts: tuple[str, ...]
    rows: int
    listed_bytes: int

    @property
    def recorder_key(self) -> str:
        """By what later visits know the recorder again: its number; else its volume's label, unless every unit of the
        family has the same; else the bay."""
        if self.recorder is not None:
            return f"recorder:{self.recorder.value}"
        if self.identity.label and "shared-volume-label" not in self.profile.quirks:
            return f"label:{self.identity.label}"
        return f"bay:{self.identity.dock}/{self.identity.bay}"


class Stocktake:
    """One scan of one volume. Make it with ``take_stock``."""

    def __init__(self, table: sqlite3.Connection, found: Found, zone: tzinfo) -> None:
        self._table = table
        self.found = found
        self._zone = zone

    def is_as_listed(self, listed: Iterable[tuple[bytes, int, int | None]]) -> bool:
        """Whether the volume holds exactly the files of an earlier listing: paths, sizes and times, in its order."""
        found = (
            (entry.raw_path, min(entry.size_bytes, MAX_SIZE_BYTES), entry.modified_ns)
            for entry in self._entries()
        )
        return all(ours == theirs for ours, theirs in zip_longest(found, listed))

    def _entries(self) -> Iterator[ScannedEntry]:
        return _entries(self._table)

    def write_listing(
        self, files: SpoolFiles, name: str, *, recorder_key: str, known: KnownReads
    ) -> tuple[Listed, Publication]:
        """Write the listing into a partial file, flush it and read it back; the caller publishes it.

        What ``known`` answers is asked once: ``new_rows`` then gives exactly the rows that were listed. Raises
        SpoolError, SpoolReadBackError.
        """
        partial = files.open_brief(name)
        try:
            digest = _write_lines(encode_listing(self._list_rows(recorder_key, known)), partial)
        finally:
            partial.close()
        listed = Listed(
            digest=digest,
            size_bytes=partial.size_bytes,
            rows=self.found.rows,
            listed_bytes=self.found.listed_bytes,
        )
        return listed, Publication(partial=name, purpose=Purpose.LISTING, digest=digest)

    def _list_rows(self, recorder_key: str, known: KnownReads) -> Iterator[ListingRow]:
        self._table.execute("BEGIN")
        self._table.execute("DELETE FROM listed")
        for entry in self._entries():
            row = row_of(entry, self.found.profile, recorder=recorder_key, known=known)
            self._table.execute(
                "INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._values(row, entry.modified_ns)
            )
            yield row
        self._table.execute("COMMIT")

    def _values(self, row: ListingRow, modified_ns: int | None) -> tuple[object, ...]:
        order = (0, 0)
        if row.state is RowState.TO_READ:
            claims = claims_from_path(self.found.profile, row.path, self._zone)
            order = _two(reading_key(row, claims, self.found.profile))
        return (
            row.raw_path,
            row.path,
            row.size_bytes,
            _text(modified_ns),
            row.state.value,
            row.rule,
            _text(row.manifest),
            *order,
        )

    def new_rows(self) -> Iterator[NewRow]:
        """The rows as written, for the journal."""
        for path, shown, size, modified_ns, state, rule, manifest, *order in self._table.execute(
            "SELECT * FROM listed ORDER BY rowid"
        ):
            yield NewRow(
                path=path,
                shown=shown,
                size_bytes=size,
                modified_ns=None if modified_ns is None else int(modified_ns),
                state=state,
                rule=rule,
                manifest=None if manifest is None else Digest.parse(manifest),
                order=(order[0], order[1]),
            )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _two(key: tuple[int, ...]) -> tuple[int, int]:
    first, second, *rest = (*key, 0, 0)
    if any(rest):
        raise ValueError("the journal sorts by two keys of the reading order")
    return first, second


@contextmanager
def take_stock(
    volume: RecorderVolume,
    registry: Registry,
    zone: tzinfo,
    profile: Profile | None = None,
    says: DeviceSays = SILENT,
) -> Iterator[Stocktake]:
    """Scan a volume and recognise it; with ``profile`` it is already known by which one, and an emptied recorder keeps
    it. ``says`` is what the recorder itself answered. Raises the errors of ``RecorderVolume`` and ``ProfileError``."""
    identity = volume.identify()
    table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        table.executescript(_TABLES)
        _store(table, volume.scan())
        profile = profile or registry.choose(label=identity.label, paths=map(display_path, _raw_paths(table)))
        others = [device_claims(profile.identity, says), read_marker(volume, profile, _raw_paths(table))]
        yield Stocktake(table, _recognise(table, identity, profile, zone, others), zone)
    finally:
        table.close()


def _store(table: sqlite3.Connection, entries: Iterable[ScannedEntry]) -> None:
    """A damaged file system can list a name twice; only one of the two can be opened, so the first stands for both."""
    table.execute("BEGIN")
    table.executemany(
        "INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?)",
        (
            (
                entry.raw_path,
                min(entry.size_bytes, 2**63 - 1),
                _text(entry.modified_ns),
                entry.obstacle,
            )
            for entry in entries
        ),
    )
    table.execute("COMMIT")


def _entries(table: sqlite3.Connection) -> Iterator[ScannedEntry]:
    for path, size_bytes, modified_ns, obstacle in table.execute("SELECT * FROM found ORDER BY path"):
        yield ScannedEntry(
            raw_path=path,
            size_bytes=size_bytes,
            modified_ns=None if modified_ns is None else int(modified_ns),
            obstacle=None if obstacle is None else Obstacle(obstacle),
        )


def _raw_paths(table: sqlite3.Connection) -> Iterator[bytes]:
    return (path for (path,) in table.execute("SELECT path FROM found ORDER BY path"))


def _recognise(
    table: sqlite3.Connection,
    identity: VolumeIdentity,
    profile: Profile,
    zone: tzinfo,
    others: Iterable[IdentityClaims],
) -> Found:
    tally = VisitTally(profile, label=identity.label, others=others)
    for entry in _entries(table):
        row = row_of(entry, profile, recorder="", known=no_earlier_reads)
        tally.add(row, claims_from_path(profile, row.path, zone))
    summary = tally.summary()
    return Found(
        identity=identity,
        profile=profile,
        recorder=summary.recorder,
        officer=summary.officer,
        conflicts=summary.conflicts,
        rows=summary.listed,
        listed_bytes=summary.listed_bytes,
    )


def _write_lines(lines: Iterable[bytes], partial: PartialFile) -> Digest:
    """Append the lines in pieces of whole blocks, flush, re-read and compare; the digest of them all."""
    running = hashlib.sha256()
    buffer = block_buffer()
    filled = 0
    for line in lines:
        running.update(line)
        while line:
            taken = min(len(line), len(buffer) - filled)
            buffer[filled : filled + taken] = line[:taken]
            filled, line = filled + taken, line[taken:]
            if filled == len(buffer):
                partial.append(buffer, filled)
                filled = 0
    partial.append(buffer, filled)
    digest = Digest.sha256(running.hexdigest())
    re_read(partial, Copied(digest=digest, size_bytes=partial.flush(), head=b""), buffer)
    return digest


def known_reads(journal: Journal) -> KnownReads:
    """What the journal knows of files read earlier, as the rules ask for it."""

    def known(file: KnownFile) -> Digest | None:
        return journal.known_manifest(
            FileKey(
                recorder_key=file.recorder,
                path=file.raw_path,
                size_bytes=file.size_bytes,
                modified_ns=file.modified_ns,
            )
        )

    return known
