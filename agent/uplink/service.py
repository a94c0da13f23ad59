"""The uplink as one service: its loops in one task group, each named, each ending only with the others.

No network trouble ends a loop. What does end one (a journal that cannot be written) ends the service, loudly.
Started again, it goes on from the journal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Final

from agent.broker.port import Broker
from agent.core.retry import Backoff
from agent.doorbells import Doorbell, Doorbells
from agent.errors import AgentError
from agent.spool.journal import Journal
from agent.uplink.admissions import AdmissionDesk
from agent.uplink.asking import Asking
from agent.uplink.batch import transitions
from agent.uplink.collector_http import CollectorClient
from agent.uplink.early import EarlyUploads
from agent.uplink.inbox import CommandHandler, Inbox
from agent.uplink.log_watch import LogWatch
from agent.uplink.patience import Gate, Random
from agent.uplink.receipts import ReceiptDesk
from agent.uplink.state import Clock, UplinkState
from agent.uplink.statements import StatementLoop
from agent.uplink.tus import TusClient
from agent.uplink.uploading import Uploading
from agent.uplink.workers import Circumstances, Workers
from protocol.digest import Digest
from protocol.errors import ForkError, ProtocolError
from protocol.note import VerifierKey
from protocol.receipt_parts import OwnStatements

_BROKER_LOOK_S: Final = 1.0
"""How often a connected broker is looked at, to notice the next reconnection."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSettings:
    """Who the station is to its collector, and how much it does at once."""

    station: str
    log_key: VerifierKey
    collector_key: bytes
    """The key admissions are signed with."""
    evidence: Path
    """Folder for contradictions of the log."""
    made: OwnStatements | None = None
    """What the station's signer has made."""
    upload_slots: int = 4
    backoff: Backoff = Backoff()  # noqa: RUF009 - frozen


