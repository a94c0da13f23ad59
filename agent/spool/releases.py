"""Release intents, from before anything is erased until what became of it is signed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from agent.core.release import FoundAfter, ListedFile, VisitFacts
from agent.ports import FileIdentity
from agent.spool.database import Database, Row, text_time
from agent.spool.records import (
    ClosedRelease,
    IntentRow,
    OpenIntent,
    ReadAs,
    ReleaseCandidate,
    RowAfter,
)
from protocol.digest import Digest
from protocol.times import format_time, parse_time

_FACTS: Final = """
SELECT (SELECT max(d.receipted_at) FROM rows AS r JOIN deliveries AS d ON d.statement = r.manifest
        WHERE r.inventory = ?1) AS last_receipt_at,
       EXISTS (SELECT 1 FROM deliveries JOIN statements USING (statement)
               WHERE statement = ?1 AND outcome = 'admitted' AND receipted_at IS NOT NULL) AS receipted,
       count(*) FILTER (WHERE r.state = 'to_read') AS unread,
       count(*) FILTER (WHERE r.manifest IS NOT NULL AND d.receipted_at IS NULL) AS pending,
       count(*) FILTER (WHERE r.state = 'unreadable') AS unreadable
FROM rows AS r JOIN inventories AS i ON i.statement = r.inventory
LEFT JOIN deliveries AS d ON d.statement = r.manifest
WHERE i.visit = ?2 AND r.relisted = 0
"""

_CANDIDATES: Final = """
SELECT r.row, r.shown, r.manifest, d.digest, d.size_bytes, d.receipted_at
FROM rows AS r JOIN deliveries AS d ON d.statement = r.manifest
WHERE r.inventory = ? AND r.row > ? AND r.state IN ('read', 'known') AND d.receipted_at IS NOT NULL
ORDER BY r.row LIMIT ?
"""

_OPEN: Final = """
SELECT n.*, s.envelope, s.outcome, v.recorder_key, v.agency
FROM release_intents AS n JOIN statements AS s USING (statement) JOIN visits AS v USING (visit)
WHERE n.closed_at IS NULL
"""

_ITEMS: Final = """
SELECT i.row, i.manifest, r.path, r.size_bytes, r.modified_ns, a.session,
       a.size_bytes AS read_size_bytes, a.modified_ns AS read_modified_ns, a.inode AS read_inode
FROM release_items AS i JOIN release_intents AS n ON n.statement = i.intent
JOIN rows AS r ON r.inventory = n.inventory AND r.row = i.row
LEFT JOIN read_as AS a ON a.manifest = i.manifest
WHERE i.intent = ? ORDER BY i.row
"""

_AFTER: Final = """
SELECT i.row, i.manifest, l.path IS NOT NULL AS there,
       l.size_bytes = r.size_bytes AND l.modified_ns = r.modified_ns AS same
