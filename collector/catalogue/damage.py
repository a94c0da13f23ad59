"""Which objects the log says to be damaged, and which objects it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, func, select

from collector.catalogue import tables
from collector.catalogue.evidence_of_objects import DAMAGED, REPAIRED
from collector.catalogue.reader import Reader
from collector.objects import CLASS_OF, ObjectClass, Place

_custody: Final = tables.custody
_STORED: Final = {
    ObjectClass.ORIGINALS: (tables.clips.c.agency, tables.clips.c.digest, tables.clips.c.stored_index),
    ObjectClass.RENDITIONS: (
        tables.renditions.c.agency,
        tables.renditions.c.digest,
        tables.renditions.c.stored_index,
    ),
    ObjectClass.LISTINGS: (
        tables.inventories.c.agency,
        tables.inventories.c.listing,
        tables.inventories.c.stored_index,
    ),
}
_OWN_INDEX: Final = {
    "original": tables.clips.c.log_index,
    "rendition": tables.renditions.c.log_index,
    "listing": tables.inventories.c.log_index,
}


class DamageQueries(Reader):
    """For the scrub and for whoever mends."""

    def damaged_objects(self, places: Sequence[Place]) -> set[Place]:
        """Those of the objects that were found damaged and not whole since."""
        owned = and_(
            _custody.c.agency.in_({agency for agency, _, _ in places}),
            _custody.c.item.in_({digest for _, _, digest in places}),
        )
        return self._damaged(owned) & set(places)

    def all_damaged_objects(self, limit: int) -> list[Place]:
        """All that are damaged, the first ``limit`` of them."""
        return sorted(self._damaged(None))[:limit]

    def _damaged(self, condition: ColumnElement[bool] | None) -> set[Place]:
        newest = select(func.max(_custody.c.log_index)).where(_custody.c.event.in_([DAMAGED, REPAIRED]))
        if condition is not None:
            newest = newest.where(condition)
        newest = newest.group_by(_custody.c.agency, _custody.c.item, _custody.c.item_name)
        query = select(_custody.c.agency, _custody.c.item_name, _custody.c.item).where(
            _custody.c.log_index.in_(newest), _custody.c.event == DAMAGED
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        names = frozenset(ObjectClass)
        return {(agency, ObjectClass(name), item) for agency, name, item in rows if name in names}

    def objects_of_entry(self, index: int) -> list[Place]:
        """The objects that should be there by the entry at ``index``: its payload, and what it promises once that is
        stored."""
        entries = tables.entries
        query = select(entries.c.agency, entries.c.statement).where(entries.c.log_index == index)
        with self._reading() as connection:
            found: list[Place] = [
                (agency, ObjectClass.STATEMENTS, statement) for agency, statement in connection.execute(query)
            ]
            for purpose, own_index in _OWN_INDEX.items():
                owner, name, stored_index = _STORED[CLASS_OF[purpose]]
                promised = select(owner, name).where(and_(own_index == index, stored_index.is_not(None)))
                found += [
                    (agency, CLASS_OF[purpose], digest) for agency, digest in connection.execute(promised)
                ]
        return found
