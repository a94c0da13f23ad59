"""Findings for people and machines: in pages, newest first, and one by one."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, ScalarSelect, Select, func, literal, select, tuple_

from collector.catalogue import tables
from collector.catalogue.conservation_tables import findings, log_clock, unreconciled
from collector.catalogue.cursor import FindingPosition
from collector.catalogue.explanations import read_words
from collector.catalogue.reader import Reader, check_limit
from collector.core.explanations import Word, standing
from collector.core.findings import ClosedBy, Severity
from collector.database.columns import DigestColumn
from protocol.canonical import canonical
from protocol.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFinding:
    """A finding as the catalogue keeps it. ``opened_at`` and ``closed_at`` are the collector's time at these places of
    the log, to the minute. ``explanation`` is the one that stands, also where evidence came first."""

    id: Digest
    code: str
    severity: Severity
    agency: str
    subject: Digest
    station: str | None
    recorder: str | None
    visit: str | None
    inventory: Digest | None
    row: int | None
    path: str | None
    files: int
    details: Mapping[str, str | int]
    opened_index: int
    opened_at: datetime | None
    closed_index: int | None
    closed_at: datetime | None
    closed_by: ClosedBy | None
    explanation: Word | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFilter:
    """Which findings. ``agencies`` None means all; times are those of opening, ``opened_from`` inclusive. No
    index leads to ``closed_by``: it is for whoever reads all that are closed."""

    agencies: frozenset[str] | None = None
    station: str | None = None
    recorder: str | None = None
    visit: str | None = None
    code: str | None = None
    is_open: bool | None = None
    closed_by: ClosedBy | None = None
    opened_from: datetime | None = None
    opened_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingState:
    """How far the findings go: up to ``projected_size`` entries, but for those about ``unreconciled``, and for what
    listings would tell that were not read yet."""

    projected_size: int
    unreconciled: frozenset[Digest]
    has_unread_listings: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingPage:
    """Findings in order; ``next_after`` leads to the next page, None at the end."""

    findings: tuple[RecordedFinding, ...]
    next_after: FindingPosition | None


class FindingQueries(Reader):
    """What the conservation of clips found."""

    def findings(
        self, wanted: FindingFilter, *, limit: int, after: FindingPosition | None = None
    ) -> FindingPage:
        """At most ``limit`` findings behind ``after``, newest first. Raises ValueError for a limit outside 1 to
        ``MAX_PAGE``."""
        check_limit(limit)
        with self._reading() as connection:
            bounds = _bounds(connection, wanted)
            pages = [
                connection.execute(_query(agency, wanted, bounds, limit=limit + 1, after=after)).all()
                for agency in _agencies(connection, wanted.agencies)
            ]
            rows = list(islice(heapq.merge(*pages, key=_place, reverse=True), limit + 1))
            found = tuple(_findings(connection, rows[:limit]))
        last = found[-1] if len(rows) > limit else None
        return FindingPage(findings=found, next_after=None if last is None else (last.opened_index, last.id))

    def finding(self, finding: Digest, agencies: frozenset[str] | None = None) -> RecordedFinding | None:
        """One finding by its id; None also where it belongs to none of ``agencies``."""
        with self._reading() as connection:
            row = connection.execute(_FINDINGS.where(findings.c.id == finding)).one_or_none()
            if row is None or not (agencies is None or row.agency in agencies):
                return None
            return next(_findings(connection, [row]))

    def open_findings(self) -> dict[str, int]:
        """How many are open, by code."""
        query = (
            select(findings.c.code, func.count())
            .where(findings.c.is_open)
            .group_by(findings.c.code)
            .order_by(findings.c.code)
        )
        with self._reading() as connection:
            return dict(connection.execute(query).all())

    def is_caught_up(self) -> bool:
        """Whether all listings were read and all findings computed."""
        with self._reading() as connection:
            marked = connection.execute(select(unreconciled.c.subject).limit(1)).one_or_none()
            return marked is None and not _has_unread_listings(connection)

    def tell_findings(self, tell: Callable[[Digest, Digest, bytes], None]) -> FindingState:
        """Every finding, by id: its id, what it is about, and all of it as bytes that are the same for the same
        finding. One snapshot."""
        columns = [column for column in findings.c if column.name != "id"]
        with self._reading() as connection:
            size = connection.execute(select(tables.projection.c.projected_size)).scalar_one_or_none()
            marked = connection.execute(select(unreconciled.c.subject)).scalars()
            state = FindingState(
                projected_size=size or 0,
                unreconciled=frozenset(marked),
                has_unread_listings=_has_unread_listings(connection),
            )
            for row in connection.execute(select(findings.c.id, *columns).order_by(findings.c.id)):
                told = [str(value) if isinstance(value, Digest) else value for value in row[1:]]
                tell(row.id, row.about, canonical(told))
        return state


def _has_unread_listings(connection: Connection) -> bool:
    inventories = tables.inventories
    query = select(inventories.c.log_index).where(
        inventories.c.stored_index.is_not(None),
        inventories.c.listed_rows.is_(None),
        inventories.c.listing_problem.is_(None),
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def _agencies(connection: Connection, wanted: frozenset[str] | None) -> Sequence[str]:
    if wanted is not None:
        return sorted(wanted)
    return connection.execute(select(tables.agencies.c.name)).scalars().all()


_Bounds = tuple[int | None, int | None]


def _bounds(connection: Connection, wanted: FindingFilter) -> _Bounds:
    """Times as places of the log: from, below. A log that ends before a time has no place for it."""

    def first_at(moment: datetime | None) -> int | None:
        if moment is None:
            return None
        query = select(log_clock.c.log_index).where(log_clock.c.at >= moment)
        found = connection.execute(query.order_by(log_clock.c.log_index).limit(1)).scalar_one_or_none()
        return _BEYOND if found is None else found

    return first_at(wanted.opened_from), first_at(wanted.opened_before)


_BEYOND: Final = 2**53


def _time_at(index: ColumnElement[int]) -> ScalarSelect[datetime]:
    """The collector's time at a place of the log; null before its first word."""
    query = select(log_clock.c.at).where(log_clock.c.log_index <= index)
    return query.order_by(log_clock.c.log_index.desc()).limit(1).scalar_subquery()


