"""One run: a seed decides a scenario and faults; the world goes through it, recovers, and is judged."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from agent.core.bay import BayState
from agent.errors import AgentError
from protocol.digest import Digest
from tests.campaign.erasure import lacking_to_erase
from tests.campaign.judge import Judge
from tests.campaign.patches import verified_once
from tests.campaign.plan import Fault, Plan
from tests.campaign.recorders import Recorder, Version
from tests.campaign.scenario import SHAPES, Extent, Scenario, Stay, Targets, choose_faults
from tests.campaign.striking import Striker
from tests.campaign.template import AGENCY, COLLECTOR, Template, agent_config, collector_config
from tests.campaign.view import RELEASED, UNEXPLAINED, Violation
from tests.campaign.world import World

PATIENCE_S: Final = 300.0
"""How long faults may rage before they end."""

RECOVERY_S: Final = 1800.0
"""How long recovery may take, in virtual time; a run that needs longer is stuck."""


_DELIVERED: Final = frozenset({BayState.DONE, BayState.UNREADABLE})
_NEEDS_DOCKING: Final = frozenset(
    {BayState.REFUSED, BayState.NOT_RELEASED, BayState.LOST_CONTACT, BayState.RELEASE_INTERRUPTED}
)
_CLEARED: Final = frozenset({BayState.RELEASED, BayState.NOT_RELEASED, BayState.UNREADABLE})

_FIRST_NS: Final = 1_769_847_330_000_000_000


@dataclass(slots=True)
class Outcome:
    """What came of one run."""

    seed: int
    planned: list[Fault]
    struck: dict[str, int]
    violations: list[Violation]
    story: list[str] = field(default_factory=list)
    extent: Extent = field(default_factory=lambda: Extent())
    virtual_s: float = 0.0
    places: dict[str, int] = field(default_factory=dict)
    places_struck: dict[str, int] = field(default_factory=dict)


class Run:
    """Drives one world. ``faults`` are given, or chosen by the seed."""

    def __init__(
        self,
        template: Template,
        root: Path,
        seed: int,
        *,
        faults: list[Fault] | None = None,
        extent: Extent,
        targets: Targets | None = None,
        patience_s: float = PATIENCE_S,
        recovery_s: float = RECOVERY_S,
    ) -> None:
        self._patience_s, self._recovery_s = patience_s, recovery_s
        self._seed = seed
        self._rng = Random(f"run {seed}")
        self.scenario = Scenario.of(seed % SHAPES)
        self.plan = Plan(Random(f"plan {seed}"))
        self.plan.faults = (
            choose_faults(seed, self._rng, self.scenario, extent, targets or Targets())
            if faults is None
            else faults
        )
        release = seed % SHAPES % 4 != 1
        self.world = World(template, root, self._rng, self.plan, self.scenario.stations, release=release)
        self._striker = Striker(self.world, self._rng, self.scenario.stations)
        self._violations: list[Violation] = []

    def go(self) -> Outcome:
        world = self.world
        violations = self._violations
        gc.disable()
        logging.disable(logging.CRITICAL)
        try:
            with world:
                world.loop.run_until_complete(self._live())
            if not violations:
                violations.extend(self._judge())
        finally:
            logging.disable(logging.NOTSET)
            gc.enable()
        return Outcome(
            seed=self._seed,
            planned=self.plan.faults,
            struck={kind.value: count for kind, count in self.plan.struck.items()},
            violations=violations,
            story=world.events,
            extent=Extent(Counter(self.plan.steps), self.plan.writes, self.plan.messages),
            virtual_s=world.loop.time(),
            places=dict(self.plan.places),
            places_struck=dict(self.plan.places_struck),
        )

    def _judge(self) -> list[Violation]:
        world = self.world
        with verified_once():
            return Judge(
                collector=collector_config(world.root),
                stations=[agent_config(world.root, name) for name in self.scenario.stations],
                log_key=world.log_key,
                recorders=world.recorders,
                struck=self.plan.struck,
            ).violations()

    # --- the course of events ----------------------------------------------------------------------------------

    async def _live(self) -> None:
        world = self.world
        world.start()
        for number, files in enumerate(self.scenario.files):
            recorder = Recorder(f"recorder-{number}", _FIRST_NS)
            for path, content in files:
                recorder.put(path, content)
            recorder.on_erased = self._check_erasure
            world.recorders.append(recorder)
        tasks = [world.loop.create_task(self._stay(stay)) for stay in self.scenario.stays]
        tasks += [world.loop.create_task(self._striker.strike(fault)) for fault in self.plan.faults]
        await self._until_idle(self._patience_s, started=tasks)
        self._end_faults(tasks)
        person = world.loop.create_task(self._do_what_tiles_say())
        finished = await self._until_idle(self._recovery_s, started=())
        person.cancel()
        if not finished:
            self._violations.append(
                Violation(UNEXPLAINED, f"not finished after {self._recovery_s:.0f} s: {self._unfinished()}")
            )
        for name in world.machines:
            world.machines[name].wanted = False
            world.power_cycle(name)

    async def _do_what_tiles_say(self) -> None:
        """A person comes by now and then, and docks again what the station could not go on with."""
        for _ in range(3):
            await asyncio.sleep(120)
            for name in self.scenario.stations:
                for bay, recorder in list(self.world.docks[name].bays.items()):
                    if self._state(name, bay) in _NEEDS_DOCKING:
                        self.world.pull(recorder)
                        await asyncio.sleep(10)
                        self.world.plug(recorder, name, bay)

    def _state(self, name: str, bay: str) -> BayState | None:
        station = self.world.machines[name].station
        found = None if station is None else station._visits._bays.get(("memory", bay))
        return None if found is None else found._tile.state

    def _check_erasure(self, version: Version) -> None:
        """A file was erased this moment: by now it must be durable and whole in the store."""
        name = hashlib.sha256(version.content).hexdigest()
        disk = self.world.machines[COLLECTOR].disk
        kept = disk.read_durable(f"objects/{AGENCY}/originals/{name[:2]}/{name[2:4]}/{name}")
        self.world.note(f"{version.recorder} {version.path!r} erased")
        names = f"{version.recorder} {version.path!r}"
        if kept != version.content:
            self._violations.append(Violation(RELEASED, f"{names} was erased while it was not in the store"))
        elif (lacking := self._lacking(Digest.of(version.content), version.recorder)) is not None:
            self._violations.append(Violation(RELEASED, f"{names} was erased without {lacking}"))
        if self.plan.at_erasure():
            recorder = next(found for found in self.world.recorders if found.name == version.recorder)
            self.world.loop.call_soon(self.world.pull, recorder)

    def _lacking(self, digest: Digest, name: str) -> str | None:
        """What the station lacks to have erased these bytes: an admitted intent, a receipt that verifies."""
        recorder = next(found for found in self.world.recorders if found.name == name)
        if recorder.place is None:
            return None
        config = agent_config(self.world.root, recorder.place[0])
        return lacking_to_erase(config, digest, self.world.log_key)

    async def _stay(self, stay: Stay) -> None:
        await asyncio.sleep(stay.from_s)
        self.world.plug(self.world.recorders[stay.recorder], stay.station, stay.bay)

    def _end_faults(self, tasks: list[asyncio.Task[None]]) -> None:
        world = self.world
        world.note("faults end")
        self.plan.active = False
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()  # a mistake of the campaign's own is not to pass for a quiet run
            task.cancel()
        world.away.clear()
        world.network.heal()
        for name, machine in world.machines.items():
            machine.is_full = False
            world.broker.restore(COLLECTOR if name == COLLECTOR else name)
        for recorder in world.recorders:
            if recorder.volume is not None:
                recorder.volume.read_only = recorder.volume.dirty = False
            if recorder.place is None:
                world.plug(recorder, self.scenario.stations[0], f"bay-{9 + world.recorders.index(recorder)}")

    # --- when it is over ---------------------------------------------------------------------------------------

    async def _until_idle(self, patience_s: float, *, started: object) -> bool:
        tasks = started if isinstance(started, list) else []
        world = self.world
        ends_at = world.loop.time() + patience_s
        while world.loop.time() < ends_at:
            await asyncio.sleep(2)
            if all(task.done() for task in tasks) and not self._unfinished():
                return True
        return False

    def _unfinished(self) -> str:
        """What is still to be done; empty when nothing is."""
        held = [recorder.name for recorder in self.world.recorders if recorder.place is None]
        if held and not self.plan.active:
            return f"{held[0]} is in somebody's hands"
        try:
            return next(filter(None, (self._station_unfinished(name) for name in self.scenario.stations)), "")
        except (AgentError, sqlite3.Error) as error:
            return repr(error)

    def _station_unfinished(self, name: str) -> str:
        machine = self.world.machines[name]
        station = machine.station
        if station is None or machine.process is None or not machine.process.alive:
            return f"{name} is down"
        journal = station._journal
        backlog = journal.backlog()
        if backlog.statements_unsettled or backlog.deliveries_open or backlog.media_jobs_open:
            return f"{name}: {backlog}"
        visits = {visit.bay: visit for visit in journal.open_visits()}
        for bay, recorder in self.world.docks[name].bays.items():
            visit = visits.get(bay)
            if recorder.volume is None or visit is None or visit.generation != recorder.volume.generation:
                return f"{name}: {bay} is not visited"
            account = journal.accounting(visit.visit)
            if account.pending:
                return f"{name}: {bay} {account}"
            found = self._state(name, bay)
            is_cleared = self.world.release and bool(recorder.files)
            if found not in (_CLEARED if is_cleared else _DELIVERED | _CLEARED):
                return f"{name}: {bay} is {found}"
        here = {visit.recorder_key for visit in visits.values()}
        if any(intent.recorder_key in here for intent in journal.open_intents()):
            return f"{name}: an intent is open"  # one whose recorder went elsewhere waits for it
        return ""
