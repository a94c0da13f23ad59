"""Where a release is not what it should be: nothing stored, nothing reported, or the file back again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, RowMapping, and_, exists, func, or_, select

from collector.catalogue import tables
from collector.catalogue.conservation_tables import release_intents, release_items, returns
from collector.catalogue.evidence_of_files import MAX_FILES
from collector.catalogue.inventory_facts import InventoryFacts, by_speaker
from collector.core import findings as codes
from collector.core.findings import ClosedBy, Finding
from protocol.digest import Digest

_clips: Final = tables.clips
_inventories: Final = tables.inventories


def release_findings(connection: Connection, facts: InventoryFacts) -> Iterator[Finding]:
    """All that concern the releases from one inventory, and what was released before and is listed in it."""
    intents = select(release_intents).where(
        release_intents.c.inventory == facts.statement, release_intents.c.agency == facts.agency
    )
    for intent in connection.execute(intents.order_by(release_intents.c.log_index)).mappings().all():
        yield from _without_receipt(connection, facts, intent)
        if facts.inventory is not None:
            yield from _unconfirmed(connection, facts, facts.inventory, intent)
    if facts.inventory is not None:
        yield from _back(connection, facts, facts.inventory)
        yield from _read_again(connection, facts, facts.inventory)


def _without_receipt(connection: Connection, facts: InventoryFacts, intent: RowMapping) -> Iterator[Finding]:
    """Items that no ``stored`` before the intent answers, in the place the intent names."""
    items = release_items.c
    receipted = exists().where(
        _clips.c.manifest == items.manifest,
        _clips.c.agency == intent["agency"],
        _clips.c.digest == items.digest,
        _clips.c.stored_index == items.claimed_stored_index,
        _clips.c.stored_index < intent["log_index"],
    )
    query = select(release_items).where(items.intent_index == intent["log_index"], ~receipted)
    for item in connection.execute(query.order_by(items.row_no)):
        yield facts.finding(
            codes.RELEASED_WITHOUT_RECEIPT,
            opened_index=intent["log_index"],
            place=f"{intent['statement']} {item.row_no}",
            row=item.row_no,
            path=_path(connection, facts, item.row_no),
            details={
                "erased": "no" if item.released_index is None else "yes",
                "manifest": str(item.manifest),
            },
        )


def _path(connection: Connection, facts: InventoryFacts, row: int) -> str | None:
    if facts.inventory is None:
        return None
    rows = tables.listing_rows
    query = select(rows.c.path).where(
        rows.c.inventory_index == facts.inventory["log_index"], rows.c.row_no == row
    )
    return connection.execute(query).scalar_one_or_none()


def _unconfirmed(
    connection: Connection, facts: InventoryFacts, inventory: RowMapping, intent: RowMapping
) -> Iterator[Finding]:
    next_visit = select(func.min(_inventories.c.stored_index)).where(
        _inventories.c.earlier_index == inventory["log_index"], _inventories.c.visit != inventory["visit"]
    )
    opened_index = connection.execute(next_visit).scalar_one()
    if opened_index is None or opened_index < intent["log_index"]:
        return
    files = select(func.count()).where(release_items.c.intent_index == intent["log_index"])
    found = facts.finding(
        codes.RELEASE_UNCONFIRMED,
        opened_index=opened_index,
        place=str(intent["statement"]),
        files=connection.execute(files).scalar_one(),
        details={"intent": str(intent["statement"])},
    )
    yield found.close(intent["released_index"], ClosedBy.EVIDENCE)


def _back(connection: Connection, facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    """Listed as the very file that was released."""
    query = select(returns).where(returns.c.inventory_index == inventory["log_index"])
    for row in connection.execute(query.order_by(returns.c.row_no).limit(MAX_FILES)).all():
        yield _finding(
            connection, facts, inventory["stored_index"], row.row_no, row.path, manifest=row.manifest
        )


def _read_again(connection: Connection, facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    """Read again at the same path, with the same bytes as what was released from this recorder. A recorder without a
    number can only be known again while it stays: cards of two cameras hold the same names."""
    earlier = _clips.alias("earlier")
    same_stay = and_(earlier.c.visit == _clips.c.visit, earlier.c.station == _clips.c.station)
    released = exists().where(
        release_items.c.manifest == earlier.c.manifest,
        release_items.c.released_index < inventory["log_index"],
    )
    same = and_(
        earlier.c.agency == _clips.c.agency,
        earlier.c.digest == _clips.c.digest,
        earlier.c.path == _clips.c.path,
        or_(earlier.c.recorder == _clips.c.recorder, same_stay),
        earlier.c.log_index < _clips.c.log_index,
    )
    query = (
        select(_clips.c.log_index, _clips.c.row_no, _clips.c.path, _clips.c.manifest)
        .join_from(_clips, earlier, same)
        .where(_clips.c.inventory == inventory["statement"], by_speaker(_clips.c, inventory), released)
        .distinct()
        .order_by(_clips.c.row_no, _clips.c.log_index)
        .limit(MAX_FILES)
    )
    if connection.execute(select(release_items.c.manifest).limit(1)).one_or_none() is None:
        return
    for row in connection.execute(query).all():
        yield _finding(connection, facts, row.log_index, row.row_no, row.path, manifest=row.manifest)


def _finding(
    connection: Connection,
    facts: InventoryFacts,
    opened_index: int,
    row: int,
    path: str,
    *,
    manifest: Digest,
) -> Finding:
    found = facts.finding(
        codes.ERASED_BUT_BACK,
        opened_index=opened_index,
        place=f"row {row}",
        row=row,
        path=path,
        details={"manifest": str(manifest)},
    )
    again = select(func.min(release_items.c.released_index)).where(
        release_items.c.manifest == manifest, release_items.c.released_index > opened_index
    )
    return found.close(connection.execute(again).scalar_one(), ClosedBy.EVIDENCE)
