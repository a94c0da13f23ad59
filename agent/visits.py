"""Visits: from the docks' events to bays at work, each in its own named task; one bad recorder stops no other.

Recorder volumes come and go; what a bay does about it is decided per bay and in order. Several recorders are read at
once, bounded by a setting. When the agent stops, reads stop at the next block and go on after the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from agent.core.bay import BayEvent, BayState, BayStatus
from agent.errors import AgentError
from agent.offload.inventory import close_visit
from agent.offload.settings import Threads, VisitTools
from agent.offload.tile import Tile
from agent.offload.turns import Turns
from agent.offload.visit import Visit
from agent.ports import (
    BayBusy,
    BayTroubled,
    Dock,
    DockEvent,
    VolumeAppeared,
    VolumeChanged,
    VolumeVanished,
)
from agent.spool.errors import JournalError, SpoolError
from agent.volumes.errors import VolumeVanishedError
from firmware_profiles.errors import ProfileError
from protocol.errors import ProtocolError

_LOG: Final = logging.getLogger(__name__)

_RETRY_S: Final = 60.0
"""Between visits that the station itself could not go on with: its disk may have been seen to. The recorder is still
there, and nobody would put it in again."""

_LOOK_PAUSE_S: Final = 0.2
"""Between two looks for receipts: they come in swarms, and a look counts every file of a visit."""


_WAITING: Final = frozenset(
    {BayState.DELIVERING, BayState.DONE, BayState.UNREADABLE, BayState.RELEASABLE, BayState.RELEASED}
)
"""Bays at which an answer of the collector can change something."""

_READING: Final = frozenset({BayState.IDENTIFYING, BayState.INVENTORY, BayState.OFFLOADING})


class Visits:
    """Owns all bays of a station."""

    def __init__(self, docks: Sequence[Dock], tools: VisitTools) -> None:
        self._docks = docks
        self._tools = tools
        self._bays: dict[tuple[str, str], _Bay] = {}

    async def run(self) -> None:
        """Until cancelled, or a dock fails. Call once."""
        await asyncio.to_thread(self._discard_leftovers)
        threads = Threads(self._tools.settings.parallel_reads)
        turns = Turns(self._tools.settings.parallel_reads)
        try:
            async with asyncio.TaskGroup() as tasks:
                for dock in self._docks:
                    tasks.create_task(self._follow(dock, tasks, threads, turns), name=f"dock {dock.name}")
                tasks.create_task(self._watch_receipts(), name="bays' receipts")
        finally:
            await asyncio.to_thread(threads.close)

    def _discard_leftovers(self) -> None:
        """Partial files the journal does not know: small files and listings that a crash left unpublished."""
        journal = self._tools.journal
        for name in set(journal.files.partials()) - journal.partial_names():
            journal.files.discard_partial(name)

    async def _follow(self, dock: Dock, tasks: asyncio.TaskGroup, threads: Threads, turns: Turns) -> None:
        async with dock.watch() as events:
            async for event in events:
                key = (dock.name, event.bay)
                if key not in self._bays:
                    bay = _Bay(Tile(dock.name, event.bay, self._tools.clock), self._tools, threads, turns)
                    self._bays[key] = bay
                    tasks.create_task(bay.run(), name=f"bay {dock.name}/{event.bay}")
                self._bays[key].events.put_nowait(event)

    async def _watch_receipts(self) -> None:
        while True:
            await self._tools.doorbells.receipts.wait(self._tools.settings.recheck_s)
            for bay in list(self._bays.values()):
                bay.look_for_receipts()
            await asyncio.sleep(_LOOK_PAUSE_S)

    @property
    def is_reading(self) -> bool:
        """Whether a recorder is being listed or read now."""
        return any(bay.is_reading for bay in self._bays.values())

    async def statuses(self) -> tuple[BayStatus, ...]:
        """One tile for each bay that has had a recorder, in order of dock and bay."""
        return tuple([await bay.status() for _, bay in sorted(self._bays.items())])


class _Bay:
    """One bay: takes its events in order and keeps at most one visit running."""

    def __init__(self, tile: Tile, tools: VisitTools, threads: Threads, turns: Turns) -> None:
        self.events: asyncio.Queue[DockEvent] = asyncio.Queue()
        self._tile = tile
        self._tools = tools
        self._threads = threads
        self._turns = turns
        self._visit: Visit | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            while True:
                await self._take(await self.events.get())
        finally:
            await self._stop_visit()

    async def _take(self, event: DockEvent) -> None:
        match event:
            case BayBusy(stage=stage):
                await self._stop_visit()
                self._tile.prepare(stage)
            case BayTroubled(code=code, detail=detail):
                await self._stop_visit()
                self._tile.trouble(code, detail)
            case VolumeAppeared():
                await self._begin(event)
            case VolumeChanged() if self._visit is not None:
                self._visit.note_changed()
            case VolumeChanged(bay=bay, volume=volume):
                await self._begin(VolumeAppeared(bay, volume))
            case VolumeVanished():
                await self._leave()

    async def _begin(self, appeared: VolumeAppeared) -> None:
        await self._stop_visit()
        name = f"visit {self._tile.dock}/{self._tile.bay}"
        self._task = asyncio.create_task(self._keep_visiting(appeared), name=name)

    async def _stop_visit(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _leave(self) -> None:
        await self._stop_visit()
        self._show_left(await asyncio.to_thread(self._close_visits))
        self._tools.doorbells.statements.ring()

    def _close_visits(self) -> int:
        """Close the visits that were open at this bay; how many of their files were not read."""
        journal, unread = self._tools.journal, 0
        for visit in journal.open_visits():
            if (visit.dock, visit.bay) == (self._tile.dock, self._tile.bay):
                unread += journal.accounting(visit.visit).unread
                close_visit(visit, self._tools)
        return unread

    def _show_left(self, unread: int) -> None:
        if self._tile.state is BayState.RELEASE_INTERRUPTED:
            return
        if self._tile.state is BayState.RELEASING:
            self._tile.step(BayEvent.LEFT_UNFINISHED, code="recorder-left", problem="while it was cleared")
        elif unread:
            self._tile.step(
                BayEvent.LEFT_UNFINISHED, code="recorder-left", problem=f"{unread} files were not yet read"
            )
        else:
            self._tile.step(BayEvent.LEFT)

    async def _keep_visiting(self, appeared: VolumeAppeared) -> None:
        """One visit; begun again after a while if the station itself was at fault."""
        while True:
            self._tile.begin()
            self._visit = Visit(
                appeared.volume,
                self._tile,
                facts=appeared.facts,
                tools=self._tools,
                threads=self._threads,
                turns=self._turns.at(appeared.hub),
            )
            try:
                await self._visit.run()
            except VolumeVanishedError as error:
                self._tile.step(BayEvent.LEFT_UNFINISHED, code=error.code, problem=str(error))
                return
            except (AgentError, ProfileError, ProtocolError) as error:
                _LOG.warning("recorder refused", extra={"bay": self._tile.bay, "code": error.code})
                self._tile.step(BayEvent.REFUSED, code=error.code, problem=str(error))
                if not (error.retryable or isinstance(error, SpoolError | JournalError)):
                    return
            except Exception as error:
                # A mistake of ours with one recorder must not take the other bays down with it.
                _LOG.exception("visit failed", extra={"bay": self._tile.bay})
                self._tile.step(BayEvent.REFUSED, code="internal-error", problem=repr(error)[:200])
                return
            finally:
                self._visit = None
            await asyncio.sleep(_RETRY_S)

    @property
    def is_reading(self) -> bool:
        return self._tile.state in _READING

    async def status(self) -> BayStatus:
        return await asyncio.to_thread(self._tile.status, self._tools.journal)

    def look_for_receipts(self) -> None:
        """Everything read may by now be receipted, and what is to be erased admitted."""
        if self._visit is not None and self._tile.state in _WAITING:
            self._visit.note_receipts()
