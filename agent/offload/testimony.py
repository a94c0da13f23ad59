"""What the station signs about a visit: inventories, a manifest for each original, what could not be read, releases."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.errors import AgentError
from agent.ports import DeviceFacts, VolumeIdentity
from agent.spool.records import OpenIntent, RowToRead, VisitRecord
from agent.volumes.errors import FileUnreadableError
from firmware_profiles.names import NameClaims
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.limits import MAX_TEXT_CHARS
from protocol.lines import encode_base64
from protocol.statements import (
    Custody,
    Header,
    Inventory,
    KeptRow,
    Manifest,
    Released,
    ReleaseIntent,
    ReleaseItem,
    Statement,
)
from protocol.times import format_time


class Signer(Protocol):
    """The station's word (站点签名): its name, its signing key, and for whom it may speak."""

    @property
    def station(self) -> str: ...

    def sign(self, statement: Statement) -> Envelope: ...

    def agency_for(self, recorder: Claim | None) -> str | None:
        """The agency that holds this recorder; None when the station may not speak for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A listing blob and its sums."""

    digest: Digest
    size_bytes: int
    rows: int
    listed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile:
    """One file read: what its manifest says about the reading."""

    row: RowToRead
    digest: Digest
    size_bytes: int
    media_type: str
    started_at: datetime
    finished_at: datetime
    attempts: int
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """Makes and signs statements with one clock and one source of nonces."""

    signer: Signer
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    def inventory(
        self,
        visit: VisitRecord,
        sequence: int,
        *,
        volume: VolumeIdentity,
        listed: Listed,
        recorder: Claim | None,
        officer: Claim | None,
        facts: DeviceFacts,
    ) -> Envelope:
        """Battery and clock are those of ``facts``: what was measured at docking. A volume alone does not tell them."""
        return self.signer.sign(
            Inventory(
                header=self.header(visit.agency),
                listing=listed.digest,
                listing_size_bytes=listed.size_bytes,
                rows=listed.rows,
                listed_bytes=listed.listed_bytes,
                visit=visit.visit,
                sequence=sequence,
                dock=visit.dock,
                bay=visit.bay,
                profile=visit.profile,
                volume_label=_short(volume.label),
                total_bytes=volume.total_bytes,
                free_bytes=volume.free_bytes,
                battery_percent=facts.battery_percent,
                recorder=recorder,
                officer=officer,
                clock=facts.clock,
            )
        )

    def manifest(self, read: ReadFile, *, claims: NameClaims, modified_at: datetime | None) -> Envelope:
        """``claims`` are those of the file's own name, and the visit's where the name says nothing."""
        row = read.row
        return self.signer.sign(
            Manifest(
                header=self.header(row.agency),
                digest=read.digest,
                size_bytes=read.size_bytes,
                inventory=row.id.inventory,
                visit=row.visit,
                row=row.id.row,
                path=row.shown,
                path_bytes=row.key.path,
                media_type=read.media_type,
                modified_at=modified_at,
                recorder=claims.recorder,
                officer=claims.officer,
                started_at=claims.started_at,
                marked=claims.marked,
                read_started_at=read.started_at,
                read_finished_at=read.finished_at,
                attempts=read.attempts,
                resumed=read.resumed,
            )
        )

    def unreadable(
        self, row: RowToRead, *, error: AgentError | None, code: str, attempts: int, bytes_read: int
    ) -> Envelope:
        """The custody event "unreadable". Its item is the inventory that listed the row."""
        details: dict[str, str | int] = {
            "row": row.id.row,
            "visit": row.visit,
            "code": code,
            "attempts": attempts,
            "bytes_read": bytes_read,
            "size_bytes": row.size_bytes,
            "last_attempt_at": format_time(self.clock()),
        }
        encoded = encode_base64(row.key.path)
        if len(encoded) <= MAX_TEXT_CHARS:
            details["path_b64"] = encoded
        if isinstance(error, FileUnreadableError):
            details["errno"] = errno.errorcode.get(error.errno, str(error.errno))
        return self.signer.sign(
            Custody(
                header=self.header(row.agency),
                event="unreadable",
                item=row.id.inventory,
                item_name=row.shown,
                actor=self.signer.station,
                details=details,
            )
        )

    def release_intent(
        self, visit: VisitRecord, inventory: Digest, items: Sequence[ReleaseItem]
    ) -> tuple[ReleaseIntent, Envelope]:
        """What is about to be erased of this visit's newest inventory."""
        intent = ReleaseIntent(
            header=self.header(visit.agency),
            visit=visit.visit,
            inventory=inventory,
            generation=visit.generation,
            items=tuple(items),
        )
        return intent, self.signer.sign(intent)

    def released(
        self, intent: OpenIntent, *, visit: str, inventory_after: Digest, kept: Mapping[int, str]
    ) -> Envelope:
        """What became of an intent: its rows are gone but for ``kept``, says this inventory of ``visit``."""
        return self.signer.sign(
            Released(
                header=self.header(intent.agency),
                visit=visit,
                intent=intent.statement,
                inventory_after=inventory_after,
                kept=tuple(KeptRow(row=row, code=code) for row, code in sorted(kept.items())),
            )
        )

    def header(self, agency: str) -> Header:
        """A fresh header in the station's name."""
        return Header(agency=agency, signer=self.signer.station, issued_at=self.clock(), nonce=self.new_id())


def _short(label: str | None) -> str | None:
    """A label as a statement can carry it: an empty one is none."""
    return label[:MAX_TEXT_CHARS] if label else None
