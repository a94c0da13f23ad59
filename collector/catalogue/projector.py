"""From statements to rows (pure): what a batch of the log adds to the catalogue.

The result of a log does not depend on how it is cut into batches: rows are only ever added, the first of two
equal ones stays, and what is derived from several statements is a function of them all. ``execution`` relies on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Table

from collector.catalogue import tables
from collector.catalogue.conservation_tables import release_intents, release_items, release_kept, releases
from collector.catalogue.facts import best_start
from protocol.canonical import canonical
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR
from protocol.limits import MAX_LISTING_ROWS
from protocol.statements import (
    Custody,
    Enrolled,
    Inventory,
    Manifest,
    Media,
    Released,
    ReleaseIntent,
    Rendition,
    Revoked,
    Statement,
    Stored,
)

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedStatement:
    """An entry of the log with the statement it commits to; None when the payload was destroyed at disposal."""

    index: int
    entry: LogEntry
    statement: Statement | None

    def __post_init__(self) -> None:
        if self.statement is None:
            return
        said = (self.statement.kind, self.statement.header.agency)
        if said != (self.entry.kind, self.entry.agency):
            raise ValueError(f"the entry at {self.index} is not the one of its statement")


@dataclass(slots=True)
class Changes:
    """What to do to the tables, in this order: ``rows`` are inserted; ``stored`` marks promises as kept; clips
    named in ``described`` take up media facts; ``intents`` are joined with what became of them. ``spoken`` are the
    collector's own words with their times, and the findings of ``touched`` are to be computed again."""

    rows: defaultdict[Table, list[Row]] = field(default_factory=lambda: defaultdict(list))
    stored: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    described: set[Digest] = field(default_factory=set)
    intents: set[Digest] = field(default_factory=set)
    spoken: list[tuple[int, datetime]] = field(default_factory=list)
    touched: set[tuple[str, Digest]] = field(default_factory=set)


def plan_changes(batch: Iterable[LoggedStatement]) -> Changes:
    """The changes of a batch in log order."""
    changes = Changes()
    agencies: set[str] = set()
    for logged in batch:
        agencies.add(logged.entry.agency)
        changes.rows[tables.entries].append(_entry(logged))
        if logged.statement is not None:
            _plan(changes, logged.index, logged.entry, logged.statement)
    changes.rows[tables.agencies] = [{"name": agency} for agency in sorted(agencies)]
    return changes


def _plan(changes: Changes, index: int, entry: LogEntry, statement: Statement) -> None:
    if statement.header.signer == COLLECTOR:
        changes.spoken.append((index, statement.header.issued_at))
    match statement:
        case Inventory():
            changes.rows[tables.inventories].append(_inventory(index, entry, statement))
            changes.touched.add((entry.agency, entry.statement))
        case Manifest():
            changes.rows[tables.clips].append(_clip(index, entry, statement))
            changes.described.add(entry.statement)
            changes.touched.add((entry.agency, statement.inventory))
        case Media():
            if statement.facts is not None:
                changes.rows[tables.media].append(_media(index, statement))
                changes.described.add(statement.manifest)
        case Rendition():
            changes.rows[tables.renditions].append(_rendition(index, entry, statement))
        case Custody():
            changes.rows[tables.custody].append(_custody(index, entry, statement))
            changes.rows[tables.unreadable_rows].extend(_unreadable(index, statement))
            changes.touched.add((entry.agency, statement.item))
        case ReleaseIntent():
            changes.rows[release_intents].append(_intent(index, entry, statement))
            changes.rows[release_items].extend(_items(index, statement))
            changes.intents.add(entry.statement)
        case Released():
            changes.rows[releases].append(_release(index, statement))
            changes.rows[release_kept].extend(_kept(index, statement))
            changes.intents.add(statement.intent)
        case Enrolled() | Revoked() | Stored():
            # admission lets nobody but the collector say these; were it wrong once, no key or clip is lost to it
            if statement.header.signer == COLLECTOR:
                _plan_own(changes, index, statement)


def _plan_own(changes: Changes, index: int, statement: Enrolled | Revoked | Stored) -> None:
    match statement:
        case Enrolled():
            changes.rows[tables.enrolments].append(_enrolment(index, statement))
        case Revoked():
            changes.rows[tables.revocations].append(_revocation(index, statement))
        case Stored():
            changes.stored[statement.purpose].append(_stored(index, statement))


def _entry(logged: LoggedStatement) -> Row:
    entry = logged.entry
    return {
        "log_index": logged.index,
        "statement": entry.statement,
        "kind": entry.kind,
        "agency": entry.agency,
        "key_id": entry.key_id,
    }


def _speaker(statement: Statement) -> Row:
    return {"agency": statement.header.agency, "station": statement.header.signer}


def _value(claim: Claim | None) -> str | None:
    return None if claim is None else claim.value


def _claim(name: str, claim: Claim | None) -> Row:
    return {name: _value(claim), f"{name}_source": None if claim is None else claim.source}


def _start(claim: TimeClaim | None) -> Row:
    return {
        "started_at": None if claim is None else claim.value,
        "started_source": None if claim is None else claim.source,
    }


