"""The journal (日志库): the station's durable record of every transition, each written before it is relied on.

Killed anywhere and opened again, it says what is to be done next: statements to announce, blobs to deliver, rows to
read and from which byte on, media jobs to run. The composite methods here keep together what belongs together: a
signed statement, the blob it promises, and what it says of a row, in one transaction. Their order in a read is fixed
(I6): bytes durable and re-read, then published in the spool, then recorded here with the signed manifest.

``naming`` is held from before a blob gets or loses its name in the spool until the journal knows of it, so that
eviction never takes away what was published a moment ago. Methods block: the event loop calls them in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.spool.database import text_time
from agent.spool.files import SpoolFiles
from agent.spool.inventories import Inventories
from agent.spool.media_jobs import MediaJobs
from agent.spool.outbox import Outbox
from agent.spool.partials import Partials
from agent.spool.records import (
    Backlog,
    NewRow,
    OpenIntent,
    OriginalRecord,
    Priority,
    Purpose,
    RowToRead,
    VisitRecord,
)
from agent.spool.releases import Releases
from agent.spool.shipments import Shipments
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import ReleaseIntent

_BACKLOG: Final = """
SELECT (SELECT count(*) FROM statements WHERE outcome IS NULL) AS unsettled,
       (SELECT count(*) FROM statements WHERE outcome = 'refused') AS refused,
       count(d.statement) AS deliveries,
       coalesce(sum(d.size_bytes), 0) AS bytes,
       (SELECT count(*) FROM media_jobs WHERE closed_at IS NULL) AS media_jobs,
       min(d.created_at) AS oldest
FROM deliveries d JOIN statements s USING (statement)
WHERE d.receipted_at IS NULL AND s.outcome IS NOT 'refused'
"""


class Journal(Outbox, Inventories, Partials, Shipments, MediaJobs, Releases):
    """One SQLite file and the spool whose blobs it speaks of."""

    def __init__(self, path: Path, files: SpoolFiles) -> None:
        """Open or make. Raises JournalError, JournalNewerError."""
        super().__init__(path)
        self.files = files
        self.naming = threading.Lock()

    def record_inventory(
        self,
        envelope: Envelope,
        *,
        visit: VisitRecord,
        sequence: int,
        listing: Digest,
        listing_size_bytes: int,
        rows: Iterable[NewRow],
        now: datetime,
    ) -> Digest:
        """A signed inventory, its published listing and its rows; opens the visit with the first. Returns its id.

        Rows of the visit's earlier inventories that are listed again count from here on in this one; those whose
        file changed before it was read are excluded by the rule ``file-changed``.
        """
        with self.transaction():
            statement = self.put_statement(envelope, kind="inventory", agency=visit.agency, now=now)
            self._put_inventory(visit, sequence, statement, rows)
            self._deliver(
                statement,
                purpose=Purpose.LISTING,
                agency=visit.agency,
                digest=listing,
                size_bytes=listing_size_bytes,
                priority=Priority.LISTING,
                now=now,
            )
        return statement

    def record_originals(self, originals: Sequence[OriginalRecord], now: datetime) -> list[Digest]:
        """Published originals with their signed manifests, all in one transaction. Returns the manifests' ids."""
        with self.transaction():
            return [self._record_original(original, now) for original in originals]

    def record_original(self, original: OriginalRecord, now: datetime) -> Digest:
        """One published original: row read, manifest, delivery, media job. Returns the manifest's id."""
        return self.record_originals([original], now)[0]

    def _record_original(self, original: OriginalRecord, now: datetime) -> Digest:
        row = original.row
        if (recorded := self._manifest_of(row)) is not None:
            # Its commit was reported as failed and happened all the same: one row has one manifest.
            self.drop_partial(row.key)
            return recorded
        manifest = self.put_statement(original.envelope, kind="manifest", agency=row.agency, now=now)
        early = self.partial(row.key)
        self._row_was_read(row, manifest)
        self._note_read(row.key, manifest)
        if original.read_as is not None:
            self.note_read_as(manifest, original.read_as)
        self.drop_partial(row.key)
        self._deliver(
            manifest,
            purpose=Purpose.ORIGINAL,
            agency=row.agency,
            digest=original.digest,
            size_bytes=original.size_bytes,
            priority=Priority.MARKED if original.marked else Priority.ORIGINAL,
            now=now,
            upload_url=None if early is None else early.upload_url,
        )
        self._open_media_job(manifest, original, now)
        return manifest

    def record_unreadable(self, row: RowToRead, envelope: Envelope, *, code: str, now: datetime) -> Digest:
        """A signed custody event saying that this row cannot be read and why; its partial read is given up."""
        with self.transaction():
            statement = self.put_statement(envelope, kind="custody", agency=row.agency, now=now)
            self._row_was_unreadable(row, code)
            self.drop_partial(row.key)
        return statement

    def record_media(self, manifest: Digest, envelope: Envelope, *, agency: str, now: datetime) -> Digest:
        """Signed media facts of one original."""
        with self.transaction():
            statement = self.put_statement(envelope, kind="media", agency=agency, now=now)
            self._note_media_result(manifest, statement)
        return statement

    def record_rendition(
        self,
        manifest: Digest,
        envelope: Envelope,
        *,
        agency: str,
        rendered: tuple[Digest, int] | None,
        now: datetime,
    ) -> Digest:
        """A signed rendition, published in the spool with this digest and size; or, without one, the signed reason
        why there is none. The caller holds ``naming`` since before it published."""
        with self.transaction():
            statement = self.put_statement(envelope, kind="rendition", agency=agency, now=now)
            self._note_media_result(manifest, statement)
            if rendered is not None:
                self._deliver(
                    statement,
                    purpose=Purpose.RENDITION,
                    agency=agency,
                    digest=rendered[0],
                    size_bytes=rendered[1],
                    priority=Priority.RENDITION,
                    now=now,
                )
        return statement

    def record_intents(
        self, intents: Sequence[tuple[ReleaseIntent, Envelope]], now: datetime
    ) -> list[Digest]:
        """Signed release intents, all in one transaction. Nothing may be erased before they are admitted."""
        with self.transaction():
            return [self._record_intent(intent, envelope, now) for intent, envelope in intents]

    def _record_intent(self, intent: ReleaseIntent, envelope: Envelope, now: datetime) -> Digest:
        statement = self.put_statement(envelope, kind=intent.kind, agency=intent.header.agency, now=now)
        self.put_intent(
            statement,
            visit=intent.visit,
            inventory=intent.inventory,
            generation=intent.generation,
            items=((item.row, item.manifest) for item in intent.items),
            now=now,
        )
        return statement

    def record_released(
        self, intent: OpenIntent, envelope: Envelope, *, kept: Mapping[int, str], now: datetime
    ) -> Digest:
        """The signed outcome of an intent. Group it with the inventory it speaks of in one transaction."""
        with self.transaction():
            released = self.put_statement(envelope, kind="released", agency=intent.agency, now=now)
            self.close_intent(intent.statement, released, kept, now)
        return released

    def backlog(self) -> Backlog:
        """What the station still owes, for its status."""
        row = self.one(_BACKLOG)
        assert row is not None, "aggregates without a group always have a row"
        return Backlog(
            statements_unsettled=row["unsettled"],
            statements_refused=row["refused"],
            deliveries_open=row["deliveries"],
            delivery_bytes_open=row["bytes"],
            media_jobs_open=row["media_jobs"],
            oldest_open_at=text_time(row["oldest"]),
        )
