"""A station's offload bench: journal and spool over a folder or the lossy twin, an honest signer, a turning clock."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.core.bay import BayEvent, BayState
from agent.core.offload import ReadLimits
from agent.doorbells import Doorbells
from agent.offload.growing import EarlyDelivery
from agent.offload.settings import Threads, VisitSettings, VisitTools
from agent.offload.testimony import Signer, Testimony
from agent.offload.tile import Tile
from agent.offload.turns import Turns
from agent.offload.visit import Visit
from agent.ports import NOTHING_SAID, DockEvent, RecorderVolume
from agent.spool.files import SpoolFiles
from agent.spool.journal import Journal
from firmware_profiles.load import load_registry
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import Custody, Inventory, Manifest, Statement, parse_statement, sign_statement
from tests.support.lossy_spool import PowerSwitch

SEED = b"\x07" * 32
STATION = "station-1"
AGENCY = "agency-1"
START = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)

RESTING = frozenset({BayState.DELIVERING, BayState.UNREADABLE, BayState.REFUSED, BayState.LOST_CONTACT})

FAST = VisitSettings(
    watermark_bytes=0,
    evict_below_bytes=0,
    read_limits=ReadLimits(max_attempts=3, first_pause_s=0, max_pause_s=0),
    relist_pause_s=0.0,
    recheck_s=0.001,
)


class HonestSigner:
    """Signs with one seed and speaks for one agency, or for none."""

    station = STATION

    def __init__(self, agency: str | None = AGENCY) -> None:
        self._agency = agency

    def sign(self, statement: Statement) -> Envelope:
        return sign_statement(statement, SEED)

    def agency_for(self, recorder: Claim | None) -> str | None:
        return self._agency


class SwitchedJournal(Journal):
    """A journal on a machine whose power may go just before or just after a commit."""

    def __init__(self, path: Path, files: SpoolFiles, switch: PowerSwitch) -> None:
        self.switch = PowerSwitch()
        super().__init__(path, files)
        self.switch = switch

    def _leave(self, how: str) -> None:
        commits = how == "COMMIT" and self._depth == 1
        if commits:
            try:
                self.switch.pass_through()
            except BaseException:
                super()._leave("ROLLBACK")
                raise
        super()._leave(how)
        if commits:
            self.switch.pass_through()


class WatchedTile(Tile):
    """A tile that tests can wait for."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__("memory", "bay-1", clock)
        self.steps: list[BayState] = []
        self._moved = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def step(self, event: BayEvent, *, code: str | None = None, problem: str | None = None) -> None:
        super().step(event, code=code, problem=problem)
        self.steps.append(self.state)
        task = asyncio.get_running_loop().create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def reached(self, states: Collection[BayState], after_steps: int = 0) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self.state in states and len(self.steps) > after_steps)


def ticking_clock() -> Callable[[], datetime]:
    """A millisecond further at every look."""
    count = itertools.count()
    return lambda: START + timedelta(milliseconds=next(count))


def counted_ids(seed: str = "") -> Callable[[], str]:
    """Ids as random ones look, the same in every run."""
    count = itertools.count()
    return lambda: hashlib.sha256(f"{seed}{next(count)}".encode()).hexdigest()[:32]


def make_tools(
    journal: Journal,
    *,
    settings: VisitSettings = FAST,
    signer: Signer | None = None,
    early: EarlyDelivery | None = None,
    ids: str = "",
) -> VisitTools:
    testimony = Testimony(signer=signer or HonestSigner(), clock=ticking_clock(), new_id=counted_ids(ids))
    return VisitTools(
        journal=journal,
        testimony=testimony,
        registry=load_registry(),
        doorbells=Doorbells(),
        settings=settings,
        early=early,
    )


@asynccontextmanager
async def visiting(volume: RecorderVolume, tools: VisitTools) -> AsyncIterator[tuple[Visit, WatchedTile]]:
    """A visit under way; afterwards it is stopped, as by a restart of the agent."""
    threads = Threads(2)
    tile = WatchedTile(tools.clock)
    tile.begin()
    visit = Visit(volume, tile, facts=NOTHING_SAID, tools=tools, threads=threads, turns=Turns(2).at(""))
    task = asyncio.create_task(visit.run(), name="visit")
    watcher = asyncio.create_task(end_with(task, tile))
    try:
        yield visit, tile
    finally:
        task.cancel()
        watcher.cancel()
        await asyncio.wait({task, watcher})
        await asyncio.to_thread(threads.close)


async def end_with(task: asyncio.Task[None], tile: WatchedTile) -> None:
    """A visit that dies, or what it depends on, shows on its tile, so that no test waits for ever."""
    await asyncio.wait({task})
    if not task.cancelled() and task.exception() is not None:
        tile.step(BayEvent.REFUSED, code="visit-ended", problem=repr(task.exception()))


async def run_visit(volume: RecorderVolume, tools: VisitTools) -> WatchedTile:
    """One visit until it rests."""
    async with visiting(volume, tools) as (_, tile):
        await tile.reached(RESTING)
        return tile


def statements(journal: Journal) -> list[tuple[Digest, Statement]]:
    """Everything the station has signed, in order."""
    rows = journal.all("SELECT statement, envelope FROM statements ORDER BY seq")
    return [
        (Digest.parse(row["statement"]), parse_statement(Envelope.from_bytes(row["envelope"]).payload))
        for row in rows
    ]


def manifests(journal: Journal) -> list[Manifest]:
    return [statement for _, statement in statements(journal) if isinstance(statement, Manifest)]


def inventories(journal: Journal) -> list[Inventory]:
    return [statement for _, statement in statements(journal) if isinstance(statement, Inventory)]


def unreadables(journal: Journal) -> list[Custody]:
    return [statement for _, statement in statements(journal) if isinstance(statement, Custody)]


class ScriptedDock:
    """A ``Dock`` whose events the test gives."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.queue: asyncio.Queue[DockEvent] = asyncio.Queue()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[DockEvent]]:
        yield self._events()

    async def _events(self) -> AsyncIterator[DockEvent]:
        while True:
            yield await self.queue.get()
