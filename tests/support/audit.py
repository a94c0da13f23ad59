"""The auditor of end-to-end tests: looks at what a collector and a station left on disk, and believes neither.

Nothing of the collector is asked: the log is recomputed entry by entry from its files, every payload is found by its
digest, every signature is verified, every promise is counted, every object is hashed, and every clip is judged by
``zhilu-verify`` in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protocol.checkpoint import open_checkpoint
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.keyring import KeyRing
from protocol.listing import ListingRow, RowState, parse_listing
from protocol.log_reading import LogCopy, check_entries, read_entries
from protocol.note import VerifierKey
from protocol.statements import (
    Custody,
    Inventory,
    Manifest,
    Released,
    Rendition,
    Statement,
    Stored,
    parse_statement,
)
from protocol.tiles import Tile
from tests.support.cards import sha256_of
from tests.support.processes import BIN, Site

PURPOSES: Final = {"original": "originals", "rendition": "renditions", "listing": "listings"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One statement in the log, at its index."""

    index: int
    id: Digest
    agency: str
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Where the rows of one inventory are, counted from the log alone."""

    listed: int
    stored: int
    pending: int
    unreadable: int
    excluded: int


class Auditor:
    """Reads one collector's folder; construction fails unless log, payloads and signatures hold."""

    def __init__(self, log_dir: Path, objects_dir: Path) -> None:
        self.log_dir = log_dir
        self._objects_dir = objects_dir
        self.said = self._read_log()

    def _read_log(self) -> list[Said]:
        key = VerifierKey.parse((self.log_dir / "vkey").read_text().strip())
        note = (self.log_dir / "checkpoint").read_bytes()
        copy, checkpoint = LogCopy(note, self._tile), open_checkpoint(note, key)
        check_entries(copy, [checkpoint], {})
        ring, said = KeyRing(), []
        for index, data in read_entries(copy, 0, checkpoint.size, checkpoint.size):
            entry = LogEntry.from_bytes(data)
            payload = self.object_path(entry.agency, "statements", entry.statement).read_bytes()
            assert Digest.of(payload) == entry.statement
            statement = parse_statement(payload)
            ring.accept(index, entry.envelope(payload), statement)
            said.append(Said(index=index, id=entry.statement, agency=entry.agency, statement=statement))
        return said

    def _tile(self, tile: Tile) -> bytes:
        return (self.log_dir / tile.path).read_bytes()

    def object_path(self, agency: str, folder: str, digest: Digest) -> Path:
        name = digest.hex
        return self._objects_dir / agency / folder / name[:2] / name[2:4] / name

    @property
    def manifests(self) -> list[tuple[Said, Manifest]]:
        return [(said, said.statement) for said in self.said if isinstance(said.statement, Manifest)]

    @property
    def inventories(self) -> list[tuple[Said, Inventory]]:
        return [(said, said.statement) for said in self.said if isinstance(said.statement, Inventory)]

    @property
    def events(self) -> list[Custody]:
        return [said.statement for said in self.said if isinstance(said.statement, Custody)]

    def promises(self) -> dict[Digest, tuple[str, str, Digest]]:
        """By statement id: agency, object folder and digest of every promised blob."""
        promised = {}
        for said in self.said:
            match said.statement:
                case Inventory(listing=digest):
                    promised[said.id] = (said.agency, PURPOSES["listing"], digest)
                case Manifest(digest=digest):
                    promised[said.id] = (said.agency, PURPOSES["original"], digest)
                case Rendition(rendered=rendered) if rendered is not None:
                    promised[said.id] = (said.agency, PURPOSES["rendition"], rendered.digest)
        return promised

    def check_each_file_once(self, docked: Counter[tuple[str, str]]) -> None:
        """Exactly one manifest for each docked file, one ``stored`` for each promise, one object for each digest."""
        read = Counter((manifest.path, manifest.digest.hex) for _, manifest in self.manifests)
        assert read == docked
        ids = Counter(said.id for said in self.said)
        assert set(ids.values()) <= {1}, "a statement stands in the log twice"
        promised = self.promises()
        stored = Counter(said.statement.statement for said in self.said if isinstance(said.statement, Stored))
        assert stored == Counter(promised.keys())
        assert self._objects() == set(promised.values())

    def _objects(self) -> set[tuple[str, str, Digest]]:
        """Every blob in the store, hashed; nothing half-written lies about."""
        assert not list(self._objects_dir.glob(".*/*")), "an interrupted write was left behind"
        found = set()
        for folder in PURPOSES.values():
            for path in self._objects_dir.glob(f"*/{folder}/**/*"):
                if path.is_file():
                    agency = path.relative_to(self._objects_dir).parts[0]
                    digest = Digest.sha256(path.name)
                    assert sha256_of(path) == digest.hex, f"{path} is not what its name says"
                    assert path == self.object_path(agency, folder, digest)
                    found.add((agency, folder, digest))
        return found

    def rows(self, said: Said, inventory: Inventory) -> list[ListingRow]:
        """The listing an inventory signed. Checks the totals that were signed with it."""
        path = self.object_path(said.agency, PURPOSES["listing"], inventory.listing)
        rows = list(parse_listing([path.read_bytes()]))
        assert len(rows) == inventory.rows
        assert sum(row.size_bytes for row in rows) == inventory.listed_bytes
        return rows

    def tally(self, said: Said, inventory: Inventory) -> Tally:
        """The conservation of clips, by the rule of the formats page."""
        stored = {item.statement.statement for item in self.said if isinstance(item.statement, Stored)}
        read = {manifest.row: item.id for item, manifest in self.manifests if manifest.inventory == said.id}
        given_up = {event.details["row"] for event in self.events if event.item == said.id}
        counts: Counter[str] = Counter()
        for number, row in enumerate(self.rows(said, inventory)):
            manifest = row.manifest if row.state is RowState.KNOWN else read.get(number)
            if manifest in stored:
                counts["stored"] += 1
            elif row.state is RowState.EXCLUDED:
                counts["excluded"] += 1
            elif row.state is RowState.UNREADABLE or number in given_up:
                counts["unreadable"] += 1
            else:
                counts["pending"] += 1
        return Tally(
            listed=inventory.rows,
            stored=counts["stored"],
            pending=counts["pending"],
            unreadable=counts["unreadable"],
            excluded=counts["excluded"],
        )

    def newest_inventories(self) -> list[tuple[Said, Inventory]]:
        """The last word on each bay before anything was erased there."""
        after = {said.statement.inventory_after for said in self.said if isinstance(said.statement, Released)}
        return list({(inventory.dock, inventory.bay): (said, inventory)
                     for said, inventory in self.inventories if said.id not in after}.values())  # fmt: skip


