"""Deliveries: every blob a statement promised, until a verified receipt for that statement is kept.

Also what follows from receipts: the last checkpoint seen, and which blobs may leave the spool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from agent.spool.database import Database, Row, one_value
from agent.spool.files import SpoolFiles
from agent.spool.records import (
    Delivery,
    Priority,
    Purpose,
    ReceiptPlace,
    SpooledBlob,
    VerifiedDelivery,
)
from protocol.digest import Digest
from protocol.times import format_time, parse_time

OPEN_DELIVERIES: Final = """
SELECT d.*, coalesce(d.upload_url, b.upload_url) AS sent_to, s.outcome IS 'admitted' AS admitted
FROM deliveries AS d JOIN statements AS s USING (statement) LEFT JOIN bundles AS b USING (bundle)
WHERE d.receipted_at IS NULL AND s.outcome IS NOT 'refused'
"""

_EVICTABLE: Final = """
SELECT b.purpose, b.digest, b.size_bytes, max(d.receipted_at) AS receipted_at
FROM blobs AS b JOIN deliveries AS d USING (purpose, digest)
WHERE b.evicted_at IS NULL AND b.purpose <> 'listing'
  AND (? OR NOT EXISTS (SELECT 1 FROM media_jobs AS m WHERE m.digest = b.digest AND m.closed_at IS NULL))
