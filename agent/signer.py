"""The station's signer: its enrolled key and the agencies it may speak for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.claims import Claim
from protocol.dsse import Envelope
from protocol.ed25519 import public_from_seed
from protocol.statements import Statement, sign_statement

MADE_STATEMENTS: Final = 2048
"""Kept in memory, some 8 MB: receipts come within seconds, and one for an older statement only takes longer."""


class MadeStatements:
    """The last statements this process signed, as ``protocol.receipt_parts`` asks for them. Any thread."""

    def __init__(self, seed: bytes, limit: int = MADE_STATEMENTS) -> None:
        self.public_key = public_from_seed(seed)
        self._limit = limit
        self._lock = threading.Lock()
        self._made: dict[Envelope, Statement] = {}

    def add(self, envelope: Envelope, statement: Statement) -> None:
        """The envelope was made from the statement with the key just now."""
        with self._lock:
            self._made[envelope] = statement
            if len(self._made) > self._limit:
                del self._made[next(iter(self._made))]

    def find(self, envelope: Envelope) -> Statement | None:
        """What this very envelope was made from."""
        return self._made.get(envelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSigner:
    """Signs with the station's Ed25519 key. ``holders`` tells which agency holds a recorder, by recorder number;
    every other recorder belongs to the first of ``agencies``."""

    station: str
    agencies: tuple[str, ...]
    seed: bytes = field(repr=False)
    holders: Mapping[str, str] = field(default_factory=dict)
    made: MadeStatements | None = field(default=None, repr=False)
    """Remembers what was signed, for receipts that bring it back."""

    def sign(self, statement: Statement) -> Envelope:
        envelope = sign_statement(statement, self.seed)
        if self.made is not None:
            self.made.add(envelope, statement)
        return envelope

    def agency_for(self, recorder: Claim | None) -> str | None:
        """The agency that holds this recorder; None when this station may not speak for that agency."""
        held_by = self.agencies[0] if recorder is None else self.holders.get(recorder.value, self.agencies[0])
        return held_by if held_by in self.agencies else None
