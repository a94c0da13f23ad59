"""One visit (到站): inventory, offload, and staying until the recorder leaves or its files change."""

from __future__ import annotations

import asyncio

from agent.core.bay import BayEvent, BayState
from agent.offload.inventory import Taken, find_open_visit, profile_name, sign_off_missing, take_inventory
from agent.offload.offloader import Offloader
from agent.offload.settings import Threads, VisitTools
from agent.offload.settler import Settler
from agent.offload.stocktake import Found
from agent.offload.tile import Tile
from agent.ports import RecorderVolume


class Visit:
    """Runs until cancelled: the recorder left, or the agent stops. Everything it did is in the journal by then."""

    def __init__(
        self,
        volume: RecorderVolume,
        tile: Tile,
        *,
        tools: VisitTools,
        threads: Threads,
        turns: asyncio.Semaphore,
    ) -> None:
        self._volume = volume
        self._tile = tile
        self._tools = tools
        self._threads = threads
        self._turns = turns
        self._changed = asyncio.Event()
        self._listed_at_s = 0.0

    def note_changed(self) -> None:
        """The volume's files changed: list it again when it is worth it."""
        self._changed.set()

    async def run(self) -> None:
        """Raises VolumeError, ProfileError, OffloadError, SpoolError, JournalError."""
        offloader = self._offloader()
        taken = await self._list(await self._threads.call(None, find_open_visit, self._volume, self._tools))
        while True:
            if await offloader.read_rows(taken.inventory, taken.subject, self._wants_relisting):
                await self._pause_before_listing()
            else:
                await self._read_all(taken)
                await self._changed.wait()
            self._tile.step(BayEvent.CHANGED)
            taken = await self._list(taken)

    async def _list(self, earlier: Taken | None) -> Taken:
        """The inventory to read by: after a restart or a false alarm still the earlier one."""
        self._changed.clear()
        loop = asyncio.get_running_loop()
        self._listed_at_s = loop.time()

        def recognised(found: Found) -> None:
            loop.call_soon_threadsafe(self._recognised, found)

        taken = await self._threads.call(None, take_inventory, self._volume, self._tools, earlier, recognised)
        self._tile.visit = taken.visit.visit
        self._tile.step(BayEvent.LISTED)
        bells = self._tools.doorbells
        bells.statements.ring()
        bells.deliveries.ring()
        if earlier is not None:
            await self._sign_off_missing(taken)
        return taken

    def _recognised(self, found: Found) -> None:
        self._tile.recognise(found.recorder, found.officer, profile_name(found.profile))
        if self._tile.state is BayState.IDENTIFYING:
            self._tile.step(BayEvent.IDENTIFIED)

    async def _sign_off_missing(self, taken: Taken) -> None:
        settler = Settler(taken.subject, self._tools, self._tile.progress)
        if await self._threads.call(None, sign_off_missing, taken, self._tools, settler):
            self._tools.doorbells.statements.ring()

    async def _read_all(self, taken: Taken) -> None:
        """Every row has its end: say so, and whether the recorder may be taken."""
        account = await asyncio.to_thread(self._tools.journal.accounting, taken.visit.visit)
        if account.unreadable:
            self._tile.step(
                BayEvent.READ_ALL_BUT_SOME,
                code="files-unreadable",
                problem=f"{account.unreadable} of {account.listed} files cannot be read",
            )
        else:
            self._tile.step(BayEvent.READ_ALL)

    def _wants_relisting(self) -> bool:
        return self._changed.is_set() and self._seconds_to_listing() <= 0

    def _seconds_to_listing(self) -> float:
        passed_s = asyncio.get_running_loop().time() - self._listed_at_s
        return self._tools.settings.relist_pause_s - passed_s

    async def _pause_before_listing(self) -> None:
        """A file that changes all the time must not make an inventory a second."""
        await asyncio.sleep(max(0.0, self._seconds_to_listing()))

    def _offloader(self) -> Offloader:
        return Offloader(
            self._volume,
            tools=self._tools,
            threads=self._threads,
            turns=self._turns,
            progress=self._tile.progress,
            waiting=self._waiting,
        )

    def _waiting(self, begins: bool) -> None:
        if begins:
            self._tile.step(
                BayEvent.SPOOL_FULL, code="spool-full", problem="the spool is below its watermark"
            )
        elif self._tile.state is BayState.FULL:
            self._tile.step(BayEvent.SPOOL_HAS_ROOM)
