"""The collector's signed answers to statements: the only thing that closes an outbox row."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agent.doorbells import Doorbell
from agent.spool.journal import Journal
from agent.uplink.errors import AdmissionInvalidError
from agent.uplink.state import Clock, UplinkState
from protocol.admission import Admission, AdmissionResult, open_admission
from protocol.digest import Digest
from protocol.errors import ProtocolError

_log = logging.getLogger(__name__)

_UNKNOWN = "statement-not-ours"


class AdmissionDesk:
    """Takes admissions from whichever way they come; the same one twice changes nothing."""

    def __init__(
        self,
        *,
        journal: Journal,
        station: str,
        collector_key: bytes,
        state: UplinkState,
        now: Clock,
    ) -> None:
        self._journal = journal
        self._station = station
        self._collector_key = collector_key
        self._state = state
        self._now = now
        self.on_answered: Callable[[], None] = lambda: None
        """Called, on the event loop, after the journal changed."""
        self.newest_checkpoint: bytes | None = None
        """Of the last admission; a station is a witness, so its owner has it checked when ``checkpoint_bell`` rings."""
        self.checkpoint_bell = Doorbell()

    async def accept(self, data: bytes) -> None:
        """Verify one admission and journal what it says; when this returns it is durable.

        Raises AdmissionInvalidError, JournalError.
        """
        admission = await asyncio.to_thread(self._open, data)
        foreign = await asyncio.to_thread(self._settle, admission)
        for result in admission.results:
            if result.statement in foreign:
                self._state.report(
                    _UNKNOWN, "an admission for a statement this station never made", result.statement
                )
            elif _is_final_refusal(result):
                self._state.report(
                    str(result.code), f"refused by the collector: {result.detail}", result.statement
                )
        if admission.checkpoint is not None:
            self.newest_checkpoint = admission.checkpoint
            self.checkpoint_bell.ring()
        self.on_answered()

    def _open(self, data: bytes) -> Admission:
        try:
            admission = open_admission(data, self._collector_key)
        except ProtocolError as error:
            raise AdmissionInvalidError(f"not an admission ({error.code}): {error}") from error
        if admission.station != self._station:
            raise AdmissionInvalidError(f"an admission for {admission.station}, not for {self._station}")
        return admission

    def _settle(self, admission: Admission) -> set[Digest]:
        """In a thread, all in one transaction; the statements that are not ours."""
        now = self._now()
        admitted = {item.statement: item.index for item in admission.results if item.index is not None}
        with self._journal.transaction():
            self._journal.settle_admitted(admitted, now)
            for result in filter(_is_final_refusal, admission.results):
                self._journal.settle_refused(result.statement, str(result.code), result.detail, now)
            named = [result.statement for result in admission.results]
            return set(named) - self._journal.known_statements(named)


def _is_final_refusal(result: AdmissionResult) -> bool:
    """Others stay in the outbox and are offered again at their own pace."""
    return result.outcome == "refused" and not result.retryable
