"""Clips for people and case systems: one by one, and in pages, newest first.

Pages are ordered by start, then by log index; clips whose start is unknown come last. A list over several
agencies is put together from one list of each, because no index serves them all.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, literal, select, tuple_

from collector.catalogue import tables
from collector.catalogue.cursor import Position
from collector.catalogue.presence import Presence, presence_of
from collector.catalogue.reader import Reader, check_limit
from collector.database.columns import LogIndex, StartColumn
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest

_clips: Final = tables.clips
_RENDITION_NAMES: Final = (tables.renditions, tables.renditions.c.rendition)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRendition:
    """A rendition of a clip, or the code why there is none."""

    rendition: str
    statement: Digest
    entry_index: int
    digest: Digest | None
    size_bytes: int | None
    media_type: str | None
    method: str | None
    problem: str | None
    stored_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One original as its manifest and its media facts describe it (片段)."""

    manifest: Digest
    entry_index: int
    agency: str
    station: str
    visit: str
    inventory: Digest
    row: int
    path: str
    digest: Digest
    size_bytes: int
    media_type: str
    recorder: Claim | None
    officer: Claim | None
    started_at: TimeClaim | None
    duration_ms: int | None
    marked: bool
    read_started_at: datetime
    read_finished_at: datetime
    stored_index: int | None
    stored_at: datetime | None
    presence: Presence
    renditions: tuple[ClipRendition, ...]

    @property
    def position(self) -> Position:
        """Where the clip stands in every list that has it."""
        start = None if self.started_at is None else self.started_at.value
        return Position(started_at=start, log_index=self.entry_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFilter:
    """Which clips. ``agencies`` None means all; ``started_from`` is inclusive, ``started_before`` exclusive, and
    with either of them a clip of unknown start is left out."""

    agencies: frozenset[str] | None
    digest: Digest | None = None
    recorder: str | None = None
    officer: str | None = None
    started_from: datetime | None = None
    started_before: datetime | None = None
    stored: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPage:
    """Clips in order; ``next_after`` leads to the next page, None at the end."""

    clips: tuple[Clip, ...]
    next_after: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBytes:
    """What is known of stored bytes: whose they are, their type, and the recorder's path for an original or the
    kind of a rendition."""

    agency: str
    media_type: str
    name: str


class ClipQueries(Reader):
    """Clips with their renditions."""

    def known_bytes(
        self, purpose: Literal["original", "rendition"], digest: Digest, agencies: frozenset[str] | None
    ) -> KnownBytes | None:
        """The first statement about stored bytes with this digest in ``agencies`` (None: all)."""
        table, name = (_clips, _clips.c.path) if purpose == "original" else _RENDITION_NAMES
        query = select(table.c.agency, table.c.media_type, name.label("name")).where(
            table.c.digest == digest, table.c.stored_index.is_not(None)
        )
        with self._reading() as connection:
            for agency in _agencies(connection, agencies):
                found = query.where(table.c.agency == agency).order_by(table.c.log_index).limit(1)
                row = connection.execute(found).one_or_none()
                if row is not None:
                    return KnownBytes(agency=row.agency, media_type=row.media_type, name=row.name)
        return None

    def clip(self, manifest: Digest, agencies: frozenset[str] | None) -> Clip | None:
        """One clip by its manifest's statement id; None also where it belongs to none of ``agencies``."""
        with self._reading() as connection:
            row = connection.execute(select(_clips).where(_clips.c.manifest == manifest)).one_or_none()
            if row is None or not (agencies is None or row.agency in agencies):
                return None
            return _with_renditions(connection, [row])[0]

    def clips(self, wanted: ClipFilter, *, limit: int, after: Position | None = None) -> ClipPage:
        """At most ``limit`` clips behind ``after``. Raises ValueError for a limit outside 1 to ``MAX_PAGE``."""
        check_limit(limit)
        with self._reading() as connection:
            pages = [
                connection.execute(clips_query(agency, wanted, limit=limit + 1, after=after)).all()
                for agency in _agencies(connection, wanted.agencies)
            ]
            rows = list(islice(heapq.merge(*pages, key=_place, reverse=True), limit + 1))
            clips = _with_renditions(connection, rows[:limit])
        return ClipPage(clips=tuple(clips), next_after=clips[-1].position if len(rows) > limit else None)


def clips_query(
    agency: str, wanted: ClipFilter, *, limit: int, after: Position | None
) -> Select[*tuple[object, ...]]:
    """The rows of one agency, in order; served by an index whatever ``wanted`` fixes."""
    query = select(_clips).where(_clips.c.agency == agency)
    for column, value in (
        (_clips.c.digest, wanted.digest),
        (_clips.c.recorder, wanted.recorder),
        (_clips.c.officer, wanted.officer),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.started_from is not None:
        query = query.where(_clips.c.started_at >= wanted.started_from)
    if wanted.started_before is not None:
        query = query.where(_clips.c.started_at < wanted.started_before)
        if wanted.started_from is None:
            query = query.where(_clips.c.started_at > _start(None))
    if wanted.stored is not None:
        is_stored = _clips.c.stored_index.is_not(None)
        query = query.where(is_stored if wanted.stored else _clips.c.stored_index.is_(None))
    if after is not None:
        place = tuple_(_start(after.started_at), literal(after.log_index, LogIndex))
        query = query.where(tuple_(_clips.c.started_at, _clips.c.log_index) < place)
    return query.order_by(_clips.c.started_at.desc(), _clips.c.log_index.desc()).limit(limit)


def _start(moment: datetime | None) -> ColumnElement[datetime]:
    return literal(moment, StartColumn())


def _agencies(connection: Connection, wanted: frozenset[str] | None) -> Sequence[str]:
    if wanted is not None:
        return sorted(wanted)
    return connection.execute(select(tables.agencies.c.name)).scalars().all()


def _place(row: Row[*tuple[object, ...]]) -> tuple[bool, datetime, int]:
    """As the database orders: an unknown start before every known one."""
    start: datetime | None = row.started_at
    return (start is not None, start or _NO_TIME, row.log_index)


_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


def _with_renditions(connection: Connection, rows: Iterable[Row[*tuple[object, ...]]]) -> list[Clip]:
    found = list(rows)
    manifests = [row.manifest for row in found]
    renditions, presence = _renditions(connection, manifests), presence_of(connection, manifests)
    return [
        _clip(row, renditions[row.manifest, row.agency, row.station], presence[row.manifest]) for row in found
    ]


_Owner = tuple[Digest, str, str]


def _renditions(
    connection: Connection, manifests: Sequence[Digest]
) -> defaultdict[_Owner, dict[str, ClipRendition]]:
    """By manifest, agency and station, then by kind: one that was made beats a problem, a later one an earlier. A
    station speaks only of clips it read itself."""
    renditions = tables.renditions
    query = (
        select(renditions)
        .where(renditions.c.manifest.in_(manifests))
        .order_by(renditions.c.digest.is_not(None), renditions.c.log_index)
    )
    found: defaultdict[_Owner, dict[str, ClipRendition]] = defaultdict(dict)
    for row in connection.execute(query):
        found[row.manifest, row.agency, row.station][row.rendition] = _rendition(row)
    return found


def _rendition(row: Row[*tuple[object, ...]]) -> ClipRendition:
    return ClipRendition(
        rendition=row.rendition,
        statement=row.statement,
        entry_index=row.log_index,
        digest=row.digest,
        size_bytes=row.size_bytes,
        media_type=row.media_type,
        method=row.method,
        problem=row.problem,
        stored_index=row.stored_index,
    )


def _clip(row: Row[*tuple[object, ...]], renditions: dict[str, ClipRendition], presence: Presence) -> Clip:
    return Clip(
        manifest=row.manifest,
        entry_index=row.log_index,
        agency=row.agency,
        station=row.station,
        visit=row.visit,
        inventory=row.inventory,
        row=row.row_no,
        path=row.path,
        digest=row.digest,
        size_bytes=row.size_bytes,
        media_type=row.media_type,
        recorder=_claim(row.recorder, row.recorder_source),
        officer=_claim(row.officer, row.officer_source),
        started_at=None if row.started_source is None else TimeClaim(row.started_at, row.started_source),
        duration_ms=row.duration_ms,
        marked=row.marked,
        read_started_at=row.read_started_at,
        read_finished_at=row.read_finished_at,
        stored_index=row.stored_index,
        stored_at=row.stored_at,
        presence=presence,
        renditions=tuple(renditions[kind] for kind in sorted(renditions)),
    )


def _claim(value: str | None, source: str | None) -> Claim | None:
    return None if value is None or source is None else Claim(value, source)
