"""Where listed files are not where they should be: short listings, files left, undelivered, gone, or never listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Subquery,
    and_,
    exists,
    func,
    or_,
    select,
    union_all,
)

from collector.catalogue import tables
from collector.catalogue.conservation_tables import absences, numberings, release_items
from collector.catalogue.inventory_facts import InventoryFacts, by_speaker, index_after
from collector.catalogue.listings import same_volume
from collector.core import findings as codes
from collector.core.conservation import DELIVERY_PATIENCE, NumberedFolder, gaps
from collector.core.findings import ClosedBy, Finding, Severity
from protocol.listing import RowState

MAX_FILES: Final = 1_000
"""Files of one inventory and code that have findings of their own; the others share one."""

_clips: Final = tables.clips
_inventories: Final = tables.inventories
_rows: Final = tables.listing_rows
_unreadable: Final = tables.unreadable_rows


def file_findings(connection: Connection, facts: InventoryFacts) -> Iterator[Finding]:
    """All of this page that concern one inventory."""
    yield from _manifest_before_inventory(connection, facts)
    if facts.inventory is None:
        return
    yield from _deficit(facts, facts.inventory)
    yield from _left_unread(connection, facts, facts.inventory)
    yield from _undelivered(connection, facts, facts.inventory)
    if facts.inventory["listed_rows"] is None:
        return
    yield from _sequence_gaps(connection, facts, facts.inventory)
    if facts.earlier is not None:
        yield from _gone(connection, facts, facts.inventory, facts.earlier)


def _manifest_before_inventory(connection: Connection, facts: InventoryFacts) -> Iterator[Finding]:
    early = and_(_clips.c.inventory == facts.statement, _clips.c.agency == facts.agency)
    if facts.inventory is not None:
        early = and_(early, _clips.c.log_index < facts.inventory["log_index"])
    query = select(func.count(), func.min(_clips.c.log_index)).select_from(_clips).where(early)
    files, opened_index = connection.execute(query).one()
    if files:
        clip = connection.execute(select(_clips).where(_clips.c.log_index == opened_index)).mappings().one()
        found = facts.finding(
            codes.MANIFEST_BEFORE_INVENTORY,
            opened_index=opened_index,
            files=files,
            row=clip["row_no"],
            path=clip["path"],
        )
        arrived = None if facts.inventory is None else facts.inventory["log_index"]
        yield found.close(arrived, ClosedBy.EVIDENCE)


def _deficit(facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    listed, problem, declared = (
        inventory["listed_rows"],
        inventory["listing_problem"],
        inventory["declared_rows"],
    )
    if problem is not None:
        details: dict[str, str | int] = {"declared_rows": declared, "problem": problem}
        files = declared
    elif listed is not None and listed != declared:
        details = {"declared_rows": declared, "listed_rows": listed}
        files = abs(declared - listed)
    else:
        return
    yield facts.finding(codes.DEFICIT, opened_index=inventory["stored_index"], files=files, details=details)


def _left_unread(connection: Connection, facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    """Opened where the bay lists another recorder, closed where this one is listed again or the rows are settled."""
    over_index = _over_index(connection, inventory)
    if inventory["listed_rows"] is None or over_index is None:
        return
    left = _unsettled(inventory, over_index)
    files, row = connection.execute(select(func.count(), func.min(left.c.row_no)).select_from(left)).one()
    if not files:
        return
    still = _unsettled(inventory, None)
    remaining = connection.execute(select(func.count()).select_from(still)).scalar_one()
    found = facts.finding(
        codes.LEFT_UNREAD,
        opened_index=over_index,
        files=files,
        row=row,
        path=_path(connection, inventory, row),
        details={"remaining": remaining},
    )
    if not remaining:
        found = found.close(_settled_index(connection, inventory, over_index), ClosedBy.EVIDENCE)
    yield found.close(_listed_again(connection, inventory), ClosedBy.EVIDENCE)


def _over_index(connection: Connection, inventory: RowMapping) -> int | None:
    columns = _inventories.c
    query = select(func.min(columns.log_index)).where(
        columns.station == inventory["station"],
        columns.dock == inventory["dock"],
        columns.bay == inventory["bay"],
        columns.visit != inventory["visit"],
        columns.log_index > inventory["log_index"],
    )
    if inventory["recorder"] is not None:  # the same one at once again has not left
        query = query.where(columns.recorder.is_distinct_from(inventory["recorder"]))
    index: int | None = connection.execute(query).scalar_one()
    return index


def _listed_again(connection: Connection, inventory: RowMapping) -> int | None:
    query = select(func.min(_inventories.c.stored_index)).where(
        _inventories.c.earlier_index == inventory["log_index"]
    )
    index: int | None = connection.execute(query).scalar_one()
    return index


def _unsettled(inventory: RowMapping, before: int | None) -> Subquery:
    """Rows to be read of which nothing was said, or nothing before ``before``."""
    said = [
        and_(
            table.c.inventory == inventory["statement"],
            table.c.row_no == _rows.c.row_no,
            by_speaker(table.c, inventory),
            *([] if before is None else [table.c.log_index < before]),
        )
        for table in (_clips, _unreadable)
    ]
    return (
        select(_rows.c.row_no)
        .where(
            _rows.c.inventory_index == inventory["log_index"],
            _rows.c.state == RowState.TO_READ.value,
            *(~exists().where(condition) for condition in said),
        )
        .subquery()
    )


def _settled_index(connection: Connection, inventory: RowMapping, after: int) -> int | None:
    """Where the last of the rows was first spoken of."""
    said = union_all(
        *(
            select(table.c.row_no, table.c.log_index).where(
                table.c.inventory == inventory["statement"], by_speaker(table.c, inventory)
            )
            for table in (_clips, _unreadable)
        )
    ).subquery()
    first = select(func.min(said.c.log_index).label("first")).group_by(said.c.row_no).subquery()
    query = select(func.max(first.c.first)).where(first.c.first > after)
    index: int | None = connection.execute(query).scalar_one()
    return index


def _path(connection: Connection, inventory: RowMapping, row: int) -> str | None:
    query = select(_rows.c.path).where(
        _rows.c.inventory_index == inventory["log_index"], _rows.c.row_no == row
    )
    return connection.execute(query).scalar_one_or_none()


def _undelivered(connection: Connection, facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    own_limit = index_after(connection, inventory["log_index"], DELIVERY_PATIENCE)
    stored_index = inventory["stored_index"]
    if own_limit is not None and (stored_index is None or stored_index > own_limit):
        found = facts.finding(
            codes.UNDELIVERED, opened_index=own_limit, place="listing", details={"what": "listing"}
        )
        yield found.close(stored_index, ClosedBy.EVIDENCE)
    late = _late_clips(connection, inventory)
    if late:
        limits, clips = zip(*late, strict=True)
        found = facts.finding(
            codes.UNDELIVERED,
            opened_index=min(limits),
            place="originals",
            files=len(clips),
            row=clips[0]["row_no"],
            path=clips[0]["path"],
            details={"what": "originals"},
        )
        stored = [clip["stored_index"] for clip in clips]
        yield found if None in stored else found.close(max(stored), ClosedBy.EVIDENCE)


def _late_clips(connection: Connection, inventory: RowMapping) -> list[tuple[int, RowMapping]]:
    """Clips whose bytes were not there in time, with the place of the log where that was evident."""
    own = and_(_clips.c.inventory == inventory["statement"], by_speaker(_clips.c, inventory))
    first = connection.execute(select(func.min(_clips.c.log_index)).where(own)).scalar_one()
    earliest = None if first is None else index_after(connection, first, DELIVERY_PATIENCE)
    if earliest is None:
        return []
    unstored = or_(_clips.c.stored_index.is_(None), _clips.c.stored_index > earliest)
    columns = (_clips.c.log_index, _clips.c.stored_index, _clips.c.row_no, _clips.c.path)
    late = []
    for clip in connection.execute(
        select(*columns).where(own, unstored).order_by(_clips.c.row_no)
    ).mappings():
        limit = index_after(connection, clip["log_index"], DELIVERY_PATIENCE)
        if limit is not None and (clip["stored_index"] is None or clip["stored_index"] > limit):
            late.append((limit, clip))
    return late


def _sequence_gaps(connection: Connection, facts: InventoryFacts, inventory: RowMapping) -> Iterator[Finding]:
    highest = _highest_before(connection, inventory)
    query = select(numberings).where(numberings.c.inventory_index == inventory["log_index"])
    for row in connection.execute(query.order_by(numberings.c.folder)).all():
        ranges = tuple((low, high, number) for low, high, number in json.loads(row.ranges))
        folder = NumberedFolder(row.folder, ranges, row.set_back_row)
        for gap in gaps(folder, highest.get(row.folder)):
            yield facts.finding(
                codes.SEQUENCE_GAP,
                opened_index=inventory["stored_index"],
                place=f"{row.folder}/{gap.first}",
                files=gap.files,
                row=gap.row,
                path=_path(connection, inventory, gap.row),
                details={"folder": row.folder, "first": gap.first, "last": gap.last},
                # without the recorder's number nobody can know whether they were listed at an earlier visit
                severity=Severity.NOTE if inventory["recorder"] is None else None,
            )


def _highest_before(connection: Connection, inventory: RowMapping) -> dict[str, int]:
    query = (
        select(numberings.c.folder, func.max(numberings.c.highest))
        .join_from(numberings, _inventories, numberings.c.inventory_index == _inventories.c.log_index)
        .where(same_volume(inventory), _inventories.c.stored_index < inventory["stored_index"])
        .group_by(numberings.c.folder)
    )
    return dict(connection.execute(query).all())


def _gone(
    connection: Connection, facts: InventoryFacts, inventory: RowMapping, earlier: RowMapping
) -> Iterator[Finding]:
    opened_index = inventory["stored_index"]
    unreleased = select(absences).where(
        absences.c.inventory_index == inventory["log_index"],
        ~or_(
            exists().where(_announced(opened_index), release_items.c.manifest == absences.c.manifest),
            exists().where(
                _announced(opened_index), release_items.c.manifest == _clips.c.manifest, _read(earlier)
            ),
        ),
    )
    files = connection.execute(select(func.count()).select_from(unreleased.subquery())).scalar_one()
    first = connection.execute(unreleased.order_by(absences.c.row_no).limit(MAX_FILES)).mappings().all()
    for absence in first:
        yield _gone_file(connection, facts, earlier, absence, opened_index)
    if files > len(first):
        yield facts.finding(
            codes.GONE_WITHOUT_RELEASE,
            opened_index=opened_index,
            place="more",
            files=files - len(first),
            inventory=earlier["statement"],
        )


def _announced(index: int) -> ColumnElement[bool]:
    """Said to be erased before its absence was seen; whether it was is the release's own matter."""
    return and_(release_items.c.kept.is_(None), release_items.c.intent_index < index)


