"""Statements of one collector and its stations, and the log they make: real envelopes, real entries, no files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from collector.catalogue import LoggedStatement
from protocol import ed25519
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.entry import LogEntry
from protocol.errors import MalformedError
from protocol.ids import COLLECTOR
from protocol.listing import ListingRow, RowState
from protocol.statements import (
    Custody,
    Enrolled,
    Header,
    Inventory,
    Manifest,
    Media,
    Problem,
    Rendered,
    Rendition,
    Revoked,
    Statement,
    Stored,
    sign_statement,
)

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
VISIT = "0" * 31 + "1"


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def seed(name: str) -> bytes:
    return hashlib.sha256(f"seed of {name}".encode()).digest()


def key_id(name: str) -> str:
    return ed25519.key_id(ed25519.public_from_seed(seed(name)))


def header(agency: str = "alpha", signer: str = "dock-1", *, nonce: int = 0) -> Header:
    return Header(agency=agency, signer=signer, issued_at=NOW, nonce=f"{nonce:032x}")


def enrolled(name: str, agency: str = "alpha", *, nonce: int = 0, key: str | None = None) -> Enrolled:
    role = "collector" if name == COLLECTOR else "station"
    return Enrolled(
        header=header(COLLECTOR if role == "collector" else agency, COLLECTOR, nonce=nonce),
        role=role,
        name=name,
        public_key=ed25519.public_from_seed(seed(key or name)),
    )


def revoked(name: str, agency: str = "alpha", *, key: str | None = None) -> Revoked:
    public = ed25519.public_from_seed(seed(key or name))
    return Revoked(header=header(agency, COLLECTOR), name=name, key_digest=Digest.of(public), reason="stolen")


def inventory(
    rows: int = 1, *, listing: str = "listing", visit: str = VISIT, head: Header | None = None
) -> Inventory:
    return Inventory(
        header=head or header(),
        listing=digest(listing),
        listing_size_bytes=100,
        rows=rows,
        listed_bytes=1000,
        visit=visit,
        sequence=1,
        dock="usb",
        bay="1-2",
        profile="generic",
        volume_label=None,
        total_bytes=None,
        free_bytes=None,
        battery_percent=None,
        recorder=None,
        officer=None,
        clock=None,
    )


def manifest(
    of: Inventory,
    row: int = 0,
    *,
    content: str = "clip",
    started_at: TimeClaim | None = None,
    modified_at: datetime | None = None,
    recorder: str | None = None,
    officer: str | None = None,
    path: str = "DCIM/clip.mp4",
) -> Manifest:
    return Manifest(
        header=of.header,
        digest=digest(content),
        size_bytes=10,
        inventory=id_of(of),
        visit=of.visit,
        row=row,
        path=path,
        path_bytes=path.encode(),
        media_type="video/mp4",
        modified_at=modified_at,
        recorder=None if recorder is None else Claim(recorder, "name"),
        officer=None if officer is None else Claim(officer, "name"),
        started_at=started_at,
        marked=False,
        read_started_at=NOW,
        read_finished_at=NOW + timedelta(seconds=3),
        attempts=1,
        resumed=False,
    )


def media(of: Manifest, *, duration_ms: int | None = 60_000, started_at: TimeClaim | None = None) -> Media:
    return Media(
        header=of.header,
        original=of.digest,
        manifest=id_of(of),
        media_type="video/quicktime",
        duration_ms=duration_ms,
        started_at=started_at,
        recorder=Claim("R-MEDIA", "container"),
        facts={"streams": 1},
        problem=None,
    )


def rendition(of: Manifest, *, kind: str = "playable", content: str | None = "rendition") -> Rendition:
    made = Rendered(
        digest=digest(content or ""),
        size_bytes=5,
        media_type="video/mp4",
        method="remux",
        tool="ffmpeg",
        tool_version="5.1",
        arguments=("-c", "copy"),
    )
    return Rendition(
        header=of.header,
        original=of.digest,
        manifest=id_of(of),
        rendition=kind,
        rendered=None if content is None else made,
        problem=None if content is not None else Problem(code="media-unreadable", detail="no streams"),
    )


def stored(of: Inventory | Manifest | Rendition) -> Stored:
    match of:
        case Inventory():
            purpose, content, size_bytes = "listing", of.listing, of.listing_size_bytes
        case Manifest():
            purpose, content, size_bytes = "original", of.digest, of.size_bytes
        case Rendition(rendered=Rendered() as made):
            purpose, content, size_bytes = "rendition", made.digest, made.size_bytes
        case _:
            raise ValueError("a rendition that was not made is not stored")
    return Stored(
        header=header(of.header.agency, COLLECTOR),
        digest=content,
        size_bytes=size_bytes,
        purpose=purpose,
        statement=id_of(of),
        stored_at=NOW + timedelta(minutes=1),
    )


def unreadable(of: Inventory, row: int, code: str = "file-unreadable") -> Custody:
    return custody("unreadable", id_of(of), head=of.header, details={"row": row, "code": code})


def custody(
    event: str, item: Digest, *, head: Header | None = None, details: dict[str, str | int] | None = None
) -> Custody:
    return Custody(
        header=head or header("alpha", COLLECTOR),
        event=event,
        item=item,
        item_name="originals",
        actor="case-system",
        details=details or {},
    )


def id_of(statement: Statement) -> Digest:
    """The statement's id; who signs makes no difference to it."""
    return Digest.of(sign_statement(statement, seed("anybody")).payload)


def again(statement: Manifest, nonce: int) -> Manifest:
    """The same claim as another statement."""
    return replace(statement, header=replace(statement.header, nonce=f"{nonce:032x}"))


def row(
    name: str, state: RowState = RowState.TO_READ, *, size_bytes: int = 10, of: Manifest | None = None
) -> ListingRow:
    """One row of a listing, known by the manifest ``of``."""
    return ListingRow(
        raw_path=name.encode(),
        size_bytes=size_bytes,
        modified_at=None,
        state=state,
        rule="system-files" if state in (RowState.EXCLUDED, RowState.UNREADABLE) else None,
        manifest=None if of is None else id_of(of),
    )


@dataclass(slots=True)
class Log:
    """A log in memory. A statement is signed with the key of its signer's name, or of ``key``."""

    entries: list[LoggedStatement] = field(default_factory=list)

    def add(self, *statements: Statement, key: str | None = None) -> list[int]:
        return [self._add(statement, key or statement.header.signer) for statement in statements]

    def _add(self, statement: Statement, key: str) -> int:
        index = len(self.entries)
        entry = LogEntry.of(sign_statement(statement, seed(key)), statement)
        self.entries.append(LoggedStatement(index=index, entry=entry, statement=statement))
        return index


@dataclass(slots=True)
class Listings:
    """Stored listings by digest, as the catalogue's reader asks for them; an unknown one is malformed."""

    rows: dict[Digest, list[ListingRow]] = field(default_factory=dict)

    def __call__(self, agency: str, listing: Digest) -> Iterable[ListingRow]:
        if listing not in self.rows:
            raise MalformedError("not a listing")
        return self.rows[listing]
