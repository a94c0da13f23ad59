"""Rescue (抢救): a dead station's spool is delivered from another machine, by HTTP alone.

Statements go as the dead station signed them; bytes, receipts and the watch over the log are those of the ordinary
uplink, over a copy of the journal. Whose certificate opens the way makes no difference to what is delivered: the
dead station's own, or that of another station of the same agencies. A rescue may be broken off and repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.clock import utc_now
from agent.config import AgentConfig
from agent.doorbells import Doorbells
from agent.keys.enrolment import Enrolment
from agent.keys.errors import KeyStoreError
from agent.keys.store import FileKeyStore
from agent.lease import StationLease
from agent.rescue_again import send_again
from agent.rescue_spool import RescueError, RescueSpool, check_dead, copy_journal
from agent.spool.journal import Journal
from agent.spool.records import Delivery
from agent.uplink.collector_http import CollectorClient
from agent.uplink.service import Uplink, UplinkSettings
from protocol.digest import Digest

_LOOK_S: Final = 0.2
_MANY: Final = 1_000_000
"""Rows of a spool: more than any disk of a station holds."""

PATIENCE_S: Final = 120.0
"""Without any progress for so long, a rescue gives up and says where it stands; it can be repeated."""

Report = Callable[[str, int, int | None], None]
"""Step, done, total; called often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """Where everything in the spool stands. ``open`` could not be delivered; ``lost`` have no bytes on the disk;
    ``refused`` are statements the collector refused. ``unjournalled`` are files no statement promises, and
    ``unfinished`` reads that were not over: both are for a person. ``findings`` say why."""

    station: str
    receipted_before: int
    receipted_now: int
    open: tuple[Delivery, ...]
    lost: tuple[Delivery, ...]
    statements_open: int
    statements_refused: int
    unjournalled: tuple[Path, ...]
    unfinished: tuple[Path, ...]
    unrendered: int
    findings: tuple[str, ...]
    sent_again: tuple[Digest, ...] = ()
    """Objects the collector had lost and has got again."""

    @property
    def is_complete(self) -> bool:
        """Everything the dead station signed is with the collector, receipted."""
        return not (self.open or self.lost or self.statements_open or self.statements_refused)


async def rescue(
    dead: AgentConfig,
    work: Path,
    *,
    identity: Path | None = None,
    report: Report,
    patience_s: float = PATIENCE_S,
    again: Collection[Digest] = (),
) -> Rescued:
    """Deliver what the station in ``dead`` owes, as far as it can be.

    ``identity`` is the data directory of another enrolled station, for when the dead one's keys are lost or its
    certificate is not accepted. ``again`` are objects that the collector has lost: whichever of them are here are
    sent once more, although they were receipted. Raises RescueError, AlreadyRunningError, KeyStoreError, JournalError.
    """
    check_dead(dead.data_dir)
    keys, enrolment = _identity_of(identity or dead.data_dir)
    own = _own_enrolment(dead, is_needed=identity is None)
    if own is not None and own.log_key != enrolment.log_key:
        raise RescueError(
            f"the dead station delivered to the log {own.log_key.name}, the other one to {enrolment.log_key.name}: "
            "take a station of the same collector"
        )
    lease = StationLease(work)
    try:
        spool = RescueSpool(dead.spool_dir, work / "spool")
        journal = Journal(await asyncio.to_thread(copy_journal, dead.data_dir, work), spool)
        try:
            _check_agencies(journal, enrolment)
            mission = _Mission(spool, journal, report, patience_s)
            tls = keys.client_context(minimum_version=ssl.TLSVersion.TLSv1_2)
            async with CollectorClient(enrolment.url, tls=tls) as collector:
                await mission.run(_uplink(enrolment, journal, collector, work))
                sent_again = await send_again(collector, journal, again)
            outcome = await asyncio.to_thread(mission.outcome, (own or enrolment).station)
            return replace(outcome, sent_again=sent_again)
        finally:
            # a task that was cancelled leaves its thread at work in the journal
            await asyncio.get_running_loop().shutdown_default_executor()
            journal.close()
    finally:
        lease.release()


def _identity_of(data_dir: Path) -> tuple[FileKeyStore, Enrolment]:
    keys = FileKeyStore(AgentConfig.load(data_dir).keys_dir)
    enrolment = keys.load_enrolment()
    if enrolment is None:
        raise RescueError(
            f"there are no keys of an enrolled station in {data_dir}: give --identity, the data directory of "
            "another station of the same agency"
        )
    return keys, enrolment


def _own_enrolment(dead: AgentConfig, *, is_needed: bool) -> Enrolment | None:
    """What the dead station's directory says of itself; with another identity it may be lost or unreadable."""
    try:
        return FileKeyStore(dead.keys_dir).load_enrolment()
    except KeyStoreError:
        if is_needed:
            raise
        return None


def _check_agencies(journal: Journal, enrolment: Enrolment) -> None:
    wanted = {row["agency"] for row in journal.all("SELECT DISTINCT agency FROM statements")}
    if foreign := wanted - set(enrolment.agencies):
        raise RescueError(
            f"{enrolment.station} does not speak for {', '.join(sorted(foreign))}: take a station that does"
        )


