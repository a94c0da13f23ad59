"""Blobs that statements promise, whether they are stored, and the log entries that prove it.

The queries are made once: they are asked for every clip, and making one costs more than answering it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Row,
    Select,
    and_,
    bindparam,
    literal_column,
    null,
    select,
    union_all,
)

from collector.catalogue import tables
from collector.catalogue.keys import KeyQueries
from collector.objects import ObjectClass
from protocol.digest import Digest

Purpose = Literal["original", "rendition", "listing"]

_CHUNK: Final = 500
"""Values of one ``IN``."""

_Query = CompoundSelect[*tuple[object, ...]]

_entries: Final = tables.entries
_inventories: Final = tables.inventories
_clips: Final = tables.clips
_renditions: Final = tables.renditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A blob that a statement in the log promises: an inventory its listing, a manifest its original, a rendition
    statement its rendition if one was made."""

    statement: Digest
    key_id: str
    agency: str
    station: str
    purpose: Purpose
    digest: Digest
    size_bytes: int
    entry_index: int
    stored_index: int | None


class PromiseQueries(KeyQueries):
    """For storing and for receipts. Lists are in log order."""

    def promise(self, statement: Digest) -> Promise | None:
        """What the statement promises; None if it is unknown or promises no bytes."""
        with self._reading() as connection:
            row = connection.execute(_PROMISE, {"of_statement": statement}).one_or_none()
        return None if row is None else _promise(row)

    def promises_awaiting(self, agency: str, digest: Digest) -> list[Promise]:
        """Promises of these bytes to this agency that are not stored yet."""
        with self._reading() as connection:
            found = connection.execute(_AWAITING, {"of_agency": agency, "of_digest": digest})
            return sorted(map(_promise, found), key=_place)

    def promises_awaiting_all(
        self, wanted: Collection[tuple[str, Digest]]
    ) -> dict[tuple[str, Digest], list[Promise]]:
        """As ``promises_awaiting`` for many (agency, digest) at once; those without promises are left out."""
        return self._by_bytes(_AWAITING_ALL, wanted)

    def promises_kept_all(
        self, wanted: Collection[tuple[str, Digest]]
    ) -> dict[tuple[str, Digest], list[Promise]]:
        """As ``promises_awaiting_all``, for promises whose bytes were stored."""
        return self._by_bytes(_KEPT_ALL, wanted)

    def _by_bytes(
        self, query: _Query, wanted: Collection[tuple[str, Digest]]
    ) -> dict[tuple[str, Digest], list[Promise]]:
        found: dict[tuple[str, Digest], list[Promise]] = {}
        for agency in {agency for agency, _ in wanted}:
            digests = {digest for owner, digest in wanted if owner == agency}
            for promise in self._found(query, digests, of_agency=agency):
                found.setdefault((agency, promise.digest), []).append(promise)
        return {key: sorted(found[key], key=_place) for key in wanted if key in found}

    def promises(self, statements: Collection[Digest]) -> dict[Digest, Promise]:
        """What each of the statements promises; those unknown or without a promise are left out."""
        return {promise.statement: promise for promise in self._found(_PROMISE_ALL, set(statements))}

    def stored_indices(self, statements: Collection[Digest]) -> dict[Digest, int]:
        """Where it is said that the bytes each of the statements promises are stored; others are left out."""
        return {
            statement: promise.stored_index
            for statement, promise in self.promises(statements).items()
            if promise.stored_index is not None
        }

    def _found(self, query: _Query, digests: Collection[Digest], **named: str) -> Iterator[Promise]:
        rest = iter(digests)
        with self._reading() as connection:
            while chunk := list(islice(rest, _CHUNK)):
                yield from map(_promise, connection.execute(query, {"wanted": chunk, **named}))

    def all_awaiting(self, limit: int, after: int = -1) -> list[Promise]:
        """Promises not stored yet with an entry index above ``after``; the last one's index leads on."""
        return self._page(_ALL_AWAITING, limit, after)

    def all_stored(self, limit: int, after: int = -1) -> list[Promise]:
        """As ``all_awaiting``, for promises that are stored."""
        return self._page(_ALL_STORED, limit, after)

    def known_objects(self, agency: str, cls: ObjectClass, digests: Collection[Digest]) -> set[Digest]:
        """Those of the digests that some statement of the agency names as such an object."""
        query = _NAMED[cls]
        with self._reading() as connection:
            found = connection.execute(query, {"of_agency": agency, "digests": list(digests)})
            return set(found.scalars())

    def _page(self, queries: Iterable[Select[*tuple[object, ...]]], limit: int, after: int) -> list[Promise]:
        with self._reading() as connection:
            found = [
                _promise(row)
                for query in queries
                for row in connection.execute(query, {"after": after, "most": limit})
            ]
        return sorted(found, key=_place)[:limit]

    def chain(self, statement: Digest) -> tuple[int, ...] | None:
        """Log indices, ascending, of all that a receipt for this statement needs: entry 0; the enrolments of the
        keys used, and their revocations if there are any; the inventory; the manifest; the statement; its stored.

        None while one of them is not in the log, or where they do not belong together.
        """
        return self.chains([statement]).get(statement)

    def chains(self, statements: Collection[Digest]) -> dict[Digest, tuple[int, ...]]:
        """As ``chain`` for many at once; those without one are left out."""
        found: dict[Digest, set[int]] = {}
        used: dict[int, tuple[int, str, str]] = {}
        rest = iter(statements)
        with self._reading() as connection:
            while chunk := list(islice(rest, _CHUNK)):
                for statement, *links in connection.execute(_LINKS, {"wanted": chunk}):
                    if links[0] is not None:
                        found[statement] = {index for index in links if index is not None}
            left = iter(sorted(set().union(*found.values())))
            while indices := list(islice(left, _CHUNK)):
                used.update(
                    (index, (index, key, agency))
                    for index, key, agency in connection.execute(_USES, {"indices": indices})
                )
            history = self._history(connection)
        return {
            statement: tuple(sorted(indices | history.needed(used[index] for index in indices)))
            for statement, indices in found.items()
        }