class Uplink:
    """Statements out, bytes up, receipts back. ``early`` and ``state`` are for the visits and the status."""

    def __init__(
        self,
        settings: UplinkSettings,
        *,
        journal: Journal,
        collector: CollectorClient,
        broker: Broker | None,
        bells: Doorbells,
        now: Clock,
        random: Random | None = None,
        commands: CommandHandler | None = None,
    ) -> None:
        """``collector`` must be open, and ``broker`` started, while ``run`` runs; their owners end them after it."""
        self._settings = settings
        self._journal = journal
        self._collector = collector
        self._broker = broker
        self._bells = bells
        self._now = now
        self._random = random or SystemRandom().random
        self._uploaded = Doorbell()
        self._transitions = transitions(journal)
        self._tus = TusClient(collector)
        self.state = UplinkState(now)
        self.watch = self._make_watch()
        self._receipts = ReceiptDesk(
            journal=journal, watch=self.watch, log_key=settings.log_key, now=now, made=settings.made
        )
        self._admissions = self._make_admissions()
        self._statements = self._make_statements()
        self._inbox = None if broker is None else self._make_inbox(broker, commands)
        gate = Gate(self.state, self._random, settings.backoff)
        self.early = EarlyUploads(tus=self._tus, gate=gate, backoff=settings.backoff, random=self._random)
        self._make_workers(gate)

    def _make_watch(self) -> LogWatch:
        watch = LogWatch(
            journal=self._journal,
            proofs=self._collector,
            log_key=self._settings.log_key,
            evidence=self._settings.evidence,
            state=self.state,
            now=self._now,
        )
        watch.on_halt = self._look_up
        return watch

    def _make_admissions(self) -> AdmissionDesk:
        admissions = AdmissionDesk(
            journal=self._journal,
            station=self._settings.station,
            collector_key=self._settings.collector_key,
            state=self.state,
            now=self._now,
        )
        admissions.on_answered = partial(
            _ring,
            (self._bells.statements, self._bells.deliveries, self._bells.receipts, self._uploaded),
        )
        return admissions

    def _make_statements(self) -> StatementLoop:
        return StatementLoop(
            journal=self._journal,
            broker=self._broker,
            collector=self._collector,
            admissions=self._admissions,
            station=self._settings.station,
            bell=self._bells.statements,
            gate=Gate(self.state, self._random, self._settings.backoff),
            state=self.state,
            now=self._now,
        )

    def _make_inbox(self, broker: Broker, commands: CommandHandler | None) -> Inbox:
        return Inbox(
            broker=broker,
            station=self._settings.station,
            admissions=self._admissions,
            receipts=self._receipts,
            state=self.state,
            commands=commands,
        )

    def _make_workers(self, gate: Gate) -> None:
        shared = Circumstances(
            gate=gate,
            backoff=self._settings.backoff,
            state=self.state,
            random=self._random,
            halted=lambda: self.watch.halted,
        )
        self._asking = self._make_asking(shared)
        uploading = Uploading(
            journal=self._journal,
            transitions=self._transitions,
            tus=self._tus,
            early=self.early,
            receipts=self._asking,
            uploaded=self._uploaded,
            state=self.state,
            now=self._now,
        )
        self._uploads = Workers(
            name="upload",
            slots=self._settings.upload_slots,
            bell=self._bells.deliveries,
            fetch=uploading.fetch,
            act=uploading.act,
            shared=shared,
        )
        self._receipts.on_settled = self._forget

    def _make_asking(self, shared: Circumstances) -> Asking:
        return Asking(
            journal=self._journal,
            transitions=self._transitions,
            collector=self._collector,
            tus=self._tus,
            receipts=self._receipts,
            admissions=self._admissions,
            bells=self._bells,
            uploaded=self._uploaded,
            shared=shared,
            pushed=lambda: self._broker is not None and self._broker.connected,
        )

    @property
    def is_sending(self) -> bool:
        """Whether bytes are on their way to the collector now."""
        return self.early.active > 0 or bool(self.state.transfers)

    async def run(self) -> None:
        """Until cancelled. What was put into the journal's queues is written before this returns."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._statements.run(), name="statements")
                tasks.create_task(self._uploads.run(), name="uploads")
                tasks.create_task(self._asking.run(), name="receipts")
                tasks.create_task(self.early.run(), name="early uploads")
                tasks.create_task(self._witness(), name="witness")
                if self._inbox is not None and self._broker is not None:
                    tasks.create_task(self._inbox.run(), name="inbox")
                    tasks.create_task(self._notice_reconnections(self._broker), name="broker watch")
        finally:
            await self._transitions.close()
            await self._receipts.close()

    def _forget(self, statements: Sequence[Digest]) -> None:
        for statement in statements:
            self._uploads.forget(str(statement))
        self._asking.forget(statements)
        self._bells.receipts.ring()

    def _remember_newest(self) -> None:
        note = self.watch.newest_note()
        if note is not None:
            self._journal.note_checkpoint(note)

    def _look_up(self) -> None:
        self._uploads.retry_all()
        self._asking.retry_all()

    async def _notice_reconnections(self, broker: Broker) -> None:
        """The broker lives with the collector: when it is back, everything is worth another try."""
        while True:
            await broker.wait_connected()
            self._statements.hurry()
            self._look_up()
            while broker.connected:  # noqa: ASYNC110 - the port tells only of connections
                await asyncio.sleep(_BROKER_LOOK_S)

    async def _witness(self) -> None:
        """Check the checkpoints that admissions carry; those that come faster than proofs are skipped, since the
        next one proves the more."""
        admissions = self._admissions
        while True:
            await admissions.checkpoint_bell.wait(60.0)
            note, admissions.newest_checkpoint = admissions.newest_checkpoint, None
            if note is None:
                continue
            try:
                if await self.watch.check(note):
                    await self._transitions.put(self._remember_newest)
            except ForkError as error:
                _log.error("checkpoint-refused", extra={"code": error.code})
            except (AgentError, ProtocolError) as error:
                _log.info("checkpoint-not-proven", extra={"code": error.code, "detail": str(error)})


def _ring(bells: Sequence[Doorbell]) -> None:
    for bell in bells:
        bell.ring()
