"""Visits, their signed inventories, and what became of every row (I3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from agent.spool.database import Database, Row, Value
from agent.spool.partials import nanoseconds_text
from agent.spool.records import Accounting, FileKey, NewRow, RowId, RowToRead, VisitRecord
from protocol.digest import Digest
from protocol.times import format_time, parse_time

SUPERSEDED: Final = "file-changed"
"""Rule of a row whose file was listed again with another size or time before it could be read."""

_PAGE_ROWS: Final = 1000
_BEFORE_ALL: Final = -(2**63)

_INSERT_ROW: Final = """
INSERT INTO rows (inventory, row, path, shown, size_bytes, modified_ns, state, rule, manifest, order_1, order_2)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_ROWS: Final = """
SELECT r.*, v.visit, v.recorder_key, v.agency
FROM rows AS r JOIN inventories AS i ON i.statement = r.inventory JOIN visits AS v USING (visit)
"""

_LISTED_AGAIN: Final = """
UPDATE rows SET {change}
WHERE {which} relisted = 0
  AND inventory IN (SELECT statement FROM inventories WHERE visit = ?1 AND statement <> ?2)
  AND EXISTS (SELECT 1 FROM rows AS n WHERE n.inventory = ?2 AND n.path = rows.path
              AND (n.size_bytes = rows.size_bytes AND n.modified_ns = rows.modified_ns) = {same})
"""

_SAME_FILE: Final = """
UPDATE rows SET state = ?, rule = ?, manifest = ?
WHERE state = 'to_read' AND path = ? AND size_bytes = ? AND modified_ns = ?
  AND inventory IN (SELECT i.statement FROM inventories AS i JOIN visits USING (visit) WHERE {scope} = ?)
"""

_ACCOUNT: Final = """
SELECT count(*) AS listed,
       total(r.manifest IS NOT NULL AND d.receipted_at IS NOT NULL) AS stored,
       total(r.state = 'to_read' OR (r.manifest IS NOT NULL AND d.receipted_at IS NULL)) AS pending,
       total(r.state = 'unreadable') AS unreadable,
       total(r.state = 'excluded') AS excluded,
       total(r.state = 'known') AS known,
       total(r.state = 'to_read') AS unread,
       total(CASE WHEN r.state IN ('to_read', 'read') THEN r.size_bytes END) AS bytes_listed,
       total(CASE WHEN r.state = 'to_read' THEN r.size_bytes END) AS bytes_unread,
       total(CASE WHEN d.receipted_at IS NOT NULL THEN r.size_bytes END) AS bytes_stored
FROM rows AS r LEFT JOIN deliveries AS d ON d.statement = r.manifest
"""


