"""Every enrolment and revocation of the log, in memory (pure): the same answers as ``protocol.keyring.KeyRing``.

A collector's log has a few per station, so all of them are held; ``keys`` keeps them fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from protocol.ids import COLLECTOR
from protocol.keyring import KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """An enrolment (``record``) or, without one, a revocation of a key for an agency. ``signer`` is the key that
    signed the statement."""

    index: int
    signer: str
    key_id: str
    agency: str
    record: KeyRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One enrolment until its revocation, and the keys that signed the two."""

    record: KeyRecord
    enrolled_by: str
    revoked_by: str | None


class KeyHistory:
    """Built once from events in log order; then only asked, by any thread."""

    def __init__(self, events: Iterable[KeyEvent]) -> None:
        self._spans: dict[str, dict[str, list[Span]]] = {}
        self._keys_of: dict[str, set[str]] = {}
        for event in events:
            self._learn(event)

    def _learn(self, event: KeyEvent) -> None:
        spans = self._spans.setdefault(event.key_id, {}).setdefault(event.agency, [])
        if event.record is not None:
            spans.append(Span(record=event.record, enrolled_by=event.signer, revoked_by=None))
            self._keys_of.setdefault(event.record.name, set()).add(event.key_id)
        elif spans and spans[-1].revoked_by is None:
            record = replace(spans[-1].record, revoked_index=event.index)
            spans[-1] = replace(spans[-1], record=record, revoked_by=event.signer)

    def records(self, key_id: str) -> Mapping[str, KeyRecord]:
        """The newest enrolment of a key by agency, with its revocation."""
        by_agency = self._spans.get(key_id, {})
        return {agency: spans[-1].record for agency, spans in by_agency.items() if spans}

    def names(self) -> list[str]:
        """Every name a key was ever enrolled under."""
        return sorted(self._keys_of)

    def valid_records(self, name: str) -> list[KeyRecord]:
        """The unrevoked records under this name, newest last."""
        newest = (
            record for key_id in self._keys_of.get(name, ()) for record in self.records(key_id).values()
        )
        valid = (record for record in newest if record.revoked_index is None and record.name == name)
        return sorted(valid, key=lambda record: record.enrolled_index)

    def needed(self, uses: Iterable[tuple[int, str, str]]) -> set[int]:
        """Indices of the key statements that show the authority of each use (index, key, agency): the enrolment
        the key had at its place, that enrolment's revocation, and what shows the authority of those, down to
        entry 0, which vouches for itself."""
        needed: set[int] = {0}
        open_uses = list(uses)
        while open_uses:
            span = self._span_before(*open_uses.pop())
            if span is None or span.record.enrolled_index in needed:
                continue
            record = span.record
            needed.add(record.enrolled_index)
            open_uses.append((record.enrolled_index, span.enrolled_by, record.agency))
            if record.revoked_index is not None and span.revoked_by is not None:
                needed.add(record.revoked_index)
                open_uses.append((record.revoked_index, span.revoked_by, record.agency))
        return needed

    def _span_before(self, index: int, key_id: str, agency: str) -> Span | None:
        by_agency = self._spans.get(key_id, {})
        for place in (agency, COLLECTOR):
            before = [span for span in by_agency.get(place, ()) if span.record.enrolled_index < index]
            if before:
                return before[-1]
        return None
