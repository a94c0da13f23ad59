"""What a batch of the log means for the conservation of clips: releases joined with their intents, the collector's
clock moved on, and everything whose findings may have changed marked.

Marking too much costs time; marking too little would make the findings depend on how the log was cut into batches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    RowMapping,
    Select,
    bindparam,
    func,
    or_,
    select,
    update,
)

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


_UNSETTLED: Final = (
    select(release_intents, func.min(releases.c.log_index).label("release_index"))
    .join_from(
        release_intents,
        releases,
        (releases.c.intent == release_intents.c.statement)
        & (releases.c.agency == release_intents.c.agency)
        & (releases.c.station == release_intents.c.station),
    )
    .where(
        release_intents.c.statement.in_(bindparam("intents", expanding=True)),
        release_intents.c.released_index.is_(None),
    )
    .group_by(*release_intents.c)
)
_SETTLE_INTENT: Final = (
    update(release_intents)
    .where(release_intents.c.log_index == bindparam("of_intent"))
    .values(
        released_index=bindparam("at_index"),
        inventory_after=select(releases.c.inventory_after)
        .where(releases.c.log_index == bindparam("of_release"))
        .scalar_subquery(),
    )
)
_KEPT: Final = select(release_kept.c.row_no, release_kept.c.code).where(
    release_kept.c.release_index == bindparam("of_release")
)
_KEEP_ITEM: Final = (
    update(release_items)
    .where(
        release_items.c.intent_index == bindparam("of_intent"), release_items.c.row_no == bindparam("of_row")
    )
    .values(kept=bindparam("why"))
)
_RELEASE_ITEMS: Final = (
    update(release_items)
    .where(release_items.c.intent_index == bindparam("of_intent"), release_items.c.kept.is_(None))
    .values(released_index=bindparam("at_index"))
)


def settle_releases(connection: Connection, intents: Collection[Digest]) -> None:
    """Join these intents with the first ``released`` by their own stations, if both are there."""
    for chunk in _chunks(sorted(intents)):
        for pair in connection.execute(_UNSETTLED, {"intents": chunk}).mappings().all():
            _settle(connection, pair)


def _settle(connection: Connection, pair: RowMapping) -> None:
    places = {
        "of_intent": pair["log_index"],
        "of_release": pair["release_index"],
        "at_index": max(pair["log_index"], pair["release_index"]),
    }
    connection.execute(_SETTLE_INTENT, places)
    kept = connection.execute(_KEPT, {"of_release": pair["release_index"]})
    codes = [{"of_intent": pair["log_index"], "of_row": row, "why": code} for row, code in kept]
    if codes:
        connection.execute(_KEEP_ITEM, codes)
    connection.execute(_RELEASE_ITEMS, {"of_intent": pair["log_index"], "at_index": places["at_index"]})


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


_EXPLAINED: Final = select(findings.c.agency, findings.c.about).where(
    findings.c.id.in_(bindparam("items", expanding=True))
)


def _explained(connection: Connection, items: list[Digest]) -> Iterator[About]:
    """A custody event may be about a finding."""
    for chunk in _chunks(items):
        yield from _abouts(connection.execute(_EXPLAINED, {"items": chunk}))


_LEFT_BEHIND: Final = (
    select(_inventories.c.agency, _inventories.c.statement)
    .where(
        *(_inventories.c[name] == bindparam(f"of_{name}") for name in ("station", "dock", "bay")),
        _inventories.c.visit != bindparam("of_visit"),
        _inventories.c.log_index < bindparam("of_log_index"),
    )
    .order_by(_inventories.c.log_index.desc())
    .limit(_VOLUMES)
)


def _left_behind(connection: Connection, changes: Changes) -> Iterator[About]:
    """A visit is over when the next begins at its bay; one volume of a recorder may have been listed after another."""
    for row in changes.rows.get(_inventories, ()):
        named = {f"of_{name}": row[name] for name in ("station", "dock", "bay", "visit", "log_index")}
        yield from _abouts(connection.execute(_LEFT_BEHIND, named))


_OF_INTENTS: Final = release_intents.c.statement.in_(bindparam("intents", expanding=True))
_INTENDED: Final = select(release_intents.c.agency, release_intents.c.inventory).where(_OF_INTENTS)
_NAMED_BY_INTENTS: Final = (
    select(release_items.c.manifest)
    .join_from(release_items, release_intents, release_items.c.intent_index == release_intents.c.log_index)
    .where(_OF_INTENTS)
)


def _released(connection: Connection, intents: Collection[Digest]) -> Iterator[About]:
    """What becomes of an intent matters for its inventory, and for every listing of the files it names."""
    for chunk in _chunks(sorted(intents)):
        yield from _abouts(connection.execute(_INTENDED, {"intents": chunk}))
        named = connection.execute(_NAMED_BY_INTENTS, {"intents": chunk})
        yield from _naming(connection, list(named.scalars()))


def _queries_naming() -> tuple[Select[str, Digest], ...]:
    manifests: BindParameter[Digest] = bindparam("manifests", expanding=True)
    earlier = _inventories.alias("earlier")
    inventories = select(_inventories.c.agency, _inventories.c.statement).distinct()
    read = (absences.c.earlier_index == earlier.c.log_index) & (absences.c.row_no == _clips.c.row_no)
    return (
        select(_clips.c.agency, _clips.c.inventory).distinct().where(_clips.c.manifest.in_(manifests)),
        inventories.join_from(
            _inventories, absences, absences.c.inventory_index == _inventories.c.log_index
        ).where(absences.c.manifest.in_(manifests)),
        inventories.join_from(_clips, earlier, earlier.c.statement == _clips.c.inventory)
        .join(absences, read)
        .join(_inventories, _inventories.c.log_index == absences.c.inventory_index)
        .where(_clips.c.manifest.in_(manifests)),
        inventories.join_from(
            _inventories, returns, returns.c.inventory_index == _inventories.c.log_index
        ).where(returns.c.manifest.in_(manifests)),
    )


_NAMING: Final = _queries_naming()


def _naming(connection: Connection, manifests: Collection[object]) -> Iterator[About]:
    """Inventories with a row that one of these manifests is about: read from it, missing in it, or back in it."""
    for chunk in _chunks(sorted(manifests, key=str)):
        for query in _NAMING:
            yield from _abouts(connection.execute(query, {"manifests": chunk}))


_LAST_WORD: Final = select(func.max(log_clock.c.at))
_FIRST_AFTER: Final = (
    select(log_clock.c.log_index)
    .where(log_clock.c.at > bindparam("moment", type_=log_clock.c.at.type))
    .order_by(log_clock.c.log_index)
    .limit(1)
)


def _move_clock(
    connection: Connection, spoken: Iterable[tuple[int, datetime]]
) -> Iterator[tuple[int, int, int]]:
    """Notes each minute in which the collector spoke. Yields for each the stretch of the log (from, below) whose
    promises it makes old enough to be asked for, and its own place."""
    last = connection.execute(_LAST_WORD).scalar_one()
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
    return connection.execute(_FIRST_AFTER, {"moment": moment}).scalar_one_or_none()


_OVERDUE: Final = tuple(
    select(table.c.agency, about)
    .distinct()
    .where(
        table.c.log_index >= bindparam("start"),
        table.c.log_index < bindparam("below"),
        or_(table.c.stored_index.is_(None), table.c.stored_index > bindparam("at_index")),
    )
    for table, about in ((_clips, _clips.c.inventory), (_inventories, _inventories.c.statement))
)


def _overdue(connection: Connection, stretches: Iterable[tuple[int, int, int]]) -> Iterator[About]:
    """Promises that were not kept in time, whether or not they are by now."""
    for start, below, index in stretches:
        for query in _OVERDUE:
            stretch = {"start": start, "below": below, "at_index": index}
            yield from _abouts(connection.execute(query, stretch))


def _abouts(rows: Iterable[Row[str, Digest]]) -> set[About]:
    return {(agency, about) for agency, about in rows}


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