def _uplink(enrolment: Enrolment, journal: Journal, collector: CollectorClient, work: Path) -> Uplink:
    settings = UplinkSettings(
        station=enrolment.station,
        log_key=enrolment.log_key,
        collector_key=enrolment.collector_public_key,
        evidence=work / "contradictions",
    )
    return Uplink(settings, journal=journal, collector=collector, broker=None, bells=Doorbells(), now=utc_now)


class _Mission:
    """One run of the uplink until nothing is left that waiting would bring."""

    def __init__(self, spool: RescueSpool, journal: Journal, report: Report, patience_s: float) -> None:
        self._spool = spool
        self._journal = journal
        self._report = report
        self._patience_s = patience_s
        self._findings: list[str] = []
        self._before = self._receipted()
        self._lost = {row.statement for row in journal.open_deliveries(_MANY) if not _is_whole(row)}
        self._hopeless = set(self._lost)

    async def run(self, uplink: Uplink) -> None:
        """Until everything is receipted, or nothing has moved for the time of patience."""
        service = asyncio.create_task(uplink.run(), name="rescue uplink")
        try:
            await self._watch(uplink, service)
        finally:
            self._note(uplink)
            service.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await service

    async def _watch(self, uplink: Uplink, service: asyncio.Task[None]) -> None:
        clock = asyncio.get_running_loop().time
        last, moved_at = None, clock()
        while not service.done() and not uplink.watch.halted:
            self._note(uplink)
            left, standing = await asyncio.to_thread(self._stand)
            if left == 0:
                return
            moving = (standing, sum(one.sent_bytes for one in uplink.state.transfers.values()))
            if moving != last:
                last, moved_at = moving, clock()
            elif clock() - moved_at > self._patience_s:
                self._findings.append(f"nothing moved for {self._patience_s:.0f} s")
                return
            await asyncio.sleep(_LOOK_S)

    def _stand(self) -> tuple[int, tuple[int, int]]:
        """How much may still come, and figures that change when something does."""
        backlog, done = self._journal.backlog(), self._receipted()
        given_up = sum(map(self._is_open, self._hopeless))
        deliveries = backlog.deliveries_open
        self._report("已回执 receipts", done, done + deliveries)
        left = max(0, deliveries + backlog.statements_unsettled - given_up)
        return left, (done, backlog.statements_unsettled)

    def _is_open(self, statement: Digest) -> int:
        """In how many of the two counts of the backlog this statement stands."""
        row = self._journal.one(_STANDING, (str(statement),))
        return 0 if row is None else int(row["unsettled"]) + int(row["undelivered"])

    def _note(self, uplink: Uplink) -> None:
        """A finding about a statement means that waiting does not help it."""
        for finding in uplink.state.findings:
            about = f" ({finding.statement})" if finding.statement else ""
            self._say(f"{finding.code}: {finding.detail}{about}")
            if finding.statement is not None and finding.code not in _PASSING:
                self._hopeless.add(finding.statement)
        if uplink.state.collector_failure is not None:
            self._say(f"{uplink.state.collector_failure.code}: {uplink.state.collector_failure.detail}")

    def _say(self, line: str) -> None:
        if line not in self._findings:
            self._findings.append(line)

    def _receipted(self) -> int:
        row = self._journal.one("SELECT count(*) AS n FROM deliveries WHERE receipted_at IS NOT NULL")
        assert row is not None, "a count always has a row"
        return int(row["n"])

    def outcome(self, station: str) -> Rescued:
        """What was reached, and what lies in the spool besides."""
        still_open, backlog = self._journal.open_deliveries(_MANY), self._journal.backlog()
        return Rescued(
            station=station,
            receipted_before=self._before,
            receipted_now=self._receipted() - self._before,
            open=tuple(row for row in still_open if row.statement not in self._lost),
            lost=tuple(row for row in still_open if row.statement in self._lost),
            statements_open=backlog.statements_unsettled,
            statements_refused=backlog.statements_refused,
            unjournalled=tuple(self._unjournalled()),
            unfinished=tuple(self._spool.unfinished_reads()),
            unrendered=backlog.media_jobs_open,
            findings=tuple(self._findings),
        )

    def _unjournalled(self) -> Iterator[Path]:
        known = {
            (row["purpose"], row["digest"]) for row in self._journal.all("SELECT purpose, digest FROM blobs")
        }
        for purpose, digest in self._spool.blobs():
            if (purpose.value, str(digest)) not in known:
                yield self._spool.path(purpose, digest)


_PASSING: Final = frozenset({"upload-lost", "statement-unknown"})
"""Findings about a statement that the uplink is mending."""

_STANDING: Final = """
SELECT s.outcome IS NULL AS unsettled,
       d.statement IS NOT NULL AND d.receipted_at IS NULL AND s.outcome IS NOT 'refused' AS undelivered
FROM statements s LEFT JOIN deliveries d USING (statement)
WHERE s.statement = ?
"""


def _is_whole(row: Delivery) -> bool:
    try:
        return row.path.stat().st_size == row.size_bytes
    except OSError:
        return False
