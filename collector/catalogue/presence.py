"""Whether a file is still on its recorder, as far as anybody said or saw (在机状态)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from collector.catalogue import tables
from collector.catalogue.conservation_tables import absences, release_intents, release_items, returns
from protocol.digest import Digest


class Presence(StrEnum):
    """``present`` is what nobody contradicts; ``released``: erased by the station's signed word; ``gone``: a later
    listing lacks it and nobody says why."""

    PRESENT = "present"
    RELEASED = "released"
    GONE = "gone"


def presence_of(connection: Connection, manifests: Sequence[Digest]) -> defaultdict[Digest, Presence]:
    """By manifest; a page of them at most."""
    found: defaultdict[Digest, Presence] = defaultdict(lambda: Presence.PRESENT)
    found |= dict.fromkeys(_gone(connection, manifests), Presence.GONE)
    found |= dict.fromkeys(_released(connection, manifests), Presence.RELEASED)
    return found


def _released(connection: Connection, manifests: Sequence[Digest]) -> list[Digest]:
    """Released, and not listed again since."""
    last = (
        select(release_items.c.manifest, func.max(release_items.c.released_index).label("released_index"))
        .where(release_items.c.manifest.in_(manifests))
        .group_by(release_items.c.manifest)
        .subquery()
    )
    back = exists().where(
        returns.c.manifest == last.c.manifest, returns.c.inventory_index > last.c.released_index
    )
    query = select(last.c.manifest).where(last.c.released_index.is_not(None), ~back)
    return list(connection.execute(query).scalars())


def _gone(connection: Connection, manifests: Sequence[Digest]) -> list[Digest]:
    clips, inventories = tables.clips, tables.inventories
    known = select(absences.c.manifest).where(
        absences.c.manifest.in_(manifests), absences.c.returned_index.is_(None)
    )
    read = (
        select(clips.c.manifest)
        .join_from(clips, inventories, inventories.c.statement == clips.c.inventory)
        .join(
            absences,
            and_(absences.c.earlier_index == inventories.c.log_index, absences.c.row_no == clips.c.row_no),
        )
        .where(clips.c.manifest.in_(manifests), absences.c.returned_index.is_(None))
    )
    return [manifest for query in (known, read) for manifest in connection.execute(query).scalars()]


def count_released(connection: Connection, inventory: Digest, agency: str) -> int:
    """Rows of the inventory that were released from it."""
    query = (
        select(func.count(release_items.c.row_no.distinct()))
        .join_from(
            release_items, release_intents, release_items.c.intent_index == release_intents.c.log_index
        )
        .where(_from(inventory, agency), release_items.c.released_index.is_not(None))
    )
    count: int = connection.execute(query).scalar_one()
    return count


def count_gone(connection: Connection, inventory_index: int, inventory: Digest, agency: str) -> int:
    """Rows of the inventory that a later listing lacks, and that were not released from it."""
    released = exists().where(
        release_intents.c.log_index == release_items.c.intent_index,
        _from(inventory, agency),
        release_items.c.row_no == absences.c.row_no,
        release_items.c.released_index.is_not(None),
    )
    query = select(func.count(absences.c.row_no.distinct())).where(
        absences.c.earlier_index == inventory_index, absences.c.returned_index.is_(None), ~released
    )
    count: int = connection.execute(query).scalar_one()
    return count


def _from(inventory: Digest, agency: str) -> ColumnElement[bool]:
    return and_(release_intents.c.inventory == inventory, release_intents.c.agency == agency)