def verify(arguments: Sequence[str | Path]) -> tuple[int, Mapping[str, Any]]:
    """``zhilu-verify`` as a process of its own: exit code and report."""
    done = subprocess.run(
        [BIN / "zhilu-verify", *map(str, arguments), "--json"], capture_output=True, text=True, check=False
    )
    report: Mapping[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def verify_all(clips: Iterable[Sequence[str | Path]]) -> None:
    """Every one must be accepted, with nothing given left unchecked."""
    for arguments in clips:
        code, report = verify(arguments)
        assert code == 0, report
        skipped = [check["name"] for check in report["checks"] if check["outcome"] != "passed"]
        assert skipped == ["witness"], report


def audit_site(site: Site, docked: Counter[tuple[str, str]]) -> Auditor:
    """The whole audit after a run: everything docked is stored exactly once and every receipt verifies."""
    config = site.collector.config
    auditor = Auditor(config.log_dir, config.objects_dir)
    auditor.check_each_file_once(docked)
    for said, inventory in auditor.newest_inventories():
        tally = auditor.tally(said, inventory)
        assert tally.listed == tally.stored + tally.excluded, tally
    log_arguments = ("--log-key", config.log_dir / "vkey", "--log", config.log_dir)
    receipts = site.station.write_receipts()
    verify_all(
        (
            auditor.object_path(agency, folder, digest),
            "--receipt",
            receipts / f"{statement.hex}.json",
            *log_arguments,
        )
        for statement, (agency, folder, digest) in auditor.promises().items()
        if folder == PURPOSES["original"]
    )
    audit_by_command(config.data_dir)
    return auditor


def audit_by_command(folder: Path) -> None:
    """The product's own audit finds nothing either, and a catalogue made anew is the one it has."""
    for words in (["audit"], ["rebuild", "--compare"]):
        done = subprocess.run(
            [BIN / "zhilu-collector", *words, "--data", folder, "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
