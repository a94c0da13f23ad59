"""The station's signer: its enrolled key and the agencies it may speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.claims import Claim
from protocol.dsse import Envelope
from protocol.statements import Statement, sign_statement


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSigner:
    """Signs with the station's Ed25519 key. ``holders`` tells which agency holds a recorder, by recorder number;
    every other recorder belongs to the first of ``agencies``."""

    station: str
    agencies: tuple[str, ...]
    seed: bytes = field(repr=False)
    holders: Mapping[str, str] = field(default_factory=dict)

    def sign(self, statement: Statement) -> Envelope:
        return sign_statement(statement, self.seed)

    def agency_for(self, recorder: Claim | None) -> str | None:
        """The agency that holds this recorder; None when this station may not speak for that agency."""
        held_by = self.agencies[0] if recorder is None else self.holders.get(recorder.value, self.agencies[0])
        return held_by if held_by in self.agencies else None
