"""What a batch of the log means for the conservation of clips: releases joined with their intents, the collector's
clock moved on, and everything whose findings may have changed marked.

Marking too much costs time; marking too little would make the findings depend on how the log was cut into batches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import Connection, Row, RowMapping, bindparam, func, or_, select, update

from collector.catalogue import tables
from collector.catalogue.conservation_tables import (
    absences,
    findings,
    log_clock,
    release_intents,
    release_items,
    release_kept,
    releases,
    returns,
)
from collector.catalogue.projector import Changes
from collector.catalogue.unreconciled import About, mark
from collector.core.conservation import DELIVERY_PATIENCE
from collector.database.engine import insert_new
from protocol.digest import Digest

_TICK: Final = timedelta(minutes=1)
_CHUNK: Final = 500
_VOLUMES: Final = 8
"""Inventories of one stay that can be its last: a recorder has at most so many volumes."""

_inventories: Final = tables.inventories
_clips: Final = tables.clips
_T = TypeVar("_T")


def settle_releases(connection: Connection, intents: Collection[Digest]) -> None:
    """Join these intents with the first ``released`` by their own stations, if both are there."""
    for chunk in _chunks(sorted(intents)):
        pairs = (
            select(release_intents, func.min(releases.c.log_index).label("release_index"))
            .join_from(
                release_intents,
                releases,
                (releases.c.intent == release_intents.c.statement)
                & (releases.c.agency == release_intents.c.agency)
                & (releases.c.station == release_intents.c.station),
            )
            .where(release_intents.c.statement.in_(chunk), release_intents.c.released_index.is_(None))
            .group_by(*release_intents.c)
        )
        for pair in connection.execute(pairs).mappings().all():
            _settle(connection, pair)


def _settle(connection: Connection, pair: RowMapping) -> None:
    released_index = max(pair["log_index"], pair["release_index"])
    after = select(releases.c.inventory_after).where(releases.c.log_index == pair["release_index"])
    connection.execute(
        update(release_intents)
        .where(release_intents.c.log_index == pair["log_index"])
        .values(released_index=released_index, inventory_after=after.scalar_subquery())
    )
    of_intent = release_items.c.intent_index == pair["log_index"]
    kept = select(release_kept).where(release_kept.c.release_index == pair["release_index"])
    codes = [{"of_row": row.row_no, "why": row.code} for row in connection.execute(kept)]
    if codes:
        connection.execute(
            update(release_items)
            .where(of_intent, release_items.c.row_no == bindparam("of_row"))
            .values(kept=bindparam("why")),
            codes,
        )
    connection.execute(
        update(release_items)
        .where(of_intent, release_items.c.kept.is_(None))
        .values(released_index=released_index)
    )


def touch(connection: Connection, changes: Changes) -> None:
    """Mark everything whose findings this batch may change."""
    stored = [row["of_statement"] for row in changes.stored.get("original", ())]
    items = [row["manifest"] for row in changes.rows.get(release_items, ())]
    touched = set(changes.touched)
    touched |= set(_explained(connection, [subject for _, subject in changes.touched]))
    touched |= set(_left_behind(connection, changes))
    touched |= set(_released(connection, changes.intents))
    touched |= set(_naming(connection, {*changes.described, *stored, *items}))
    touched |= set(_overdue(connection, _move_clock(connection, changes.spoken)))
    mark(connection, touched)


def _explained(connection: Connection, items: list[Digest]) -> Iterator[About]:
    """A custody event may be about a finding."""
    for chunk in _chunks(items):
        query = select(findings.c.agency, findings.c.about).where(findings.c.id.in_(chunk))
        yield from _abouts(connection.execute(query))


def _left_behind(connection: Connection, changes: Changes) -> Iterator[About]:
    """A visit is over when the next begins at its bay; one volume of a recorder may have been listed after another."""
    for row in changes.rows.get(_inventories, ()):
        columns = _inventories.c
        query = (
            select(columns.agency, columns.statement)
            .where(
                columns.station == row["station"],
                columns.dock == row["dock"],
                columns.bay == row["bay"],
                columns.visit != row["visit"],
                columns.log_index < row["log_index"],
            )
            .order_by(columns.log_index.desc())
            .limit(_VOLUMES)
        )
        yield from _abouts(connection.execute(query))


def _released(connection: Connection, intents: Collection[Digest]) -> Iterator[About]:
    """What becomes of an intent matters for its inventory, and for every listing of the files it names."""
    for chunk in _chunks(sorted(intents)):
        of_intents = release_intents.c.statement.in_(chunk)
        query = select(release_intents.c.agency, release_intents.c.inventory).where(of_intents)
        yield from _abouts(connection.execute(query))
        named = (
            select(release_items.c.manifest)
            .join_from(
                release_items, release_intents, release_items.c.intent_index == release_intents.c.log_index
            )
            .where(of_intents)
        )
        yield from _naming(connection, list(connection.execute(named).scalars()))


def _naming(connection: Connection, manifests: Collection[object]) -> Iterator[About]:
    """Inventories with a row that one of these manifests is about: read from it, missing in it, or back in it."""
    earlier = _inventories.alias("earlier")
    inventories = select(_inventories.c.agency, _inventories.c.statement).distinct()
    missing_here = inventories.join_from(
        _inventories, absences, absences.c.inventory_index == _inventories.c.log_index
    )
    read = (absences.c.earlier_index == earlier.c.log_index) & (absences.c.row_no == _clips.c.row_no)
    for chunk in _chunks(sorted(manifests, key=str)):
        for query in (
            select(_clips.c.agency, _clips.c.inventory).distinct().where(_clips.c.manifest.in_(chunk)),
            missing_here.where(absences.c.manifest.in_(chunk)),
            inventories.join_from(_clips, earlier, earlier.c.statement == _clips.c.inventory)
            .join(absences, read)
            .join(_inventories, _inventories.c.log_index == absences.c.inventory_index)
            .where(_clips.c.manifest.in_(chunk)),
            inventories.join_from(
                _inventories, returns, returns.c.inventory_index == _inventories.c.log_index
            ).where(returns.c.manifest.in_(chunk)),
        ):
            yield from _abouts(connection.execute(query))


def _move_clock(
    connection: Connection, spoken: Iterable[tuple[int, datetime]]
) -> Iterator[tuple[int, int, int]]:
    """Notes each minute in which the collector spoke. Yields for each the stretch of the log (from, below) whose
    promises it makes old enough to be asked for, and its own place."""
    last = connection.execute(select(func.max(log_clock.c.at))).scalar_one()
    for index, at in spoken:
        if last is not None and at - last < _TICK:
            continue
        insert_new(connection, log_clock, [{"log_index": index, "at": at}])
        if last is not None:
            start = _first_after(connection, last - DELIVERY_PATIENCE)
            below = _first_after(connection, at - DELIVERY_PATIENCE)
            if start is not None and below is not None and start < below:
                yield start, below, index
        last = at


def _first_after(connection: Connection, moment: datetime) -> int | None:
    query = select(log_clock.c.log_index).where(log_clock.c.at > moment)
    return connection.execute(query.order_by(log_clock.c.log_index).limit(1)).scalar_one_or_none()


def _overdue(connection: Connection, stretches: Iterable[tuple[int, int, int]]) -> Iterator[About]:
    """Promises that were not kept in time, whether or not they are by now."""
    for start, below, index in stretches:
        for table, about in ((_clips, _clips.c.inventory), (_inventories, _inventories.c.statement)):
            query = (
                select(table.c.agency, about)
                .distinct()
                .where(
                    table.c.log_index >= start,
                    table.c.log_index < below,
                    or_(table.c.stored_index.is_(None), table.c.stored_index > index),
                )
            )
            yield from _abouts(connection.execute(query))


def _abouts(rows: Iterable[Row[str, Digest]]) -> set[About]:
    return {(agency, about) for agency, about in rows}


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