_FINDINGS: Final = select(
    findings,
    _time_at(findings.c.opened_index).label("opened_at"),
    _time_at(findings.c.closed_index).label("closed_at"),
)


def _query(
    agency: str, wanted: FindingFilter, bounds: _Bounds, *, limit: int, after: FindingPosition | None
) -> Select[*tuple[object, ...]]:
    query = _FINDINGS.where(findings.c.agency == agency)
    for column, value in (
        (findings.c.station, wanted.station),
        (findings.c.recorder, wanted.recorder),
        (findings.c.visit, wanted.visit),
        (findings.c.code, wanted.code),
        (findings.c.is_open, wanted.is_open),
        (findings.c.closed_by, wanted.closed_by),
    ):
        if value is not None:
            query = query.where(column == value)
    start, below = bounds
    if start is not None:
        query = query.where(findings.c.opened_index >= start)
    if below is not None:
        query = query.where(findings.c.opened_index < below)
    if after is not None:
        place = tuple_(literal(after[0]), literal(after[1], DigestColumn()))
        query = query.where(tuple_(findings.c.opened_index, findings.c.id) < place)
    return query.order_by(findings.c.opened_index.desc(), findings.c.id.desc()).limit(limit)


def _place(row: Row[*tuple[object, ...]]) -> tuple[int, str]:
    return row.opened_index, row.id.hex


def _findings(connection: Connection, rows: Sequence[Row[*tuple[object, ...]]]) -> Iterator[RecordedFinding]:
    """With what was said of each, asked for once an agency."""
    said: dict[Digest, list[Word]] = {}
    for agency in {row.agency for row in rows}:
        said |= read_words(connection, agency, [row.id for row in rows if row.agency == agency])
    for row in rows:
        yield _finding(row, standing(said.get(row.id, ())))


def _finding(row: Row[*tuple[object, ...]], explanation: Word | None) -> RecordedFinding:
    return RecordedFinding(
        id=row.id,
        code=row.code,
        severity=Severity(row.severity),
        agency=row.agency,
        subject=row.subject,
        station=row.station,
        recorder=row.recorder,
        visit=row.visit,
        inventory=row.inventory,
        row=row.row_no,
        path=row.path,
        files=row.files,
        details=json.loads(row.details),
        opened_index=row.opened_index,
        opened_at=row.opened_at,
        closed_index=row.closed_index,
        closed_at=row.closed_at,
        closed_by=None if row.closed_by is None else ClosedBy(row.closed_by),
        explanation=explanation,
    )