def _place(promise: Promise) -> int:
    return promise.entry_index


def _promise(row: Row[*tuple[object, ...]]) -> Promise:
    return Promise(
        statement=row.statement,
        key_id=row.key_id,
        agency=row.agency,
        station=row.station,
        purpose=row.purpose,
        digest=row.digest,
        size_bytes=row.size_bytes,
        entry_index=row.entry_index,
        stored_index=row.stored_index,
    )


_SOURCES: Final = (
    ("listing", _inventories.c.statement, _inventories.c.listing, _inventories.c.listing_size_bytes),
    ("original", _clips.c.manifest, _clips.c.digest, _clips.c.size_bytes),
    ("rendition", _renditions.c.statement, _renditions.c.digest, _renditions.c.size_bytes),
)


def _promises(
    purpose: str,
    statement: ColumnElement[Digest],
    digest: ColumnElement[Digest],
    size_bytes: ColumnElement[int],
) -> Select[*tuple[object, ...]]:
    columns = statement.table.c
    return (
        select(
            statement.label("statement"),
            _entries.c.key_id,
            columns.agency,
            columns.station,
            literal_column(f"'{purpose}'").label("purpose"),
            digest.label("digest"),
            size_bytes.label("size_bytes"),
            columns.log_index.label("entry_index"),
            columns.stored_index,
        )
        .join_from(statement.table, _entries, columns.log_index == _entries.c.log_index)
        .where(digest.is_not(None))
    )


_PROMISE: Final = union_all(
    *(_promises(*source).where(source[1] == bindparam("of_statement")) for source in _SOURCES)
)
_PROMISE_ALL: Final = union_all(
    *(_promises(*source).where(source[1].in_(bindparam("wanted", expanding=True))) for source in _SOURCES)
)