class Inventories(Database):
    """Visits with their inventories and rows."""

    def open_visits(self) -> list[VisitRecord]:
        """Visits that were not closed: after a start, the ones to go on with if their recorder is still there."""
        return [
            _visit(row) for row in self.all("SELECT * FROM visits WHERE closed_at IS NULL ORDER BY opened_at")
        ]

    def close_visit(self, visit: str, now: datetime) -> None:
        """The recorder has left. Its unread rows stay pending until it comes back."""
        self.execute(
            "UPDATE visits SET closed_at = ? WHERE visit = ? AND closed_at IS NULL", (format_time(now), visit)
        )

    def last_inventory(self, visit: str) -> tuple[Digest, int] | None:
        """The statement id and sequence of a visit's latest inventory."""
        row = self.one(
            "SELECT statement, sequence FROM inventories WHERE visit = ? ORDER BY sequence DESC LIMIT 1",
            (visit,),
        )
        return None if row is None else (Digest.parse(row["statement"]), row["sequence"])

    def rows_to_read(
        self, inventory: Digest, limit: int = -1, *, after: RowToRead | None = None
    ) -> list[RowToRead]:
        """What is still to be read, in planned order; ``after`` a row one already has, so that a million rows can be
        taken page by page."""
        place = (_BEFORE_ALL, 0, 0) if after is None else (*after.order, after.id.row)
        return self._rows(
            " WHERE r.inventory = ? AND r.state = 'to_read' AND (r.order_1, r.order_2, r.row) > (?, ?, ?)"
            " ORDER BY r.order_1, r.order_2, r.row LIMIT ?",
            (str(inventory), *place, limit),
        )

    def listed_files(self, inventory: Digest) -> Iterator[tuple[bytes, int, int | None]]:
        """Path, size and time of every row of an inventory, in the order of its listing; read page by page."""
        last = -1
        while page := self.all(
            "SELECT row, path, size_bytes, modified_ns FROM rows WHERE inventory = ? AND row > ? ORDER BY row LIMIT ?",
            (str(inventory), last, _PAGE_ROWS),
        ):
            for row in page:
                yield bytes(row["path"]), row["size_bytes"], _nanoseconds(row["modified_ns"])
            last = page[-1]["row"]

    def rows_missing(self, visit: str, inventory: Digest) -> list[RowToRead]:
        """Rows that earlier inventories of a visit promised and its latest no longer lists: their files are gone."""
        return self._rows(
            " WHERE v.visit = ? AND r.inventory <> ? AND r.state = 'to_read' AND r.relisted = 0",
            (visit, str(inventory)),
        )

    def _rows(self, where: str, values: tuple[Value, ...]) -> list[RowToRead]:
        return [_row_to_read(row) for row in self.all(_ROWS + where, values)]

    def accounting(self, visit: str) -> Accounting:
        """Every file this visit's inventories listed, each once, by what became of it."""
        return self._account(
            " JOIN inventories AS i ON i.statement = r.inventory WHERE i.visit = ? AND r.relisted = 0", visit
        )

    def inventory_accounting(self, inventory: Digest) -> Accounting:
        """Every row of one signed inventory, by what became of it."""
        return self._account(" WHERE r.inventory = ?", str(inventory))

    def _account(self, where: str, value: str) -> Accounting:
        row = self.one(_ACCOUNT + where, (value,))
        assert row is not None, "an aggregate without GROUP BY always has a row"
        return Accounting(**{name: int(row[name]) for name in row.keys()})  # noqa: SIM118 - sqlite3.Row

    def _put_inventory(
        self, visit: VisitRecord, sequence: int, inventory: Digest, rows: Iterable[NewRow]
    ) -> None:
        """Inside the transaction that keeps the statement."""
        self.execute(
            "INSERT INTO visits (visit, dock, bay, generation, recorder_key, profile, agency, opened_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (visit) DO NOTHING",
            (
                visit.visit,
                visit.dock,
                visit.bay,
                visit.generation,
                visit.recorder_key,
                visit.profile,
                visit.agency,
                format_time(visit.opened_at),
            ),
        )
        self.execute(
            "INSERT INTO inventories (statement, visit, sequence) VALUES (?, ?, ?)",
            (str(inventory), visit.visit, sequence),
        )
        self.execute_many(_INSERT_ROW, _row_values(inventory, rows))
        if sequence > 1:
            self._compare_with_earlier(visit.visit, inventory)

    def _compare_with_earlier(self, visit: str, inventory: Digest) -> None:
        relisted = _LISTED_AGAIN.format(change="relisted = 1", which="", same=1)
        changed = _LISTED_AGAIN.format(
            change=f"state = 'excluded', rule = '{SUPERSEDED}'", which="state = 'to_read' AND", same=0
        )
        self.execute(relisted, (visit, str(inventory)))
        self.execute(changed, (visit, str(inventory)))

    def _manifest_of(self, row: RowToRead) -> Digest | None:
        """The manifest of a row that was read itself."""
        found = self.one(
            "SELECT manifest FROM rows WHERE inventory = ? AND row = ? AND state = 'read'",
            (str(row.id.inventory), row.id.row),
        )
        return None if found is None else Digest.parse(found["manifest"])

    def _row_was_read(self, row: RowToRead, manifest: Digest) -> None:
        """The row itself, and as known every other row, of whatever visit, that waits for the same file."""
        self.execute(
            "UPDATE rows SET state = 'read', rule = NULL, manifest = ? WHERE inventory = ? AND row = ?",
            (str(manifest), str(row.id.inventory), row.id.row),
        )
        if row.key.modified_ns is not None:
            self._same_file(row.key, ("known", None, str(manifest)), "recorder_key", row.key.recorder_key)

    def _row_was_unreadable(self, row: RowToRead, code: str) -> None:
        """The row itself and the same file in earlier inventories of its visit; another visit tries again."""
        self.execute(
            "UPDATE rows SET state = 'unreadable', rule = ? WHERE inventory = ? AND row = ? AND state = 'to_read'",
            (code, str(row.id.inventory), row.id.row),
        )
        self._same_file(row.key, ("unreadable", code, None), "visit", row.visit)

    def _same_file(self, key: FileKey, becomes: tuple[Value, ...], scope: str, value: str) -> None:
        self.execute(
            _SAME_FILE.format(scope=scope),
            (*becomes, key.path, key.size_bytes, nanoseconds_text(key.modified_ns), value),
        )


def _row_values(inventory: Digest, rows: Iterable[NewRow]) -> Iterator[tuple[Value, ...]]:
    for number, row in enumerate(rows):
        yield (
            str(inventory),
            number,
            row.path,
            row.shown,
            row.size_bytes,
            nanoseconds_text(row.modified_ns),
            row.state,
            row.rule,
            None if row.manifest is None else str(row.manifest),
            *row.order,
        )


def _nanoseconds(text: str) -> int | None:
    return int(text) if text else None


def _row_to_read(row: Row) -> RowToRead:
    return RowToRead(
        id=RowId(Digest.parse(row["inventory"]), row["row"]),
        key=FileKey(
            recorder_key=row["recorder_key"],
            path=bytes(row["path"]),
            size_bytes=row["size_bytes"],
            modified_ns=_nanoseconds(row["modified_ns"]),
        ),
        visit=row["visit"],
        agency=row["agency"],
        shown=row["shown"],
        order=(row["order_1"], row["order_2"]),
    )


def _visit(row: Row) -> VisitRecord:
    return VisitRecord(
        visit=row["visit"],
        dock=row["dock"],
        bay=row["bay"],
        generation=row["generation"],
        recorder_key=row["recorder_key"],
        profile=row["profile"],
        agency=row["agency"],
        opened_at=parse_time(row["opened_at"]),
    )
