"""Stored listings become rows and are compared with the listing before them, one by one, apart from the log's commits.

Listings are taken in the order in which the log says that they are stored, each whole before the next. What is
compared with what then depends on the log alone, however its entries were cut into batches. Rows are written in
short transactions, so that a listing of a million rows keeps no statement from being committed; after a crash the
listing under way is continued.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from collector.catalogue import tables
from collector.catalogue.conservation_tables import absences, numberings, release_items, returns
from collector.catalogue.unreconciled import mark
from collector.core.conservation import ListedFile, Numbering, gone, is_evidence
from collector.database.engine import insert_new, reading, writing
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.listing import ListingRow, RowState

ListingReader = Callable[[str, Digest], Iterable[ListingRow]]
"""The rows of a stored listing, by agency and digest. ProtocolError from it means that the bytes are no listing:
the inventory is marked and the next one is taken. Any other error leaves it for later."""

_CHUNK_ROWS: Final = 2_000
"""Rows of one transaction: some 20 ms."""

_PAGE_ROWS: Final = 5_000
_REMEMBERED_ABSENCES: Final = 10_000
"""Missing files of a recorder that are looked for in its later listings: the first so many."""

Row = dict[str, object]
_T = TypeVar("_T")
_inventories: Final = tables.inventories
_rows: Final = tables.listing_rows
_UNLISTED: Final = (
    select(_inventories)
    .where(
        _inventories.c.stored_index.is_not(None),
        _inventories.c.listed_rows.is_(None),
        _inventories.c.listing_problem.is_(None),
    )
    .order_by(_inventories.c.stored_index)
    .limit(1)
)


class ListingStep:
    """Takes the next listing, if there is one. One caller at a time."""

    def __init__(self, engine: Engine, read_listing: ListingReader) -> None:
        self._engine = engine
        self._read_listing = read_listing

    def take_next(self, pause: Callable[[], None]) -> bool:
        """Whether there was a listing; it is then done. ``pause`` is called between transactions. Raises
        DatabaseError and what the reader raises, ProtocolError excepted."""
        with reading(self._engine) as connection:
            inventory = connection.execute(_UNLISTED).mappings().one_or_none()
        if inventory is None:
            return False
        try:
            numbering = Numbering()
            count = self._insert(inventory, numbering, pause)
        except ProtocolError as error:
            self._clear(inventory, pause)
            self._finish(inventory, {"listing_problem": error.code}, None, pause)
        else:
            self._finish(inventory, {"listed_rows": count}, numbering, pause)
        return True

    def _insert(self, inventory: RowMapping, numbering: Numbering, pause: Callable[[], None]) -> int:
        count = 0
        for chunk in _chunks(self._read_listing(inventory["agency"], inventory["listing"]), _CHUNK_ROWS):
            rows = []
            for number, row in enumerate(chunk, count):
                if is_evidence(row.state):
                    numbering.add(number, row.path, row.modified_at)
                rows.append(_listing_row(inventory["log_index"], number, row))
            with writing(self._engine) as connection:
                insert_new(connection, _rows, rows)  # those of a run that was cut short are there
            count += len(chunk)
            pause()
        return count

    def _clear(self, inventory: RowMapping, pause: Callable[[], None]) -> None:
        """Rows given out before the first thing wrong are no rows."""
        own = _rows.c.inventory_index == inventory["log_index"]
        while True:
            with writing(self._engine) as connection:
                last = connection.execute(select(func.max(_rows.c.row_no)).where(own)).scalar_one()
                if last is None:
                    return
                connection.execute(delete(_rows).where(own, _rows.c.row_no > last - _CHUNK_ROWS))
            pause()

    def _finish(
        self, inventory: RowMapping, result: Row, numbering: Numbering | None, pause: Callable[[], None]
    ) -> None:
        earlier = None
        if numbering is not None:
            with reading(self._engine) as connection:
                earlier = _earlier(connection, inventory)
            if earlier is not None:
                self._compare(earlier, inventory, pause)
            self._find_returned(inventory, pause)
        with writing(self._engine) as connection:
            if numbering is not None:
                insert_new(connection, numberings, list(_numbered(inventory["log_index"], numbering)))
                _note_released_again(connection, inventory)
            connection.execute(
                update(_inventories)
                .where(_inventories.c.log_index == inventory["log_index"])
                .values(**result, earlier_index=None if earlier is None else earlier["log_index"])
            )
            abouts = [inventory["statement"]] + ([] if earlier is None else [earlier["statement"]])
            mark(connection, [(inventory["agency"], about) for about in abouts])

    def _compare(self, earlier: RowMapping, later: RowMapping, pause: Callable[[], None]) -> None:
        missing = gone(self._files(earlier["log_index"]), self._files(later["log_index"]))
        for chunk in _chunks(missing, _CHUNK_ROWS):
            with writing(self._engine) as connection:
                insert_new(connection, absences, list(_absent(connection, earlier, later, chunk)))
            pause()

    def _find_returned(self, inventory: RowMapping, pause: Callable[[], None]) -> None:
        """Files missing from earlier listings of this volume that this one has."""
        with reading(self._engine) as connection:
            missing = _missing(connection, inventory)
        if not missing:
            return
        found = (
            absence
            for file in self._files(inventory["log_index"])
            for absence in missing.get(file.raw_path, ())
            if file.size_bytes >= absence.size_bytes
        )
        for chunk in _chunks(found, _CHUNK_ROWS):
            with writing(self._engine) as connection:
                _close_absences(connection, chunk, inventory["stored_index"])
                mark(connection, {(inventory["agency"], absence.about) for absence in chunk})
            pause()

    def _files(self, inventory_index: int) -> Iterator[ListedFile]:
        """Rows in order, page by page, so that no transaction stays open over a million of them."""
        after = -1
        while True:
            with reading(self._engine) as connection:
                page = connection.execute(
                    select(_rows)
                    .where(_rows.c.inventory_index == inventory_index, _rows.c.row_no > after)
                    .order_by(_rows.c.row_no)
                    .limit(_PAGE_ROWS)
                ).all()
            if not page:
                return
            for row in page:
                yield ListedFile(
                    row=row.row_no,
                    raw_path=row.path.encode() if row.raw_path is None else row.raw_path,
                    path=row.path,
                    size_bytes=row.size_bytes,
                    is_evidence=is_evidence(RowState(row.state)),
                )
            after = page[-1].row_no


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absence:
    inventory_index: int
    row: int
    size_bytes: int
    about: Digest


def _listing_row(inventory_index: int, number: int, row: ListingRow) -> Row:
    return {
        "inventory_index": inventory_index,
        "row_no": number,
        "state": row.state.value,
        "path": row.path,
        "size_bytes": row.size_bytes,
        "rule": row.rule,
        "manifest": row.manifest,
        "raw_path": None if row.path.encode() == row.raw_path else row.raw_path,
    }


def same_volume(inventory: RowMapping) -> ColumnElement[bool]:
    """Inventories of the same recorder's same volume, by what recorder and file system say of themselves. A recorder
    without a number can only be known again while it stays."""
    columns = _inventories.c
    same_stay = and_(columns.visit == inventory["visit"], columns.station == inventory["station"])
    same = and_(columns.agency == inventory["agency"], columns.log_index != inventory["log_index"])
    if inventory["recorder"] is None:
        return and_(same, same_stay)
    by_number = and_(
        columns.recorder == inventory["recorder"],
        columns.total_bytes.is_not_distinct_from(inventory["total_bytes"]),
    )
    return and_(same, or_(same_stay, by_number))


def _earlier(connection: Connection, inventory: RowMapping) -> RowMapping | None:
    """The listing to compare with: the one before it in the visit, else the newest of an earlier stay by the stations'
    clocks. One that was made earlier and arrives later is compared, but nothing is compared with it twice."""
    columns = _inventories.c
    listed_before = (
        select(_inventories)
        .where(same_volume(inventory), columns.listed_rows.is_not(None))
        .where(columns.stored_index < inventory["stored_index"])
    )
    same_visit = and_(columns.visit == inventory["visit"], columns.station == inventory["station"])
    in_visit = listed_before.where(same_visit, columns.sequence < inventory["sequence"])
    before = listed_before.where(~same_visit, columns.issued_at <= inventory["issued_at"])
    for query in (
        in_visit.order_by(columns.sequence.desc(), columns.log_index.desc()),
        before.order_by(columns.issued_at.desc(), columns.sequence.desc(), columns.log_index.desc()),
    ):
        found = connection.execute(query.limit(1)).mappings().one_or_none()
        if found is not None:
            return found
    return None


def _absent(
    connection: Connection, earlier: RowMapping, later: RowMapping, files: Iterable[ListedFile]
) -> Iterator[Row]:
    by_row = {file.row: file for file in files}
    known = connection.execute(
        select(_rows.c.row_no, _rows.c.manifest).where(
            _rows.c.inventory_index == earlier["log_index"], _rows.c.row_no.in_(by_row)
        )
    )
    for row_no, manifest in known:
        yield {
            "inventory_index": later["log_index"],
            "row_no": row_no,
            "earlier_index": earlier["log_index"],
            "path": by_row[row_no].path,
            "size_bytes": by_row[row_no].size_bytes,
            "manifest": manifest,
        }


def _missing(connection: Connection, inventory: RowMapping) -> dict[bytes, list[_Absence]]:
    """By raw path, from all earlier listings of the volume."""
    query = (
        select(absences, _inventories.c.statement, _rows.c.raw_path)
        .join_from(absences, _inventories, absences.c.inventory_index == _inventories.c.log_index)
        .join(
            _rows,
            and_(_rows.c.inventory_index == absences.c.earlier_index, _rows.c.row_no == absences.c.row_no),
        )
        .where(same_volume(inventory), absences.c.returned_index.is_(None))
        .where(_inventories.c.stored_index < inventory["stored_index"])
        .order_by(absences.c.inventory_index, absences.c.row_no)
        .limit(_REMEMBERED_ABSENCES)
    )
    found: dict[bytes, list[_Absence]] = {}
    for row in connection.execute(query):
        raw_path = row.path.encode() if row.raw_path is None else row.raw_path
        found.setdefault(raw_path, []).append(
            _Absence(
                inventory_index=row.inventory_index,
                row=row.row_no,
                size_bytes=row.size_bytes,
                about=row.statement,
            )
        )
    return found


def _close_absences(connection: Connection, chunk: Iterable[_Absence], index: int) -> None:
    connection.execute(
        update(absences)
        .where(
            absences.c.inventory_index == bindparam("of_inventory"), absences.c.row_no == bindparam("of_row")
        )
        .values(returned_index=index),
        [{"of_inventory": absence.inventory_index, "of_row": absence.row} for absence in chunk],
    )


def _numbered(inventory_index: int, numbering: Numbering) -> Iterator[Row]:
    for folder in numbering.folders():
        yield {
            "inventory_index": inventory_index,
            "folder": folder.folder,
            "highest": folder.highest,
            "ranges": json.dumps(folder.ranges, separators=(",", ":")),
            "set_back_row": folder.set_back_row,
        }


def _note_released_again(connection: Connection, inventory: RowMapping) -> None:
    """Known files in this listing that had been released before it was made."""
    known = (
        select(_rows.c.inventory_index, _rows.c.row_no, _rows.c.path, _rows.c.manifest)
        .where(
            _rows.c.inventory_index == inventory["log_index"],
            _rows.c.manifest.is_not(None),
            exists().where(
                release_items.c.manifest == _rows.c.manifest,
                release_items.c.released_index < inventory["log_index"],
            ),
        )
        .order_by(_rows.c.row_no)
    )
    rows = [dict(row) for row in connection.execute(known).mappings()]
    insert_new(connection, returns, rows)


def _chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk
