"""Doing to the tables what ``projector`` planned, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import Column, Connection, RowMapping, Table, bindparam, select, update

from collector.catalogue import tables
from collector.catalogue.facts import best_start
from collector.catalogue.following import settle_releases, touch
from collector.catalogue.projector import Changes, Row
from collector.database.columns import DigestColumn, TimeColumn
from collector.database.engine import insert_new
from protocol.claims import TimeClaim
from protocol.digest import Digest

_CHUNK_ROWS: Final = 500
"""Values of one ``IN``."""

_PROMISES: Final[dict[str, tuple[Table, Column[Digest]]]] = {
    "original": (tables.clips, tables.clips.c.manifest),
    "rendition": (tables.renditions, tables.renditions.c.statement),
    "listing": (tables.inventories, tables.inventories.c.statement),
}
_DIGESTS: Final = {
    tables.clips: tables.clips.c.digest,
    tables.renditions: tables.renditions.c.digest,
    tables.inventories: tables.inventories.c.listing,
}

_T = TypeVar("_T")


def execute(connection: Connection, changes: Changes) -> None:
    """Make the changes. What a stored listing says is not read here: see ``listings``."""
    for table, rows in changes.rows.items():
        insert_new(connection, table, rows)
    for purpose, stored in changes.stored.items():
        _mark_stored(connection, purpose, stored)
    _describe_clips(connection, changes.described)
    settle_releases(connection, changes.intents)
    touch(connection, changes)


def _chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK_ROWS)):
        yield chunk


def _mark_stored(connection: Connection, purpose: str, stored: list[Row]) -> None:
    table, statement = _PROMISES[purpose]
    connection.execute(
        update(table)
        .where(
            statement == bindparam("of_statement", type_=DigestColumn()),
            table.c.agency == bindparam("of_agency"),
            _DIGESTS[table] == bindparam("of_digest", type_=DigestColumn()),
            table.c.stored_index.is_(None),
            table.c.log_index < bindparam("at_index"),  # bytes promised later were not what was stored
        )
        .values(stored_index=bindparam("at_index"), stored_at=bindparam("at_time", type_=TimeColumn())),
        stored,
    )


def _describe_clips(connection: Connection, manifests: set[Digest]) -> None:
    """A clip takes its media facts from the first statement that has some, made by the station that read it."""
    clips, media = tables.clips, tables.media
    pairs = (
        select(clips.c.started_at, clips.c.started_source, clips.c.recorder, clips.c.recorder_source)
        .add_columns(clips.c.log_index, *(column.label(f"media_{column.name}") for column in media.c))
        .join_from(clips, media, clips.c.manifest == media.c.manifest)
        .where(
            clips.c.agency == media.c.agency,
            clips.c.station == media.c.station,
            clips.c.digest == media.c.original,
            clips.c.media_index.is_(None),
        )
        .order_by(media.c.log_index.desc())
    )
    for chunk in _chunks(sorted(manifests)):
        found = connection.execute(pairs.where(media.c.manifest.in_(chunk))).mappings()
        described = {row["log_index"]: _description(row) for row in found}  # the first statement is set last
        if described:
            connection.execute(_DESCRIBE, list(described.values()))


_DESCRIBE: Final = (
    update(tables.clips)
    .where(tables.clips.c.log_index == bindparam("clip_index"))
    .values(
        {
            name: bindparam(f"new_{name}", type_=tables.clips.c[name].type)
            for name in (
                "media_index",
                "media_type",
                "duration_ms",
                "started_at",
                "started_source",
                "recorder",
                "recorder_source",
            )
        }
    )
)


def _description(row: RowMapping) -> Row:
    start = best_start([_start(row, ""), _start(row, "media_")])
    source = "" if row["recorder"] is not None else "media_"
    return {
        "clip_index": row["log_index"],
        "new_media_index": row["media_log_index"],
        "new_media_type": row["media_media_type"],
        "new_duration_ms": row["media_duration_ms"],
        "new_started_at": None if start is None else start.value,
        "new_started_source": None if start is None else start.source,
        "new_recorder": row[f"{source}recorder"],
        "new_recorder_source": row[f"{source}recorder_source"],
    }


def _start(row: RowMapping, prefix: str) -> TimeClaim | None:
    source: str | None = row[f"{prefix}started_source"]
    return None if source is None else TimeClaim(row[f"{prefix}started_at"], source)
