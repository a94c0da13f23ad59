"""What has to be looked at again: inventories and objects whose findings may have changed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects import postgresql, sqlite

from collector.catalogue.conservation_tables import unreconciled
from protocol.digest import Digest

About = tuple[str, Digest]
"""An agency, and the statement id of an inventory or the digest of an object."""


def mark(connection: Connection, abouts: Iterable[About]) -> None:
    """Each is looked at again, once, however often it is marked before that."""
    wanted = sorted(set(abouts), key=str)
    if wanted:
        marks: list[dict[str, object]] = [
            {"agency": agency, "subject": subject, "marks": 1} for agency, subject in wanted
        ]
        connection.execute(_marking(connection.dialect.name), marks)


@cache
def _marking(dialect: str) -> Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(unreconciled).on_conflict_do_update(
        index_elements=["agency", "subject"],
        set_={"marks": unreconciled.c.marks + 1},
    )