GROUP BY b.purpose, b.digest
HAVING count(*) = count(d.receipted_at) AND max(d.receipted_at) <= ?
ORDER BY receipted_at LIMIT ?
"""


class Deliveries(Database):
    """Open deliveries by priority, then age."""

    files: SpoolFiles

    def open_deliveries(self, limit: int, *, uploaded: bool | None = None) -> list[Delivery]:
        """Without a receipt, and not refused by the collector. ``uploaded`` narrows to those whose bytes are, or are
        not yet, with the collector."""
        narrowed = {None: "", True: " AND uploaded_at IS NOT NULL", False: " AND uploaded_at IS NULL"}[
            uploaded
        ]
        order = " ORDER BY d.priority, d.created_at LIMIT ?"
        return [self._delivery(row) for row in self.all(OPEN_DELIVERIES + narrowed + order, (limit,))]

    def delivery(self, statement: Digest) -> Delivery | None:
        """The open delivery that this statement promised."""
        row = self.one(OPEN_DELIVERIES + " AND d.statement = ?", (str(statement),))
        return None if row is None else self._delivery(row)

    def deliveries(self, statements: Sequence[Digest]) -> dict[Digest, Delivery]:
        """The open deliveries among those that these statements promised."""
        named = " AND d.statement IN (SELECT value FROM json_each(?))"
        found = map(self._delivery, self.all(OPEN_DELIVERIES + named, (one_value(statements),)))
        return {delivery.statement: delivery for delivery in found}

    def sent_deliveries(self, limit: int) -> list[Delivery]:
        """Whose bytes and statement the collector has, and whose receipt is still missing; longest sent first."""
        ready = " AND d.uploaded_at IS NOT NULL AND s.outcome = 'admitted' ORDER BY d.uploaded_at LIMIT ?"
        return [self._delivery(row) for row in self.all(OPEN_DELIVERIES + ready, (limit,))]

    def _delivery(self, row: Row) -> Delivery:
        purpose, digest = Purpose(row["purpose"]), Digest.parse(row["digest"])
        return Delivery(
            statement=Digest.parse(row["statement"]),
            purpose=purpose,
            agency=row["agency"],
            digest=digest,
            size_bytes=row["size_bytes"],
            path=self.files.path(purpose, digest),
            upload_url=row["sent_to"],
            uploaded=row["uploaded_at"] is not None,
            admitted=bool(row["admitted"]),
            created_at=parse_time(row["created_at"]),
            priority=row["priority"],
            alone=bool(row["alone"]),
        )

    def note_upload_url(self, statement: Digest, url: str | None) -> None:
        """Where the upload goes on; None after the collector has forgotten it."""
        self.execute("UPDATE deliveries SET upload_url = ? WHERE statement = ?", (url, str(statement)))

    def note_uploaded(self, statement: Digest, now: datetime) -> None:
        """The collector holds all bytes; only the receipt will say that they are stored."""
        self.execute(
            "UPDATE deliveries SET uploaded_at = ? WHERE statement = ?", (format_time(now), str(statement))
        )

    def note_upload_lost(self, statement: Digest) -> None:
        """The collector no longer has the bytes it was sent: deliver them again."""
        self.execute(
            "UPDATE deliveries SET uploaded_at = NULL, upload_url = NULL, bundle = NULL"
            " WHERE statement = ? AND receipted_at IS NULL",
            (str(statement),),
        )

    def settle_receipt(
        self, statement: Digest, receipt: bytes, checkpoint_note: bytes, now: datetime
    ) -> None:
        """Close a delivery on a receipt the caller has verified. See ``settle_receipts``."""
        verified = VerifiedDelivery(statement=statement, receipt=receipt, checkpoint_note=checkpoint_note)
        self.settle_receipts([verified], now)

    def settle_receipts(self, verified: Sequence[VerifiedDelivery], now: datetime) -> None:
        """Keep the receipts, then close their deliveries and advance the last checkpoint in one transaction.

        The last one's checkpoint becomes the last seen: the caller has verified that each extends the one before.
        A delivery already closed stays closed with its first time and receipt. Raises SpoolError, JournalError.
        """
        places = self.files.put_receipts([delivery.receipt for delivery in verified])
        at = format_time(now)
        with self.transaction():
            self.execute_many(
                "UPDATE deliveries SET receipted_at = ?, receipt_file = ?, receipt_offset = ?, receipt_bytes = ?"
                " WHERE statement = ? AND receipted_at IS NULL",
                (
                    (at, place.file, place.offset, place.size_bytes, str(delivery.statement))
                    for delivery, place in zip(verified, places, strict=True)
                ),
            )
            self.note_checkpoint(verified[-1].checkpoint_note)

    def doubt_receipts(self, statements: Iterable[Digest]) -> None:
        """Open these deliveries again: what was kept for them proves nothing, and is to be fetched once more. Their
        bytes count as sent: the receipt was verified when it came, and they may have left the spool since."""
        self.execute_many(
            "UPDATE deliveries SET uploaded_at = coalesce(uploaded_at, receipted_at), receipted_at = NULL,"
            " receipt_file = NULL, receipt_offset = NULL, receipt_bytes = NULL"
            " WHERE statement = ? AND receipted_at IS NOT NULL",
            ((str(statement),) for statement in statements),
        )

    def receipt(self, statement: Digest) -> bytes | None:
        """The kept receipt for a statement, None while there is none. Raises SpoolError."""
        row = self.one(
            "SELECT receipt_file, receipt_offset, receipt_bytes FROM deliveries"
            " WHERE statement = ? AND receipt_file IS NOT NULL",
            (str(statement),),
        )
        return None if row is None else self.files.read_receipt(ReceiptPlace(*row))

    def receipted_statements(self, after: str = "", limit: int = 1000) -> list[Digest]:
        """Statements with a kept receipt, by id, page by page."""
        rows = self.all(
            "SELECT statement FROM deliveries WHERE receipt_file IS NOT NULL AND statement > ?"
            " ORDER BY statement LIMIT ?",
            (after, limit),
        )
        return [Digest.parse(row["statement"]) for row in rows]

    def receipted_statements_of(self, name: Digest) -> list[Digest]:
        """Statements with a kept receipt that have this id or promised these bytes."""
        rows = self.all(
            "SELECT statement FROM deliveries WHERE receipt_file IS NOT NULL AND (statement = ? OR digest = ?)"
            " ORDER BY statement",
            (str(name), str(name)),
        )
        return [Digest.parse(row["statement"]) for row in rows]

    def last_checkpoint(self) -> bytes | None:
        """The signed note last seen and verified; None before the first."""
        row = self.one("SELECT note FROM last_checkpoint")
        return None if row is None else bytes(row["note"])

    def note_checkpoint(self, note: bytes) -> None:
        """Replace the last checkpoint with one the caller has verified to extend it."""
        self.execute("INSERT OR REPLACE INTO last_checkpoint (only, note) VALUES (1, ?)", (note,))

    def evictable(
        self, receipted_before: datetime, limit: int, *, also_unrendered: bool = False
    ) -> list[SpooledBlob]:
        """Blobs whose every delivery is receipted, longest receipted first; those that a media job still needs only
        if ``also_unrendered``. Listings are small and stay."""
        return [
            SpooledBlob(
                purpose=Purpose(row["purpose"]),
                digest=Digest.parse(row["digest"]),
                size_bytes=row["size_bytes"],
                receipted_at=parse_time(row["receipted_at"]),
            )
            for row in self.all(_EVICTABLE, (also_unrendered, format_time(receipted_before), limit))
        ]

    def note_evicted(self, blob: SpooledBlob, now: datetime) -> bool:
        """Journal that a blob is about to leave the spool. False, and it must stay, if meanwhile somebody needs it
        again: the same bytes may have been read a second time."""
        changed = self.execute(
            "UPDATE blobs SET evicted_at = ? WHERE purpose = ? AND digest = ? AND evicted_at IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.purpose = blobs.purpose"
            " AND d.digest = blobs.digest AND d.receipted_at IS NULL)",
            (format_time(now), blob.purpose, str(blob.digest)),
        )
        return changed == 1

    def _deliver(
        self,
        statement: Digest,
        *,
        purpose: Purpose,
        agency: str,
        digest: Digest,
        size_bytes: int,
        priority: Priority,
        now: datetime,
        upload_url: str | None = None,
    ) -> None:
        """Note a published blob and open its delivery, inside the transaction that keeps its statement."""
        self.execute(
            "INSERT INTO blobs (purpose, digest, size_bytes, added_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (purpose, digest) DO UPDATE SET evicted_at = NULL",
            (purpose, str(digest), size_bytes, format_time(now)),
        )
        self.execute(
            "INSERT INTO deliveries (statement, purpose, agency, digest, size_bytes, priority, created_at, upload_url)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (statement) DO NOTHING",
            (
                str(statement),
                purpose,
                agency,
                str(digest),
                size_bytes,
                priority,
                format_time(now),
                upload_url,
            ),
        )
