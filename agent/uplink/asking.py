"""Receipts that no broker has brought are asked for, many at a time, until each delivery has its own.

What to ask comes from the journal, so nothing is lost with the process; in memory is only when each may be asked for
again. A question without any receipt in its answer makes the next one wait; one with some brings the next at once,
because the collector is at work on the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.core.retry import Report, decide_retry
from agent.core.uplink import decide_pending
from agent.doorbells import Doorbell, Doorbells
from agent.errors import AgentError
from agent.spool.journal import Journal
from agent.spool.records import Delivery
from agent.uplink.admissions import AdmissionDesk
from agent.uplink.answers import MAX_ASKED, STATEMENT_UNKNOWN, ReceiptAnswer
from agent.uplink.batch import Batcher, Transition
from agent.uplink.errors import UplinkError
from agent.uplink.patience import failure_of, rang
from agent.uplink.receipts import Outcome, ReceiptDesk
from agent.uplink.statements import StatementCollector
from agent.uplink.tus import TusClient
from agent.uplink.workers import Circumstances
from protocol.digest import Digest
from protocol.errors import ForkError, ProtocolError

LOST_UPLOAD: Final = "upload-lost"

WINDOW: Final = 4 * MAX_ASKED
"""Deliveries that are asked for in turn: small in memory, and looked up in the journal once for each receipt."""

PERIOD_S: Final = 30.0
"""Look at the journal at least so often, bell or not."""

LEAST_PERIOD_S: Final = 0.1
"""Between two rounds: what comes together is asked for together."""

_log = logging.getLogger(__name__)


class ReceiptSource(StatementCollector, Protocol):
    """What the loop needs of the collector."""

    async def fetch_receipts(self, statements: Sequence[Digest]) -> ReceiptAnswer: ...


@dataclass(slots=True)
class _Awaited:
    """A delivery whose receipt is missing, how often it was asked for in vain, and when it may be again."""

    delivery: Delivery
    due_s: float
    polls: int = 0


class Asking:
    """One per station. ``run`` ends only by being cancelled."""

    def __init__(
        self,
        *,
        journal: Journal,
        transitions: Batcher[Transition],
        collector: ReceiptSource,
        tus: TusClient,
        receipts: ReceiptDesk,
        admissions: AdmissionDesk,
        bells: Doorbells,
        uploaded: Doorbell,
        shared: Circumstances,
        pushed: Callable[[], bool],
    ) -> None:
        """``pushed`` says whether receipts come by the broker now, so that asking can wait."""
        self._journal = journal
        self._transitions = transitions
        self._collector = collector
        self._tus = tus
        self._receipts = receipts
        self._admissions = admissions
        self._bells = bells
        self._uploaded = uploaded
        self._shared = shared
        self._pushed = pushed
        self._awaited: dict[Digest, _Awaited] = {}
        self._looked_at_s = float("-inf")

    def forget(self, statements: Sequence[Digest]) -> None:
        """They are receipted."""
        for statement in statements:
            self._awaited.pop(statement, None)

    def retry_all(self) -> None:
        """Everything may be asked for at once again."""
        for awaited in self._awaited.values():
            awaited.due_s = 0.0
        self._shared.gate.hurry()
        self._uploaded.ring()

    async def run(self) -> None:
        """Raises JournalError, and what nobody foresaw."""
        while True:
            wait_s = PERIOD_S if self._shared.halted() else self._shared.gate.wait_s() or await self._round()
            if await rang(self._uploaded, max(wait_s, LEAST_PERIOD_S)):
                self._shared.gate.hurry()
                await asyncio.sleep(LEAST_PERIOD_S)

    async def _round(self) -> float:
        """One question, if any is due; seconds until the next."""
        now_s = time.monotonic()
        if len(self._awaited) < WINDOW // 2 or now_s - self._looked_at_s >= PERIOD_S:
            await self._look()
        due = [awaited for awaited in self._awaited.values() if awaited.due_s <= now_s][:MAX_ASKED]
        if due:
            await self._ask(due)
        left_s = [awaited.due_s - time.monotonic() for awaited in self._awaited.values()]
        return max(0.0, min(left_s, default=PERIOD_S))

    async def _look(self) -> None:
        rows = await asyncio.to_thread(self._journal.sent_deliveries, WINDOW)
        self._looked_at_s = time.monotonic()
        first_s = self._looked_at_s + self._pace(1, len(rows))[0]
        known = self._awaited
        self._awaited = {
            row.statement: known.get(row.statement, _Awaited(delivery=row, due_s=first_s)) for row in rows
        }

    def _pace(self, polls: int, waiting: int) -> tuple[float, bool]:
        plan = decide_pending(
            polls=polls,
            unit=self._shared.random(),
            backoff=self._shared.backoff,
            pushed=self._pushed(),
            waiting=waiting,
        )
        return plan.delay_s, plan.check_staging

    async def _ask(self, due: Sequence[_Awaited]) -> None:
        try:
            settled = await self._settle([awaited.delivery.statement for awaited in due])
        except ForkError:
            return  # the watch has raised the alarm and halts this loop
        except UplinkError as error:
            self._note_failure(due, error)
            return
        self._shared.gate.note_answer()
        await self._note_pending(
            [awaited for awaited in due if awaited.delivery.statement not in settled], bool(settled)
        )

    async def _note_pending(self, pending: Sequence[_Awaited], some_came: bool) -> None:
        to_check: list[Delivery] = []
        for awaited in pending:
            awaited.polls = 1 if some_came else awaited.polls + 1
            delay_s, check_staging = self._pace(awaited.polls, len(self._awaited))
            awaited.due_s = max(awaited.due_s, time.monotonic() + delay_s)
            if check_staging:
                to_check.append(awaited.delivery)
        if some_came:
            soon_s = time.monotonic() + self._pace(1, len(self._awaited))[0]
            for awaited in self._awaited.values():
                awaited.due_s = min(awaited.due_s, soon_s)
        if to_check:
            await self._check_uploads(to_check)

    def _note_failure(self, due: Sequence[_Awaited], error: UplinkError) -> None:
        failure, shared = failure_of(error), self._shared
        _log.info("receipts-not-answered", extra={"code": failure.code, "detail": failure.detail})
        if failure.everywhere:
            shared.gate.note_failure(failure)
            return
        for awaited in due:
            awaited.polls += 1
            verdict = decide_retry(
                failure, attempt=awaited.polls, unit=shared.random(), backoff=shared.backoff
            )
            awaited.due_s = time.monotonic() + verdict.delay_s
            if isinstance(verdict, Report):
                shared.state.report(failure.code, failure.detail, awaited.delivery.statement)

    async def has_receipt(self, statement: Digest) -> bool:
        """Fetch, verify and keep the receipt if there is one. Raises UplinkError when the collector does not answer as
        it should; ForkError."""
        return statement in await self._settle([statement])

    async def _settle(self, statements: Sequence[Digest]) -> set[Digest]:
        """Those of the statements that need no more asking. Raises as ``has_receipt``, and JournalError."""
        answer = await self._collector.fetch_receipts(statements)
        for statement in set(statements) & set(answer.unknown):
            await self._announce_again(statement)
        outcomes = await self._receipts.accept_all(list(answer.receipts.values()))
        by_statement = dict(zip(answer.receipts, outcomes, strict=True))
        self._report_bad(by_statement, alone=len(statements) == 1)
        return {statement for statement, outcome in by_statement.items() if isinstance(outcome, bool)}

    def _report_bad(self, outcomes: Mapping[Digest, Outcome], *, alone: bool) -> None:
        """One bad receipt must not hold up its neighbours; a log in contradiction stops everything."""
        for statement, outcome in outcomes.items():
            if isinstance(outcome, ForkError):
                raise outcome
            if isinstance(outcome, AgentError | ProtocolError):
                if alone and isinstance(outcome, AgentError):
                    raise outcome
                self._shared.state.report(outcome.code, str(outcome), statement)

    async def _announce_again(self, statement: Digest) -> None:
        """The collector admitted it, signed, and no longer knows it. It gets it again, and people are told."""
        envelope = await asyncio.to_thread(self._journal.statement, statement)
        if envelope is not None:
            self._shared.state.report(
                STATEMENT_UNKNOWN, "the collector forgot a statement it had admitted", statement
            )
            await self._admissions.accept(await self._collector.post_statements([envelope]))

    async def _check_uploads(self, deliveries: Sequence[Delivery]) -> None:
        """Deliver again what the collector threw away. The members of a bundle share its address."""
        exists: dict[str, bool] = {}
        for delivery in deliveries:
            url = delivery.upload_url
            if url is not None and url not in exists:
                exists[url] = await self._tus.exists(url)
        gone = [item for item in deliveries if item.upload_url is not None and not exists[item.upload_url]]
        if gone:
            await self._deliver_again(gone)

    async def _deliver_again(self, gone: Sequence[Delivery]) -> None:
        """Unless they were stored in the very moment between the two questions."""
        settled = await self._settle([delivery.statement for delivery in gone])
        lost = [delivery.statement for delivery in gone if delivery.statement not in settled]
        for statement in lost:
            self._shared.state.report(
                LOST_UPLOAD, "the collector no longer has the uploaded bytes", statement
            )
        await self._transitions.put(lambda: self._note_lost(lost))
        self.forget(lost)
        self._bells.deliveries.ring()

    def _note_lost(self, statements: Sequence[Digest]) -> None:
        for statement in statements:
            self._journal.note_upload_lost(statement)
