"""One inventory and those it is compared with, as the rules of findings ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, and_, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from collector.catalogue import tables
from collector.catalogue.conservation_tables import log_clock
from collector.core.findings import Finding, Severity, severity_of
from protocol.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFacts:
    """``inventory`` is None where statements name one that is not in the log (yet)."""

    agency: str
    statement: Digest
    inventory: RowMapping | None
    earlier: RowMapping | None

    def finding(
        self,
        code: str,
        *,
        opened_index: int,
        place: str = "",
        files: int = 1,
        row: int | None = None,
        path: str | None = None,
        inventory: Digest | None = None,
        details: dict[str, str | int] | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """About this inventory; ``inventory`` is given where the row counts in another one."""
        own = self.inventory
        return Finding(
            code=code,
            severity=severity or severity_of(code),
            agency=self.agency,
            subject=self.statement,
            place=place,
            station=None if own is None else own["station"],
            recorder=None if own is None else own["recorder"],
            visit=None if own is None else own["visit"],
            inventory=inventory or self.statement,
            row=row,
            path=path,
            files=files,
            opened_index=opened_index,
            details=details or {},
        )


def inventory_facts(connection: Connection, agency: str, statement: Digest) -> InventoryFacts:
    """What is known of the inventory with this statement id."""
    table = tables.inventories
    query = select(table).where(table.c.statement == statement, table.c.agency == agency)
    inventory = connection.execute(query).mappings().one_or_none()
    earlier = None
    if inventory is not None and inventory["earlier_index"] is not None:
        before = select(table).where(table.c.log_index == inventory["earlier_index"])
        earlier = connection.execute(before).mappings().one()
    return InventoryFacts(agency=agency, statement=statement, inventory=inventory, earlier=earlier)


def by_speaker(
    columns: ReadOnlyColumnCollection[str, Column[object]], inventory: RowMapping
) -> ColumnElement[bool]:
    """Said by the station that made the inventory: nobody else speaks of its rows."""
    return and_(columns.agency == inventory["agency"], columns.station == inventory["station"])


def time_at(connection: Connection, index: int) -> datetime | None:
    """The collector's time at a place of the log; None before its first word."""
    query = select(log_clock.c.at).where(log_clock.c.log_index <= index)
    return connection.execute(query.order_by(log_clock.c.log_index.desc()).limit(1)).scalar_one_or_none()


def index_after(connection: Connection, index: int, span: timedelta) -> int | None:
    """The first place of the log that is ``span`` after ``index`` by the collector's time; None: not yet."""
    start = time_at(connection, index)
    if start is None:
        return None
    query = select(log_clock.c.log_index).where(log_clock.c.at >= start + span)
    return connection.execute(query.order_by(log_clock.c.log_index).limit(1)).scalar_one_or_none()