def _inventory(index: int, entry: LogEntry, inventory: Inventory) -> Row:
    return {
        "log_index": index,
        "statement": entry.statement,
        **_speaker(inventory),
        "visit": inventory.visit,
        "sequence": inventory.sequence,
        "issued_at": inventory.header.issued_at,
        "dock": inventory.dock,
        "bay": inventory.bay,
        "profile": inventory.profile,
        "recorder": _value(inventory.recorder),
        "officer": _value(inventory.officer),
        "clock_offset_ms": None if inventory.clock is None else inventory.clock.offset_ms,
        "listing": inventory.listing,
        "listing_size_bytes": inventory.listing_size_bytes,
        "declared_rows": inventory.rows,
        "total_bytes": inventory.total_bytes,
    }


def _clip(index: int, entry: LogEntry, manifest: Manifest) -> Row:
    modified = None if manifest.modified_at is None else TimeClaim(manifest.modified_at, "file time")
    return {
        "log_index": index,
        "manifest": entry.statement,
        **_speaker(manifest),
        "visit": manifest.visit,
        "inventory": manifest.inventory,
        "row_no": manifest.row,
        "digest": manifest.digest,
        "size_bytes": manifest.size_bytes,
        "path": manifest.path,
        "media_type": manifest.media_type,
        **_claim("recorder", manifest.recorder),
        **_claim("officer", manifest.officer),
        **_start(best_start([manifest.started_at, modified])),
        "marked": manifest.marked,
        "read_started_at": manifest.read_started_at,
        "read_finished_at": manifest.read_finished_at,
    }


def _media(index: int, media: Media) -> Row:
    return {
        "log_index": index,
        "manifest": media.manifest,
        "original": media.original,
        **_speaker(media),
        "media_type": media.media_type,
        "duration_ms": media.duration_ms,
        **_start(media.started_at),
        **_claim("recorder", media.recorder),
    }


def _rendition(index: int, entry: LogEntry, rendition: Rendition) -> Row:
    made, problem = rendition.rendered, rendition.problem
    return {
        "log_index": index,
        "statement": entry.statement,
        "manifest": rendition.manifest,
        "original": rendition.original,
        **_speaker(rendition),
        "rendition": rendition.rendition,
        "digest": None if made is None else made.digest,
        "size_bytes": None if made is None else made.size_bytes,
        "media_type": None if made is None else made.media_type,
        "method": None if made is None else made.method,
        "problem": None if problem is None else problem.code,
    }


def _custody(index: int, entry: LogEntry, event: Custody) -> Row:
    return {
        "log_index": index,
        "statement": entry.statement,
        "agency": event.header.agency,
        "event": event.event,
        "item": event.item,
        "item_name": event.item_name,
        "actor": event.actor,
        "details": canonical(dict(event.details)).decode(),
        "issued_at": event.header.issued_at,
    }


_UNREADABLE: Final = "unreadable"


def _unreadable(index: int, event: Custody) -> Iterable[Row]:
    """An unreadable file is named by its inventory's id, the item, and by ``row`` and ``code`` in the details."""
    row, code = event.details.get("row"), event.details.get("code", _UNREADABLE)
    if event.event == _UNREADABLE and isinstance(row, int) and 0 <= row < MAX_LISTING_ROWS:
        yield {
            "log_index": index,
            "inventory": event.item,
            "row_no": row,
            **_speaker(event),
            "code": str(code),
        }


def _intent(index: int, entry: LogEntry, intent: ReleaseIntent) -> Row:
    return {
        "log_index": index,
        "statement": entry.statement,
        **_speaker(intent),
        "visit": intent.visit,
        "inventory": intent.inventory,
    }


def _items(index: int, intent: ReleaseIntent) -> Iterable[Row]:
    for item in intent.items:
        yield {
            "intent_index": index,
            "row_no": item.row,
            "manifest": item.manifest,
            "digest": item.digest,
            "claimed_stored_index": item.stored_index,
        }


def _release(index: int, released: Released) -> Row:
    return {
        "log_index": index,
        "intent": released.intent,
        **_speaker(released),
        "inventory_after": released.inventory_after,
    }


def _kept(index: int, released: Released) -> Iterable[Row]:
    for kept in released.kept:
        yield {"release_index": index, "row_no": kept.row, "code": kept.code}


def _enrolment(index: int, enrolled: Enrolled) -> Row:
    return {
        "log_index": index,
        "key_id": enrolled.key_id,
        "agency": COLLECTOR if enrolled.role == "collector" else enrolled.header.agency,
        "role": enrolled.role,
        "name": enrolled.name,
        "public_key": enrolled.public_key,
    }


def _revocation(index: int, revoked: Revoked) -> Row:
    return {"log_index": index, "key_id": revoked.key_id, "agency": revoked.header.agency}


def _stored(index: int, stored: Stored) -> Row:
    """Parameters of the updates in ``execution``; their names must differ from the columns'."""
    return {
        "of_statement": stored.statement,
        "of_agency": stored.header.agency,
        "of_digest": stored.digest,
        "at_index": index,
        "at_time": stored.stored_at,
    }