def _promises_by_bytes(*, stored: bool) -> CompoundSelect[*tuple[object, ...]]:
    parts = []
    for source in _SOURCES:
        columns = source[1].table.c
        is_there = columns.stored_index.is_not(None) if stored else columns.stored_index.is_(None)
        parts.append(
            _promises(*source).where(
                columns.agency == bindparam("of_agency"),
                source[2].in_(bindparam("wanted", expanding=True)),
                is_there,
            )
        )
    return union_all(*parts)


_AWAITING_ALL: Final = _promises_by_bytes(stored=False)
_KEPT_ALL: Final = _promises_by_bytes(stored=True)
_AWAITING: Final = union_all(
    *(
        _promises(*source).where(
            source[1].table.c.agency == bindparam("of_agency"),
            source[2] == bindparam("of_digest"),
            source[1].table.c.stored_index.is_(None),
        )
        for source in _SOURCES
    )
)


def _all_promises(*, stored: bool) -> tuple[Select[*tuple[object, ...]], ...]:
    """One query for each source, because no index has them all in order."""
    queries = []
    for source in _SOURCES:
        columns = source[1].table.c
        is_wanted = columns.stored_index.is_not(None) if stored else columns.stored_index.is_(None)
        query = _promises(*source).where(is_wanted, columns.log_index > bindparam("after"))
        queries.append(query.order_by(columns.log_index).limit(bindparam("most")))
    return tuple(queries)


_ALL_AWAITING: Final = _all_promises(stored=False)
_ALL_STORED: Final = _all_promises(stored=True)

_NAMED: Final = {
    cls: select(column)
    .where(column.table.c.agency == bindparam("of_agency"), column.in_(bindparam("digests", expanding=True)))
    .distinct()
    for cls, column in (
        (ObjectClass.ORIGINALS, _clips.c.digest),
        (ObjectClass.RENDITIONS, _renditions.c.digest),
        (ObjectClass.LISTINGS, _inventories.c.listing),
        (ObjectClass.STATEMENTS, _entries.c.statement),
    )
}

_OF_MANIFEST: Final = and_(
    _inventories.c.statement == _clips.c.inventory,
    _inventories.c.agency == _clips.c.agency,
    _inventories.c.station == _clips.c.station,
    _inventories.c.visit == _clips.c.visit,
    _inventories.c.declared_rows > _clips.c.row_no,
)
_OF_RENDITION: Final = and_(
    _clips.c.manifest == _renditions.c.manifest,
    _clips.c.agency == _renditions.c.agency,
    _clips.c.digest == _renditions.c.original,
)
_WANTED: Final[BindParameter[Digest]] = bindparam("wanted", expanding=True)
_LINKS: Final = union_all(
    select(
        _inventories.c.statement,
        _inventories.c.stored_index,
        _inventories.c.log_index,
        null().label("manifest"),
        null().label("inventory"),
    ).where(_inventories.c.statement.in_(_WANTED)),
    select(
        _clips.c.manifest,
        _clips.c.stored_index,
        _clips.c.log_index,
        _inventories.c.log_index.label("inventory"),
        null(),
    )
    .join_from(_clips, _inventories, _OF_MANIFEST)
    .where(_clips.c.manifest.in_(_WANTED)),
    select(
        _renditions.c.statement,
        _renditions.c.stored_index,
        _renditions.c.log_index,
        _clips.c.log_index,
        _inventories.c.log_index,
    )
    .join_from(_renditions, _clips, _OF_RENDITION)
    .join(_inventories, _OF_MANIFEST)
    .where(_renditions.c.statement.in_(_WANTED)),
)
"""Each statement, its stored and its own entry, and those of the manifest and the inventory it builds on."""

_USES: Final = select(_entries.c.log_index, _entries.c.key_id, _entries.c.agency).where(
    _entries.c.log_index.in_(bindparam("indices", expanding=True))
)
