"""The station's status goes to its three outlets: a file, the console, and a retained message."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.broker.errors import BrokerError
from agent.broker.port import Broker
from agent.errors import AgentError
from agent.media_desk import MediaDesk
from agent.spool.journal import Journal
from agent.status import Snapshot, format_lines, snapshot
from agent.uplink.state import UplinkState
from agent.visits import Visits

logger = logging.getLogger(__name__)

_PUBLISH_PERIOD_S: Final = 30.0


class Reporter:
    """Takes a snapshot every ``period_s``; writes the file and shows lines when they change, publishes now and then."""

    def __init__(
        self,
        *,
        station: str,
        path: Path,
        topic: str,
        visits: Visits,
        journal: Journal,
        uplink: UplinkState,
        broker: Broker,
        desk: MediaDesk,
        clock: Callable[[], datetime],
        show: Callable[[Sequence[str]], None] | None,
        period_s: float = 1.0,
    ) -> None:
        self._station = station
        self._path = path
        self._topic = topic
        self._visits = visits
        self._journal = journal
        self._uplink = uplink
        self._broker = broker
        self._desk = desk
        self._clock = clock
        self._show = show
        self._period_s = period_s
        self._shown: list[str] = []
        self._latest: Snapshot | None = None
        self._trouble: str | None = None

    async def run(self) -> None:
        """Until cancelled. Reporting never stops the station: what goes wrong here is logged."""
        await self._report()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_reporting(), name="status file")
            tasks.create_task(self._keep_publishing(), name="status topic")

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await self._report()

    async def _report(self) -> None:
        try:
            self._latest = await self._take()
            # in a thread: a terminal or pipe that nobody reads holds up whoever writes to it
            await asyncio.to_thread(self._tell, self._latest)
        except (AgentError, OSError) as error:
            self._note_trouble(str(error))
        else:
            self._trouble = None

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("status.not_reported", extra={"detail": trouble})

    async def _keep_publishing(self) -> None:
        """Apart from the rest: a broker that does not acknowledge would hold it up for a minute."""
        while True:
            await self._broker.wait_connected()
            if self._latest is not None:
                await self._publish(self._latest)
            await asyncio.sleep(_PUBLISH_PERIOD_S)

    async def _take(self) -> Snapshot:
        working = self._desk.working
        # the backlog last: work moves from bays to backlog, so nothing is missed in between
        bays = await self._visits.statuses()
        backlog = await asyncio.to_thread(self._journal.backlog)
        return snapshot(
            station=self._station,
            at=self._clock(),
            bays=bays,
            backlog=backlog,
            uplink=self._uplink,
            broker_connected=self._broker.connected,
            working=None if working is None else f"{working.rendition} {working.share:.0%}",
            obstacle=self._desk.obstacle,
        )

    def _write(self, status: Snapshot) -> None:
        """Replaced in one step, for readers; not synced: after a power cut it would be old news anyway."""
        temporary = self._path.with_suffix(".new")
        # file names that are no text may be quoted in a problem: lone surrogates, which UTF-8 cannot say
        temporary.write_bytes(json.dumps(status, ensure_ascii=False, indent=1).encode("utf-8", "replace"))
        temporary.replace(self._path)

    def _tell(self, status: Snapshot) -> None:
        self._write(status)
        lines = format_lines(status)
        if self._show is not None and lines != self._shown:
            self._shown = lines
            self._show(lines)

    async def _publish(self, status: Snapshot) -> None:
        try:
            await self._broker.publish(self._topic, json.dumps(status).encode(), retain=True)
        except BrokerError as error:
            logger.info("status.not_published", extra={"code": error.code})
