"""The collector's own voice: statements it makes itself, signed and committed like everybody else's."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from collector.core.admission import Candidate, Refuse
from collector.sequencer import Sequencer
from protocol.errors import ProtocolError
from protocol.ids import COLLECTOR
from protocol.statements import Header, Statement


class Voice:
    """Signs with the collector's statement key."""

    def __init__(self, *, sequencer: Sequencer, seed: bytes, clock: Callable[[], datetime]) -> None:
        self._sequencer = sequencer
        self._seed = seed
        self._clock = clock

    def header(self, agency: str = COLLECTOR) -> Header:
        """A fresh header; ``COLLECTOR`` stands for what concerns no single agency."""
        return Header(agency=agency, signer=COLLECTOR, issued_at=self._clock(), nonce=secrets.token_hex(16))

    async def say(self, statement: Statement) -> int:
        """Commit; returns the log index. Raises CollectorError (retryable), or ProtocolError if refused."""
        (outcome,) = await self.say_all([statement])
        if isinstance(outcome, ProtocolError):
            raise outcome
        return outcome

    async def say_all(self, statements: Sequence[Statement]) -> list[int | ProtocolError]:
        """Commit many together; for each its log index, or why it was refused. Raises CollectorError (retryable)."""
        candidates = await asyncio.to_thread(self._sign_all, statements)
        decisions = await self._sequencer.submit_all(candidates)
        return [decision.error if isinstance(decision, Refuse) else decision.index for decision in decisions]

    def _sign_all(self, statements: Sequence[Statement]) -> list[Candidate]:
        return [Candidate.sign(statement, self._seed) for statement in statements]
