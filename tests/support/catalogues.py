"""Catalogues in temporary files, and their whole content for comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import select

from collector.catalogue import Catalogue, ListingReader, LoggedStatement
from collector.catalogue.tables import metadata
from collector.database.engine import open_engine, reading, sqlite_url
from tests.support.statements import Listings, Log

_numbers = count()


@contextmanager
def catalogue_in(folder: Path, read_listing: ListingReader | None = None) -> Iterator[Catalogue]:
    """A new empty catalogue in a file of its own."""
    catalogue = Catalogue.open(
        folder / f"catalogue-{next(_numbers)}.sqlite", read_listing=read_listing or Listings()
    )
    try:
        yield catalogue
    finally:
        catalogue.close()


def apply_all(catalogue: Catalogue, log: Log | Iterable[LoggedStatement]) -> None:
    """Whatever the catalogue does not show yet, in one batch, and all that follows from it."""
    catalogue.apply(log.entries if isinstance(log, Log) else log)
    catalogue.catch_up()


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, in the order of the keys."""
    engine = open_engine(sqlite_url(path))
    try:
        with reading(engine) as connection:
            return {
                table.name: [
                    tuple(row)
                    for row in connection.execute(select(table).order_by(*table.primary_key.columns))
                ]
                for table in metadata.sorted_tables
            }
    finally:
        engine.dispose()
