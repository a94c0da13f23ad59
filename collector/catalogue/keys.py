"""Keys and statements already in the log, for admission."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sqlalchemy import Connection, Engine, Row, bindparam, func, null, select, union_all

from collector.catalogue import tables
from collector.catalogue.key_history import KeyEvent, KeyHistory
from collector.catalogue.reader import Reader
from protocol.digest import Digest
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRecord

_entries: Final = tables.entries
_enrolments: Final = tables.enrolments
_revocations: Final = tables.revocations

_CHUNK: Final = 500
"""Statements looked up at once."""

_NEWEST: Final = select(
    select(func.max(_enrolments.c.log_index)).scalar_subquery(),
    select(func.max(_revocations.c.log_index)).scalar_subquery(),
)
_EVENTS: Final = union_all(
    select(
        _enrolments.c.log_index,
        _entries.c.key_id.label("signer"),
        _enrolments.c.key_id,
        _enrolments.c.agency,
        _enrolments.c.role,
        _enrolments.c.name,
        _enrolments.c.public_key,
    ).join_from(_enrolments, _entries, _enrolments.c.log_index == _entries.c.log_index),
    select(
        _revocations.c.log_index,
        _entries.c.key_id.label("signer"),
        _revocations.c.key_id,
        _revocations.c.agency,
        null().label("role"),
        null().label("name"),
        null().label("public_key"),
    ).join_from(_revocations, _entries, _revocations.c.log_index == _entries.c.log_index),
)
_PLACES: Final = (
    select(_entries.c.key_id, _entries.c.statement, func.min(_entries.c.log_index))
    .where(_entries.c.statement.in_(bindparam("statements", expanding=True)))
    .group_by(_entries.c.key_id, _entries.c.statement)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StationKey:
    """The newest key of a station that may still speak for some agency, and those agencies."""

    name: str
    key_id: str
    public_key: bytes
    agencies: frozenset[str]


class KeyQueries(Reader):
    """What the log says about keys and about statements already in it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._known_history: tuple[object, KeyHistory] | None = None

    def key_record(self, key_id: str, agency: str) -> KeyRecord | None:
        """The key as enrolled for this agency or, failing that, as a collector's, or for another agency: a known
        key that may not speak is told apart from an unknown one."""
        records = self._fresh_history().records(key_id)
        return records.get(agency) or records.get(COLLECTOR) or next(iter(records.values()), None)

    def agencies_of(self, key_id: str) -> frozenset[str]:
        """Agencies the key may speak for now; a collector's key has only the collector itself."""
        records = self._fresh_history().records(key_id)
        return frozenset(agency for agency, record in records.items() if record.revoked_index is None)

    def station_key(self, name: str) -> StationKey | None:
        """The key with the newest enrolment that is not revoked; None where the station has none."""
        return _newest_key(self._fresh_history(), name)

    def station_with(self, key_id: str) -> StationKey | None:
        """The station whose newest key this is; None for a key that is unknown, revoked, replaced, or a collector's."""
        history = self._fresh_history()
        names = {record.name for record in history.records(key_id).values() if record.role == "station"}
        found = (_newest_key(history, name) for name in sorted(names))
        return next((key for key in found if key is not None and key.key_id == key_id), None)

    def station_keys(self) -> list[StationKey]:
        """The newest key of every station that has one."""
        history = self._fresh_history()
        found = (_newest_key(history, name) for name in history.names() if name != COLLECTOR)
        return [key for key in found if key is not None]

    def entry_index(self, key_id: str, statement: Digest) -> int | None:
        """Where this signer's statement stands in the log; the first place if it were there twice."""
        return self.entry_indices([(key_id, statement)]).get((key_id, statement))

    def entry_indices(self, wanted: Collection[tuple[str, Digest]]) -> dict[tuple[str, Digest], int]:
        """As ``entry_index`` for many (signer, statement) at once; those not in the log are left out."""
        found: dict[tuple[str, Digest], int] = {}
        rest = iter(wanted)
        with self._reading() as connection:
            while chunk := {statement for _, statement in islice(rest, _CHUNK)}:
                for key_id, statement, index in connection.execute(_PLACES, {"statements": list(chunk)}):
                    found[key_id, statement] = index
        return {place: found[place] for place in wanted if place in found}

    def _fresh_history(self) -> KeyHistory:
        with self._reading() as connection:
            return self._history(connection)

    def _history(self, connection: Connection) -> KeyHistory:
        """The keys as this connection sees them. They are read again only after one was enrolled or revoked, by
        whichever process."""
        version = tuple(connection.execute(_NEWEST).one())
        known = self._known_history
        if known is None or known[0] != version:
            events = sorted(map(_event, connection.execute(_EVENTS)), key=lambda event: event.index)
            known = self._known_history = (version, KeyHistory(events))
        return known[1]


def _newest_key(history: KeyHistory, name: str) -> StationKey | None:
    records = history.valid_records(name)
    if not records:
        return None
    newest = records[-1]
    agencies = (record.agency for record in records if record.key_id == newest.key_id)
    return StationKey(
        name=name, key_id=newest.key_id, public_key=newest.public_key, agencies=frozenset(agencies)
    )


def _event(row: Row[*tuple[object, ...]]) -> KeyEvent:
    return KeyEvent(
        index=row.log_index,
        signer=row.signer,
        key_id=row.key_id,
        agency=row.agency,
        record=None if row.role is None else _record(row),
    )


def _record(row: Row[*tuple[object, ...]]) -> KeyRecord:
    return KeyRecord(
        key_id=row.key_id,
        public_key=row.public_key,
        role=row.role,
        name=row.name,
        agency=row.agency,
        enrolled_index=row.log_index,
    )
