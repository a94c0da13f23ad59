"""Successive visits of one recorder: signed inventories with real listings, in a log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from collector.catalogue import Catalogue, FindingFilter, LoggedStatement, RecordedFinding
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.ids import COLLECTOR
from protocol.listing import ListingRow, RowState
from protocol.statements import (
    Custody,
    Header,
    Inventory,
    Manifest,
    RecorderClock,
    Released,
    ReleaseIntent,
)
from protocol.statements.release import KeptRow, ReleaseItem
from tests.support.catalogues import catalogue_in
from tests.support.statements import NOW, Listings, Log, enrolled, id_of, manifest, stored

AGENCY = "alpha"
STATION = "dock-1"


def file(
    path: str,
    size_bytes: int = 10,
    *,
    state: RowState = RowState.TO_READ,
    known: Manifest | None = None,
    modified_at: datetime | None = None,
) -> ListingRow:
    """A listed file; a ``known`` one was read before."""
    excluded = state in (RowState.EXCLUDED, RowState.UNREADABLE)
    return ListingRow(
        raw_path=path.encode(),
        size_bytes=size_bytes,
        modified_at=modified_at,
        state=state if known is None else RowState.KNOWN,
        rule="trash-folder" if excluded else None,
        manifest=None if known is None else id_of(known),
    )


@dataclass
class Succession:
    """A log under way. Every statement is a day after the one before unless ``step`` says otherwise."""

    log: Log = field(default_factory=Log)
    listings: Listings = field(default_factory=Listings)
    now: datetime = NOW
    number: int = 0

    def __post_init__(self) -> None:
        self.log.add(enrolled(COLLECTOR), enrolled(STATION), enrolled("dock-2"))

    def header(self, signer: str = STATION) -> Header:
        self.number += 1
        return Header(agency=AGENCY, signer=signer, issued_at=self.now, nonce=f"{self.number:032x}")

    def visit(
        self,
        *rows: ListingRow,
        recorder: str | None = "R1",
        visit: int | None = None,
        sequence: int = 1,
        bay: str = "1-1",
        signer: str = STATION,
        declared: int | None = None,
        offset_ms: int | None = None,
        is_stored: bool = True,
        total_bytes: int | None = 64_000_000_000,
    ) -> Inventory:
        """An inventory in the log, its listing stored."""
        head = self.header(signer)
        listed = sorted(rows, key=lambda row: row.raw_path)
        listing = Digest.of(f"listing {self.number}".encode())
        self.listings.rows[listing] = listed
        inventory = Inventory(
            header=head,
            listing=listing,
            listing_size_bytes=100,
            rows=len(listed) if declared is None else declared,
            listed_bytes=sum(row.size_bytes for row in listed),
            visit=f"{self.number if visit is None else visit:032x}",
            sequence=sequence,
            dock="usb",
            bay=bay,
            profile="dcf@1.0.0",
            volume_label=None,
            total_bytes=total_bytes,
            free_bytes=None,
            battery_percent=None,
            recorder=None if recorder is None else Claim(recorder, "name"),
            officer=None,
            clock=None
            if offset_ms is None
            else RecorderClock(offset_ms=offset_ms, uncertainty_ms=1000, method="test"),
        )
        self.log.add(inventory)
        if is_stored:
            self.store(inventory)
        return inventory

    def read(
        self, of: Inventory, row: int = 0, *, content: str | None = None, is_stored: bool = True
    ) -> Manifest:
        """A row read and, if so, stored."""
        listed = self.listings.rows[of.listing][row]
        clip = replace(
            manifest(of, row, content=content or f"{listed.path} {self.number}", path=listed.path),
            header=self.header(of.header.signer),
            size_bytes=listed.size_bytes,
            recorder=of.recorder,
            read_started_at=self.now,
            read_finished_at=self.now,
        )
        self.log.add(clip)
        if is_stored:
            self.store(clip)
        return clip

    def store(self, promise: Inventory | Manifest) -> int:
        """The index at which the collector says so."""
        said = stored(promise)
        head = replace(self.header(COLLECTOR), agency=promise.header.agency)
        return self.log.add(replace(said, header=head, stored_at=self.now))[0]

    def intend(
        self, of: Inventory, clips: Mapping[int, Manifest], *, claimed: int | None = None
    ) -> ReleaseIntent:
        """What the station is about to erase, with the places where it was said to be stored."""
        intent = ReleaseIntent(
            header=self.header(of.header.signer),
            visit=of.visit,
            inventory=id_of(of),
            generation="boot:1",
            items=tuple(
                ReleaseItem(
                    row=row,
                    manifest=id_of(clip),
                    digest=clip.digest,
                    stored_index=self._stored_index(clip) if claimed is None else claimed,
                )
                for row, clip in sorted(clips.items())
            ),
        )
        self.log.add(intent)
        return intent

    def release(self, intent: ReleaseIntent, after: Inventory, *kept: int) -> Released:
        """What became of it."""
        released = Released(
            header=self.header(intent.header.signer),
            visit=after.visit,
            intent=id_of(intent),
            inventory_after=id_of(after),
            kept=tuple(KeptRow(row=row, code="file-changed") for row in kept),
        )
        self.log.add(released)
        return released

    def say(self, event: str, item: Digest, details: Mapping[str, str | int], name: str = "finding") -> None:
        """A custody event of the collector's."""
        self.log.add(
            Custody(
                header=self.header(COLLECTOR),
                event=event,
                item=item,
                item_name=name,
                actor="an auditor",
                details=details,
            )
        )

    def later(self, span: timedelta = timedelta(days=1)) -> None:
        self.now += span

    def _stored_index(self, clip: Manifest) -> int:
        return next(
            logged.index
            for logged in self.log.entries
            if getattr(logged.statement, "statement", None) == id_of(clip)
        )

    def findings(self, folder: Path) -> list[RecordedFinding]:
        """What a catalogue of this log finds, in the order of opening."""
        with catalogue_in(folder, self.listings) as catalogue:
            return found_in(catalogue, self.log.entries)


def found_in(catalogue: Catalogue, entries: Sequence[LoggedStatement]) -> list[RecordedFinding]:
    """All findings after these entries."""
    catalogue.apply(entries)
    catalogue.catch_up()
    page = catalogue.findings(FindingFilter(), limit=500)
    return sorted(page.findings, key=lambda finding: (finding.opened_index, finding.id))


def summary(findings: Sequence[RecordedFinding]) -> list[tuple[str, bool]]:
    """Codes, and whether they are still open."""
    return [(finding.code, finding.closed_index is None) for finding in findings]
