"""Where times cannot be: clocks that were set, moments before the recorder was built or after it was read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from sqlalchemy import BigInteger, Connection, RowMapping, and_, func, literal, or_, select, type_coerce

from collector.catalogue import tables
from collector.catalogue.conservation_tables import numberings
from collector.catalogue.inventory_facts import InventoryFacts, by_speaker
from collector.core import findings as codes
from collector.core.conservation import EARLIEST_TIME, PLAUSIBLE_LEAD, clock_was_set, is_implausible
from collector.core.findings import Finding
from collector.database.columns import StartColumn

_clips: Final = tables.clips
_STATION_TOLERANCE: Final = timedelta(seconds=2)
"""What a well-kept clock may be corrected by between two inventories of one stay."""

_MILLISECOND: Final = timedelta(milliseconds=1)


def time_findings(connection: Connection, facts: InventoryFacts) -> Iterator[Finding]:
    """All that concern one inventory and its clips."""
    inventory = facts.inventory
    if inventory is None:
        return
    yield from _implausible_clips(connection, facts, inventory)
    if inventory["stored_index"] is not None:
        yield from _implausible_inventory(facts, inventory)
        yield from _numbers_against_times(connection, facts, inventory)
        if facts.earlier is not None:
            yield from _clock_jumps(facts, inventory, facts.earlier)


def _implausible_inventory(facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    """The station's clock, against the collector's when it had the listing."""
    if is_implausible(inventory["issued_at"], inventory["stored_at"]):
        ahead_ms = (inventory["issued_at"] - inventory["stored_at"]) // _MILLISECOND
        yield facts.finding(
            codes.IMPLAUSIBLE_TIME,
            opened_index=inventory["stored_index"],
            place="station",
            details={"clock": "station", "ahead_ms": ahead_ms},
        )


def _implausible_clips(
    connection: Connection, facts: InventoryFacts, inventory: RowMapping
) -> Iterator[Finding]:
    """The recorder's clock, against the station's when it had read the file."""
    start, read = (
        type_coerce(column, BigInteger) for column in (_clips.c.started_at, _clips.c.read_finished_at)
    )
    impossible = and_(
        _clips.c.inventory == inventory["statement"],
        by_speaker(_clips.c, inventory),
        _clips.c.started_source.is_not(None),
        or_(
            _clips.c.started_at < literal(EARLIEST_TIME, StartColumn()),
            start - read > PLAUSIBLE_LEAD // _MILLISECOND,
        ),
    )
    query = select(func.count(), func.min(_clips.c.row_no), func.min(_clips.c.log_index)).where(impossible)
    files, row, opened_index = connection.execute(query).one()
    if files:
        first = select(_clips.c.path).where(impossible, _clips.c.row_no == row).limit(1)
        yield facts.finding(
            codes.IMPLAUSIBLE_TIME,
            opened_index=opened_index,
            place="clips",
            files=files,
            row=row,
            path=connection.execute(first).scalar_one(),
            details={"clock": "recorder"},
        )


def _clock_jumps(facts: InventoryFacts, inventory: RowMapping, earlier: RowMapping) -> Iterator[Finding]:
    between = inventory["issued_at"] - earlier["issued_at"]
    before_ms, after_ms = earlier["clock_offset_ms"], inventory["clock_offset_ms"]
    if clock_was_set(before_ms, after_ms, between):
        yield facts.finding(
            codes.CLOCK_JUMP,
            opened_index=inventory["stored_index"],
            place="recorder",
            details={"clock": "recorder", "before_ms": before_ms, "after_ms": after_ms},
        )
    if earlier["visit"] == inventory["visit"] and between < -_STATION_TOLERANCE:
        yield facts.finding(
            codes.CLOCK_JUMP,
            opened_index=inventory["stored_index"],
            place="station",
            details={"clock": "station", "back_ms": -between // _MILLISECOND},
        )


def _numbers_against_times(
    connection: Connection, facts: InventoryFacts, inventory: RowMapping
) -> Iterator[Finding]:
    """Numbers that rise while times fall: the recorder's clock was set back between two files."""
    rows = tables.listing_rows
    query = (
        select(numberings.c.folder, numberings.c.set_back_row, rows.c.path)
        .join_from(
            numberings,
            rows,
            and_(
                rows.c.inventory_index == numberings.c.inventory_index,
                rows.c.row_no == numberings.c.set_back_row,
            ),
        )
        .where(numberings.c.inventory_index == inventory["log_index"])
    )
    for found in connection.execute(query.order_by(numberings.c.folder)):
        yield facts.finding(
            codes.CLOCK_JUMP,
            opened_index=inventory["stored_index"],
            place=f"folder {found.folder}",
            row=found.set_back_row,
            path=found.path,
            details={"clock": "recorder", "folder": found.folder},
        )
