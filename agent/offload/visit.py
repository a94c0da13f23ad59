"""One visit (到站): inventory, offload, release, and staying until the recorder leaves or its files change."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.core.bay import BayEvent, BayState
from agent.offload.inventory import Taken, find_open_visit, profile_name, sign_off_missing, take_inventory
from agent.offload.offloader import Offloader
from agent.offload.settings import Threads, VisitTools
from agent.offload.settler import Settler
from agent.offload.stocktake import Found
from agent.offload.tile import Tile
from agent.offload.turns import HubTurns
from agent.ports import DeviceFacts, RecorderVolume
from agent.release.releaser import Releaser, Standing
from agent.spool.records import Accounting

_MAX_DOUBLINGS: Final = 5
"""Of the pause before a volume is listed again because of a file that was moving: then every five minutes."""


class Visit:
    """Runs until cancelled: the recorder left, or the agent stops. Everything it did is in the journal by then."""

    def __init__(
        self,
        volume: RecorderVolume,
        tile: Tile,
        *,
        facts: DeviceFacts,
        tools: VisitTools,
        threads: Threads,
        turns: HubTurns,
    ) -> None:
        self._volume = volume
        self._tile = tile
        self._facts = facts
        self._tools = tools
        self._threads = threads
        self._turns = turns
        self._session = tools.new_id()
        self._releaser = self._make_releaser()
        self._changed = asyncio.Event()
        self._woken = asyncio.Event()
        self._erased_here = False
        self._moving = 0
        self._listed_at_s = 0.0

    def note_changed(self) -> None:
        """The volume's files changed: list it again when it is worth it."""
        self._changed.set()
        self._woken.set()

    def note_receipts(self) -> None:
        """The collector answered something, or it is time to look: what was read may now be receipted."""
        self._woken.set()

    async def run(self) -> None:
        """Raises VolumeError, ProfileError, OffloadError, SpoolError, JournalError."""
        offloader = self._offloader()
        taken = await self._list(await self._threads.call(None, find_open_visit, self._volume, self._tools))
        while True:
            if await offloader.read_rows(taken.inventory, taken.subject, self._wants_relisting):
                await self._pause_before_listing(offloader)
                taken = await self._list_again(taken)
            else:
                await self._read_all(taken)
                taken = await self._rest(taken)

    async def _rest(self, taken: Taken) -> Taken:
        """Everything is read: stay until there may be more, and release what may be released. Returns the inventory to
        read by."""
        while True:
            self._woken.clear()
            if self._changed.is_set():
                after = await self._list_again(taken)
                if after is not taken or self._tile.state is BayState.OFFLOADING:
                    return after
            after = await self._look(taken)
            if after is taken:
                await self._woken.wait()
            elif await self._show_erased(after):
                return after
            taken = after

    async def _look(self, taken: Taken) -> Taken:
        """What the collector has receipted by now, and what follows from it."""
        if self._releaser is None:
            account = await asyncio.to_thread(self._tools.journal.accounting, taken.visit.visit)
            if account.pending == 0 and self._tile.state is BayState.DELIVERING:
                self._tile.step(BayEvent.RECEIPTED_ALL)
            return taken
        standing, after = await self._releaser.look(taken)
        if after is taken:
            await self._show_standing(self._releaser, standing, taken)
        return after

    async def _list_again(self, taken: Taken) -> Taken:
        """The inventory after a change. What we erased ourselves is no change: it is looked at without a word."""
        quietly, self._erased_here = self._erased_here, False
        if not quietly:
            self._tile.step(BayEvent.CHANGED)
        after = await self._list(taken, quietly=quietly)
        if self._releaser is not None and not (quietly and after is taken):
            self._releaser.begin_again()
        return after

    async def _list(self, earlier: Taken | None, *, quietly: bool = False) -> Taken:
        """The inventory to read by: after a restart or a false alarm still the earlier one."""
        self._changed.clear()
        loop = asyncio.get_running_loop()
        self._listed_at_s = loop.time()

        def recognised(found: Found) -> None:
            loop.call_soon_threadsafe(self._recognised, found)

        taken = await self._threads.call(
            None, take_inventory, self._volume, self._tools, earlier, recognised, self._facts
        )
        if quietly and taken is earlier:
            return taken
        if quietly:
            self._tile.step(BayEvent.CHANGED)
        self._tile.visit = taken.visit.visit
        self._tile.step(BayEvent.LISTED)
        bells = self._tools.doorbells
        bells.statements.ring()
        bells.deliveries.ring()
        if earlier is not None:
            await self._sign_off_missing(taken)
        return taken

    async def _show_standing(self, releaser: Releaser, standing: Standing, taken: Taken) -> None:
        """On the tile, unless files that cannot be read are the graver news."""
        state = self._tile.state
        if state is BayState.UNREADABLE:
            return
        if standing is Standing.FAILED and releaser.problem is not None:
            if state is not BayState.NOT_RELEASED:
                code, problem = releaser.problem
                self._tile.step(BayEvent.RELEASE_FAILED, code=code, problem=problem)
        elif standing is Standing.WAITING:
            if state is not BayState.RELEASABLE:
                self._tile.step(BayEvent.RELEASE_ANNOUNCED)
        elif state is BayState.DELIVERING and standing is Standing.HELD:
            self._tile.step(BayEvent.RECEIPTED_ALL)
        elif state is BayState.DELIVERING and standing is Standing.FINISHED:
            released = await asyncio.to_thread(self._tools.journal.files_released, taken.visit.visit)
            self._tile.step(BayEvent.RELEASED if released else BayEvent.RECEIPTED_ALL)

    async def _show_erased(self, taken: Taken) -> bool:
        """After an erasing: True when the fresh inventory has something to read."""
        self._erased_here = True
        journal, releaser = self._tools.journal, self._releaser
        await self._sign_off_missing(taken)
        if await asyncio.to_thread(journal.rows_to_read, taken.inventory, 1):
            self._tile.step(BayEvent.MORE_TO_READ)
            return True
        account = await asyncio.to_thread(journal.accounting, taken.visit.visit)
        if account.unreadable:
            self._show_unreadable(account)
        elif releaser is not None and releaser.problem is not None:
            code, problem = releaser.problem
            self._tile.step(BayEvent.RELEASE_FAILED, code=code, problem=problem)
        elif releaser is not None and await releaser.is_anything_due(taken):
            self._tile.step(BayEvent.RELEASE_ANNOUNCED)
        else:
            self._tile.step(BayEvent.RELEASED)
        return False

    def _recognised(self, found: Found) -> None:
        self._tile.recognise(found.recorder, found.officer, profile_name(found.profile), found.conflicts)
        if self._tile.state in (BayState.IDENTIFYING, BayState.MOUNTING):
            self._tile.step(BayEvent.IDENTIFIED)

    async def _sign_off_missing(self, taken: Taken) -> None:
        settler = Settler(taken.subject, self._tools, self._tile.progress, session=self._session)
        if await self._threads.call(None, sign_off_missing, taken, self._tools, settler):
            self._tools.doorbells.statements.ring()

    async def _read_all(self, taken: Taken) -> None:
        """Every row has its end: say so, and whether the recorder may be taken."""
        account = await asyncio.to_thread(self._tools.journal.accounting, taken.visit.visit)
        if account.unreadable:
            self._show_unreadable(account)
        else:
            self._tile.step(BayEvent.READ_ALL)

    def _show_unreadable(self, account: Accounting) -> None:
        self._tile.step(
            BayEvent.READ_ALL_BUT_SOME,
            code="files-unreadable",
            problem=f"{account.unreadable} of {account.listed} files cannot be read",
        )

    def _wants_relisting(self) -> bool:
        return self._changed.is_set() and self._seconds_to_listing() <= 0

    def _seconds_to_listing(self, *, pauses: int = 1) -> float:
        passed_s = asyncio.get_running_loop().time() - self._listed_at_s
        return pauses * self._tools.settings.relist_pause_s - passed_s

    async def _pause_before_listing(self, offloader: Offloader) -> None:
        """A file that changes all the time must not make an inventory a second, nor one a minute for hours."""
        self._moving = self._moving + 1 if offloader.met_moving_file else 0
        doublings = min(max(0, self._moving - 1), _MAX_DOUBLINGS)
        await asyncio.sleep(max(0.0, self._seconds_to_listing(pauses=2**doublings)))

    def _offloader(self) -> Offloader:
        return Offloader(
            self._volume,
            tools=self._tools,
            threads=self._threads,
            turns=self._turns,
            progress=self._tile.progress,
            waiting=self._waiting,
            session=self._session,
        )

    def _make_releaser(self) -> Releaser | None:
        """None where release is off: then nothing here ever opens the volume for writing."""
        release = self._tools.release
        if release is None or not release.settings.applies_to(self._tile.bay):
            return None
        return Releaser(
            self._volume,
            self._tile,
            tools=self._tools,
            release=release,
            threads=self._threads,
            turns=self._turns,
            session=self._session,
        )

    def _waiting(self, begins: bool) -> None:
        if begins:
            self._tile.step(
                BayEvent.SPOOL_FULL, code="spool-full", problem="the spool is below its watermark"
            )
        elif self._tile.state is BayState.FULL:
            self._tile.step(BayEvent.SPOOL_HAS_ROOM)
