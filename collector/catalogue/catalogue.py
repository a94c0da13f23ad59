"""The catalogue as one object: fed by the log alone, asked by everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from sqlalchemy import Connection, Engine, select, update

from collector.catalogue import tables
from collector.catalogue.accounting import AccountingQueries
from collector.catalogue.clips import ClipQueries
from collector.catalogue.damage import DamageQueries
from collector.catalogue.errors import CatalogueGapError
from collector.catalogue.execution import execute
from collector.catalogue.explanations import ExplanationQueries
from collector.catalogue.findings import FindingQueries
from collector.catalogue.listings import ListingReader, ListingStep
from collector.catalogue.projector import LoggedStatement, plan_changes
from collector.catalogue.promises import PromiseQueries
from collector.catalogue.reader import MAX_PAGE
from collector.catalogue.reconciling import Reconciler
from collector.catalogue.trail import TrailQueries
from collector.catalogue.unreconciled import About
from collector.database.engine import insert_new, open_engine, sqlite_url, writing
from collector.database.migrating import upgrade

MIGRATIONS: Final = "collector.catalogue:migrations"


def _go_on() -> None:
    """No pause."""


class Catalogue(
    PromiseQueries,
    ClipQueries,
    AccountingQueries,
    TrailQueries,
    FindingQueries,
    ExplanationQueries,
    DamageQueries,
):
    """The catalogue (目录): a projection of the log. It may be deleted at any time; ``apply`` of the whole log to an
    empty one, and then ``catch_up``, gives the same content. Methods block; use them from worker threads.

    ``apply`` stays cheap because it leaves work behind: listings to be read, findings to be computed. ``read_listing``
    and ``reconcile`` do it piece by piece, ``catch_up`` all of it; one thread at a time does either.
    """

    def __init__(self, engine: Engine, *, read_listing: ListingReader) -> None:
        super().__init__(engine)
        self._listings = ListingStep(engine, read_listing)
        self._reconciler = Reconciler(engine)

    @classmethod
    def open(cls, where: Path | str, *, read_listing: ListingReader) -> Self:
        """Open a SQLite file or a database URL and bring its schema up to date. Raises DatabaseNewerError,
        DatabaseError."""
        engine = open_engine(sqlite_url(where) if isinstance(where, Path) else where)
        try:
            upgrade(engine, MIGRATIONS)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, read_listing=read_listing)

    @classmethod
    def look_into(cls, path: Path, *, read_listing: ListingReader) -> Self:
        """The catalogue in a SQLite file as it is, perhaps in use: asked, never written. Raises DatabaseError."""
        return cls(open_engine(sqlite_url(path), read_only=True), read_listing=read_listing)

    @classmethod
    def scratch(cls, path: Path, *, read_listing: ListingReader) -> Self:
        """A catalogue to be thrown away: a new file, made quickly, of which nothing survives a crash."""
        engine = open_engine(sqlite_url(path), durable=False)
        try:
            with writing(engine) as connection:
                tables.metadata.create_all(connection, checkfirst=False)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, read_listing=read_listing)

    def close(self) -> None:
        """Give up all connections."""
        self._engine.dispose()

    def projected_size(self) -> int:
        """How many entries of the log the catalogue shows."""
        with self._reading() as connection:
            return _projected_size(connection)

    def apply(self, batch: Iterable[LoggedStatement]) -> None:
        """Project statements in log order, all or none. Entries already projected are passed over.

        Raises CatalogueGapError when entries before the batch are missing, and DatabaseError.
        """
        with writing(self._engine) as connection:
            size = _projected_size(connection)
            fresh = [logged for logged in batch if logged.index >= size]
            if [logged.index for logged in fresh] != list(range(size, size + len(fresh))):
                raise CatalogueGapError(f"the batch does not continue at {size}, or is not in log order")
            if fresh:
                execute(connection, plan_changes(fresh))
                _move_to(connection, size + len(fresh))

    def read_listing(self, pause: Callable[[], None] = _go_on) -> bool:
        """Take up the next stored listing, whole; False when there is none. ``pause`` is called between its short
        transactions. Raises DatabaseError and what the reader of listings raises, ProtocolError excepted."""
        return self._listings.take_next(pause)

    def marked(self, limit: int = MAX_PAGE) -> Mapping[About, int]:
        """Inventories and objects whose findings are out of date, and how often each was marked."""
        return self._reconciler.marked(limit)

    def reconcile(self, about: About) -> None:
        """Compute the findings of one of them anew. Raises DatabaseError."""
        self._reconciler.reconcile(about)

    def catch_up(self) -> None:
        """Read all listings, reconcile everything. Raises as these do."""
        while self.read_listing():
            pass
        while marked := self.marked():
            for about in marked:
                self.reconcile(about)


def _projected_size(connection: Connection) -> int:
    return connection.execute(select(tables.projection.c.projected_size)).scalar_one_or_none() or 0


def _move_to(connection: Connection, size: int) -> None:
    insert_new(connection, tables.projection, [{"id": 1, "projected_size": size}])
    connection.execute(update(tables.projection).values(projected_size=size))
