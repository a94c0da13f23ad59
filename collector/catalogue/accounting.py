"""Conservation of clips: where every file of an inventory is (清点守恒).

Counted when asked, from the listing and what the log tells of its rows; the rule for one row is in ``facts``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Column, ColumnElement, Connection, Row, ScalarSelect, and_, case, exists, func, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from collector.catalogue import tables
from collector.catalogue.facts import Evidence, FileState, settle_row
from collector.catalogue.presence import count_gone, count_released
from collector.catalogue.reader import Reader
from protocol.digest import Digest
from protocol.listing import RowState

ListingState = Literal["awaited", "listed", "unusable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Files of an inventory by state; ``listed`` is always their sum.

    ``deficit`` are rows the signed inventory declares and its listing lacks. Whether the files are still on the
    recorder is counted apart from the states: ``released`` by the station's word, ``gone`` without it, the others
    ``present`` as far as is known.
    """

    stored: int = 0
    pending: int = 0
    unreadable: int = 0
    excluded: int = 0
    deficit: int = 0
    released: int = 0
    gone: int = 0

    @property
    def listed(self) -> int:
        return self.stored + self.pending + self.unreadable + self.excluded

    @property
    def present(self) -> int:
        return self.listed - self.released - self.gone

    def __add__(self, other: Accounting) -> Accounting:
        return Accounting(
            stored=self.stored + other.stored,
            pending=self.pending + other.pending,
            unreadable=self.unreadable + other.unreadable,
            excluded=self.excluded + other.excluded,
            deficit=self.deficit + other.deficit,
            released=self.released + other.released,
            gone=self.gone + other.gone,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """How many files are excluded by this rule, or unreadable for this reason."""

    state: FileState
    code: str
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryAccount:
    """One inventory of a visit and where its files are. ``listing`` says how far its listing is known: while it is
    awaited, or if its bytes are no listing, the declared rows that left no other trace are pending."""

    statement: Digest
    entry_index: int
    agency: str
    station: str
    sequence: int
    issued_at: datetime
    dock: str
    bay: str
    profile: str
    recorder: str | None
    officer: str | None
    clock_offset_ms: int | None
    declared_rows: int
    listing: ListingState
    listing_problem: str | None
    accounting: Accounting
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitAccount:
    """All inventories of one visit in log order; a file listed in two of them counts in both."""

    visit: str
    inventories: tuple[InventoryAccount, ...]

    @property
    def accounting(self) -> Accounting:
        return sum((inventory.accounting for inventory in self.inventories), Accounting())


class AccountingQueries(Reader):
    """The accounts of visits."""

    def visit(self, visit: str, agencies: frozenset[str] | None) -> VisitAccount | None:
        """None where no inventory of this visit belongs to ``agencies`` (None: all)."""
        inventories = tables.inventories
        with self._reading() as connection:
            allowed = _all_agencies(connection) if agencies is None else sorted(agencies)
            rows = connection.execute(
                select(inventories)
                .where(inventories.c.agency.in_(allowed), inventories.c.visit == visit)
                .order_by(inventories.c.log_index)
            )
            accounts = tuple(_inventory(connection, row) for row in rows.all())
        return VisitAccount(visit=visit, inventories=accounts) if accounts else None

    def listed_files(self) -> tuple[int, int]:
        """How many inventories the listings of which were read, and how many rows they have."""
        listed = tables.inventories.c.listed_rows
        query = select(func.count(), func.coalesce(func.sum(listed), 0)).where(listed.is_not(None))
        with self._reading() as connection:
            inventories, files = connection.execute(query).one()
        return inventories, files


def _all_agencies(connection: Connection) -> list[str]:
    return list(connection.execute(select(tables.agencies.c.name)).scalars())


def _inventory(connection: Connection, row: Row[*tuple[object, ...]]) -> InventoryAccount:
    counts = _count_traces(connection, row) if row.listed_rows is None else _count_listed(connection, row)
    reasons = (
        Reason(state=state, code=code, files=files)
        for (state, code), files in sorted(counts.items())
        if code and state in (FileState.EXCLUDED, FileState.UNREADABLE)
    )
    return InventoryAccount(
        statement=row.statement,
        entry_index=row.log_index,
        agency=row.agency,
        station=row.station,
        sequence=row.sequence,
        issued_at=row.issued_at,
        dock=row.dock,
        bay=row.bay,
        profile=row.profile,
        recorder=row.recorder,
        officer=row.officer,
        clock_offset_ms=row.clock_offset_ms,
        declared_rows=row.declared_rows,
        listing=_listing_state(row),
        listing_problem=row.listing_problem,
        accounting=replace(
            _accounting(counts, row.declared_rows),
            released=count_released(connection, row.statement, row.agency),
            gone=count_gone(connection, row.log_index, row.statement, row.agency),
        ),
        reasons=tuple(reasons),
    )


def _listing_state(row: Row[*tuple[object, ...]]) -> ListingState:
    if row.listing_problem is not None:
        return "unusable"
    return "awaited" if row.listed_rows is None else "listed"


_Counts = Counter[tuple[FileState, str]]
"""Files by state and, where there is one, the rule or code that says why."""


def _accounting(counts: _Counts, declared_rows: int) -> Accounting:
    files: Counter[FileState] = Counter()
    for (state, _), count in counts.items():
        files[state] += count
    return Accounting(
        stored=files[FileState.STORED],
        pending=files[FileState.PENDING],
        unreadable=files[FileState.UNREADABLE],
        excluded=files[FileState.EXCLUDED],
        deficit=max(0, declared_rows - files.total()),
    )


def _count_listed(connection: Connection, inventory: Row[*tuple[object, ...]]) -> _Counts:
    """From the rows of the listing, grouped so that a million rows come back as a few."""
    rows, clips = tables.listing_rows, tables.clips
    read_here = _read_here(inventory, rows.c.row_no)
    read_before = and_(
        clips.c.manifest == rows.c.manifest,
        clips.c.agency == inventory.agency,
        clips.c.size_bytes == rows.c.size_bytes,  # a file of another size is not the one read before
    )
    evidence = case((rows.c.manifest.is_not(None), _evidence(read_before)), else_=_evidence(read_here)).label(
        "evidence"
    )
    mark = _mark(inventory, rows.c.row_no).label("mark")
    facts = (
        select(rows.c.state, rows.c.rule, evidence, mark)
        .where(rows.c.inventory_index == inventory.log_index)
        .subquery()
    )
    counts: _Counts = Counter()
    for group in connection.execute(select(*facts.c, func.count().label("files")).group_by(*facts.c)):
        state = settle_row(
            RowState(group.state), Evidence(group.evidence), marked_unreadable=group.mark is not None
        )
        counts[state, group.rule or group.mark or ""] += group.files
    return counts


def _count_traces(connection: Connection, inventory: Row[*tuple[object, ...]]) -> _Counts:
    """Without the listing: what was read and what was found unreadable; the rest of the declared rows waits."""
    clips, unreadable = tables.clips, tables.unreadable_rows
    declared: int = inventory.declared_rows
    here = (clips.c.inventory == inventory.statement) & _same_speaker(clips.c, inventory)
    stored: int = connection.execute(
        select(func.count(clips.c.row_no.distinct())).where(
            here, clips.c.stored_index.is_not(None), clips.c.row_no < declared
        )
    ).scalar_one()
    marked = (
        select(unreadable.c.row_no, func.min(unreadable.c.code).label("code"))
        .where(
            unreadable.c.inventory == inventory.statement,
            unreadable.c.row_no < declared,
            _same_speaker(unreadable.c, inventory),
            ~exists().where(_read_here(inventory, unreadable.c.row_no)),
        )
        .group_by(unreadable.c.row_no)
        .subquery()
    )
    counts: _Counts = Counter({(FileState.STORED, ""): stored})
    for group in connection.execute(
        select(marked.c.code, func.count().label("files")).group_by(marked.c.code)
    ):
        counts[FileState.UNREADABLE, group.code] = group.files
    counts[FileState.PENDING, ""] = declared - counts.total()
    return counts


def _evidence(read: ColumnElement[bool]) -> ColumnElement[str]:
    stored = read & tables.clips.c.stored_index.is_not(None)
    return case(
        (exists().where(stored), Evidence.STORED.value),
        (exists().where(read), Evidence.READ.value),
        else_=Evidence.NONE.value,
    )


def _read_here(inventory: Row[*tuple[object, ...]], row_no: ColumnElement[int]) -> ColumnElement[bool]:
    """A clip of this row, read by the station that made the inventory."""
    clips = tables.clips
    return and_(
        clips.c.inventory == inventory.statement,
        clips.c.row_no == row_no,
        _same_speaker(clips.c, inventory),
    )


def _mark(inventory: Row[*tuple[object, ...]], row_no: ColumnElement[int]) -> ScalarSelect[str]:
    """Why the station says that it cannot read this row; NULL where it says nothing."""
    unreadable = tables.unreadable_rows
    return (
        select(func.min(unreadable.c.code))
        .where(
            unreadable.c.inventory == inventory.statement,
            unreadable.c.row_no == row_no,
            _same_speaker(unreadable.c, inventory),
        )
        .scalar_subquery()
    )


def _same_speaker(
    columns: ReadOnlyColumnCollection[str, Column[object]], inventory: Row[*tuple[object, ...]]
) -> ColumnElement[bool]:
    return and_(columns.agency == inventory.agency, columns.station == inventory.station)
