"""Custody events of an item, and the entries of the log, in log order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, select

from collector.catalogue import tables
from collector.catalogue.reader import Reader, check_limit
from protocol.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyEvent:
    """Who did what to the item, when (保管事件)."""

    statement: Digest
    entry_index: int
    agency: str
    event: str
    item: Digest
    item_name: str
    actor: str
    details: Mapping[str, str | int]
    issued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of the log as the catalogue keeps it."""

    index: int
    statement: Digest
    kind: str
    agency: str
    key_id: str


class TrailQueries(Reader):
    """What happened, in the order of the log."""

    def custody(
        self, item: Digest, agencies: frozenset[str] | None, *, limit: int, after: int = -1
    ) -> list[CustodyEvent]:
        """Events of this item with an index above ``after``, of these agencies (None: all)."""
        check_limit(limit)
        with self._reading() as connection:
            if agencies is None:
                agencies = frozenset(connection.execute(select(tables.agencies.c.name)).scalars())
            parts = (
                connection.execute(custody_query(agency, item, limit=limit, after=after)).all()
                for agency in sorted(agencies)
            )
            rows = sorted((row for part in parts for row in part), key=_place)
        return [_event(row) for row in rows[:limit]]

    def entries(self, start: int, end: int) -> list[Entry]:
        """Entries from ``start`` up to but not ``end``, at most ``MAX_PAGE`` of them."""
        check_limit(end - start)
        table = tables.entries
        query = select(table).where(table.c.log_index >= start, table.c.log_index < end)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(table.c.log_index)).all()
        return [
            Entry(
                index=row.log_index,
                statement=row.statement,
                kind=row.kind,
                agency=row.agency,
                key_id=row.key_id,
            )
            for row in rows
        ]


def custody_query(agency: str, item: Digest, *, limit: int, after: int) -> Select[*tuple[object, ...]]:
    """The events of one agency, in log order."""
    custody = tables.custody
    return (
        select(custody)
        .where(custody.c.agency == agency, custody.c.item == item, custody.c.log_index > after)
        .order_by(custody.c.log_index)
        .limit(limit)
    )


def _place(row: Row[*tuple[object, ...]]) -> int:
    index: int = row.log_index
    return index


def _event(row: Row[*tuple[object, ...]]) -> CustodyEvent:
    return CustodyEvent(
        statement=row.statement,
        entry_index=row.log_index,
        agency=row.agency,
        event=row.event,
        item=row.item,
        item_name=row.item_name,
        actor=row.actor,
        details=json.loads(row.details),
        issued_at=row.issued_at,
    )