def _read(earlier: RowMapping) -> ColumnElement[bool]:
    """The clip of an absent row that was still to be read when it was listed."""
    return and_(
        _clips.c.inventory == earlier["statement"],
        _clips.c.row_no == absences.c.row_no,
        by_speaker(_clips.c, earlier),
    )


def _gone_file(
    connection: Connection, facts: InventoryFacts, earlier: RowMapping, absence: RowMapping, opened_index: int
) -> Finding:
    here = and_(
        _clips.c.inventory == earlier["statement"],
        _clips.c.row_no == absence["row_no"],
        by_speaker(_clips.c, earlier),
    )
    known = and_(_clips.c.manifest == absence["manifest"], _clips.c.agency == earlier["agency"])
    clips = connection.execute(
        select(_clips.c.manifest, _clips.c.stored_index).where(known if absence["manifest"] else here)
    ).all()
    stored = any(clip.stored_index is not None for clip in clips)
    manifests = [clip.manifest for clip in clips] + ([absence["manifest"]] if absence["manifest"] else [])
    released = select(func.min(release_items.c.released_index)).where(release_items.c.manifest.in_(manifests))
    found = facts.finding(
        codes.GONE_WITHOUT_RELEASE,
        opened_index=opened_index,
        place=f"row {absence['row_no']}",
        row=absence["row_no"],
        path=absence["path"],
        inventory=earlier["statement"],
        details={"size_bytes": absence["size_bytes"], "stored": "yes" if stored else "no"},
        severity=Severity.WARNING if stored else None,
    )
    found = found.close(absence["returned_index"], ClosedBy.EVIDENCE)
    return found.close(connection.execute(released).scalar_one(), ClosedBy.EVIDENCE)