FROM release_items AS i JOIN release_intents AS n ON n.statement = i.intent
JOIN rows AS r ON r.inventory = n.inventory AND r.row = i.row
LEFT JOIN rows AS l ON l.inventory = ? AND l.path = r.path
WHERE i.intent = ? ORDER BY i.row
"""

_CLOSED: Final = """
SELECT n.visit, s.envelope, count(*) FILTER (WHERE i.kept = '') AS gone, count(*) FILTER (WHERE i.kept <> '') AS kept
FROM release_intents AS n JOIN statements AS s ON s.statement = n.released
JOIN release_items AS i ON i.intent = n.statement
GROUP BY n.statement ORDER BY s.seq
"""

_BEGUN: Final = "UPDATE release_intents SET begun_at = ? WHERE statement = ? AND begun_at IS NULL"
_UNSURE: Final = "UPDATE release_intents SET unsure_at = ? WHERE statement = ? AND unsure_at IS NULL"


class Releases(Database):
    """What is about to be erased, and what was."""

    def release_facts(self, visit: str, inventory: Digest) -> VisitFacts:
        """What the rules ask about a visit whose newest inventory this is."""
        row = self.one(_FACTS, (str(inventory), visit))
        assert row is not None, "an aggregate without GROUP BY always has a row"
        return VisitFacts(
            unread=row["unread"],
            pending=row["pending"],
            unreadable=row["unreadable"],
            inventory_receipted=bool(row["receipted"]),
            last_receipt_at=text_time(row["last_receipt_at"]),
        )

    def release_candidates(self, inventory: Digest, limit: int, *, after_row: int) -> list[ReleaseCandidate]:
        """Receipted files of an inventory, in its order, page by page."""
        return [_candidate(row) for row in self.all(_CANDIDATES, (str(inventory), after_row, limit))]

    def note_read_as(self, manifest: Digest, read_as: ReadAs) -> None:
        """What the file was while it was read, inside the transaction that records its manifest."""
        found = read_as.identity
        self.execute(
            "INSERT OR REPLACE INTO read_as VALUES (?, ?, ?, ?, ?)",
            (str(manifest), read_as.session, found.size_bytes, str(found.modified_ns), str(found.inode)),
        )

    def put_intent(
        self,
        intent: Digest,
        *,
        visit: str,
        inventory: Digest,
        generation: str,
        items: Iterable[tuple[int, Digest]],
        now: datetime,
    ) -> None:
        """Inside the transaction that keeps the statement; ``items`` are rows with their manifests."""
        self.execute(
            "INSERT INTO release_intents (statement, visit, inventory, generation, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (str(intent), visit, str(inventory), generation, format_time(now)),
        )
        self.execute_many(
            "INSERT INTO release_items (intent, row, manifest) VALUES (?, ?, ?)",
            ((str(intent), row, str(manifest)) for row, manifest in items),
        )

    def open_intents(self, visit: str | None = None) -> list[OpenIntent]:
        """Intents nothing final is signed about, oldest first: of one visit, or of all."""
        narrowed, values = (" AND n.visit = ?", (visit,)) if visit is not None else ("", ())
        return [
            _open_intent(row) for row in self.all(_OPEN + narrowed + " ORDER BY n.created_at, s.seq", values)
        ]

    def intent_rows(self, intent: Digest, session: str | None) -> list[IntentRow]:
        """The files an intent names. What they were when read counts only if this session read them."""
        return [_intent_row(row, session) for row in self.all(_ITEMS, (str(intent),))]

    def rows_after(self, intent: Digest, inventory: Digest) -> list[RowAfter]:
        """What an inventory has at the paths of the files an intent names."""
        return [_row_after(row) for row in self.all(_AFTER, (str(inventory), str(intent)))]

    def note_release_begun(self, intents: Sequence[Digest], now: datetime) -> None:
        """From here on files may be missing: durable before the first erasure."""
        self._note(_BEGUN, intents, now)

    def note_release_unsure(self, intents: Sequence[Digest], now: datetime) -> None:
        """The volume did not confirm the erasures: nothing listed in this mount proves them."""
        self._note(_UNSURE, intents, now)

    def _note(self, sql: str, intents: Sequence[Digest], now: datetime) -> None:
        self.execute_many(sql, ((format_time(now), str(intent)) for intent in intents))

    def close_intent(
        self, intent: Digest, released: Digest | None, kept: Mapping[int, str], now: datetime
    ) -> None:
        """What became of every file of an intent: those in ``kept`` are still there, the others gone. Inside the
        transaction that keeps the statement ``released``, if there is one."""
        self.execute(
            "UPDATE release_intents SET closed_at = ?, released = ? WHERE statement = ?",
            (format_time(now), None if released is None else str(released), str(intent)),
        )
        self.execute("UPDATE release_items SET kept = '' WHERE intent = ?", (str(intent),))
        self.execute_many(
            "UPDATE release_items SET kept = ? WHERE intent = ? AND row = ?",
            ((code, str(intent), row) for row, code in kept.items()),
        )

    def forget_reads(self, manifests: Iterable[Digest]) -> None:
        """These files are not on their recorder any more, or never were what they seemed: whatever is found in their
        place is read, however much it looks like them."""
        self.execute_many("DELETE FROM reads WHERE manifest = ?", ((str(item),) for item in manifests))

    def files_released(self, visit: str) -> int:
        """How many files are gone from the recorder by intents of this visit."""
        row = self.one(
            "SELECT count(*) AS files FROM release_intents AS n JOIN release_items AS i ON i.intent = n.statement"
            " WHERE n.visit = ? AND i.kept = ''",
            (visit,),
        )
        return 0 if row is None else int(row["files"])

    def closed_releases(self) -> list[ClosedRelease]:
        """Every intent whose outcome is signed, in order; ``released`` is the envelope that says it."""
        return [
            ClosedRelease(
                visit=row["visit"], released=bytes(row["envelope"]), gone=row["gone"], kept=row["kept"]
            )
            for row in self.all(_CLOSED)
        ]

    def released_manifests(self) -> set[Digest]:
        """The manifests of all files that are gone from their recorders."""
        return {
            Digest.parse(row["manifest"])
            for row in self.all("SELECT DISTINCT manifest FROM release_items WHERE kept = ''")
        }


def _candidate(row: Row) -> ReleaseCandidate:
    return ReleaseCandidate(
        row=row["row"],
        shown=row["shown"],
        manifest=Digest.parse(row["manifest"]),
        digest=Digest.parse(row["digest"]),
        size_bytes=row["size_bytes"],
        receipted_at=parse_time(row["receipted_at"]),
    )


def _open_intent(row: Row) -> OpenIntent:
    return OpenIntent(
        statement=Digest.parse(row["statement"]),
        visit=row["visit"],
        agency=row["agency"],
        recorder_key=row["recorder_key"],
        inventory=Digest.parse(row["inventory"]),
        generation=row["generation"],
        envelope=bytes(row["envelope"]),
        outcome=row["outcome"],
        begun=row["begun_at"] is not None,
        unsure=row["unsure_at"] is not None,
    )


def _intent_row(row: Row, session: str | None) -> IntentRow:
    identity = None
    if session is not None and row["session"] == session:
        identity = FileIdentity(
            size_bytes=row["read_size_bytes"],
            modified_ns=int(row["read_modified_ns"]),
            inode=int(row["read_inode"]),
        )
    return IntentRow(
        row=row["row"],
        manifest=Digest.parse(row["manifest"]),
        path=bytes(row["path"]),
        listed=ListedFile(
            size_bytes=row["size_bytes"],
            modified_ns=int(row["modified_ns"]) if row["modified_ns"] else None,
            read_as=identity,
        ),
    )


def _row_after(row: Row) -> RowAfter:
    found = FoundAfter.NOTHING
    if row["there"]:
        found = FoundAfter.SAME if row["same"] else FoundAfter.OTHER
    return RowAfter(row=row["row"], manifest=Digest.parse(row["manifest"]), found=found)
