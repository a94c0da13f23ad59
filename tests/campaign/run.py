"""One run: a seed decides a scenario and faults; the world goes through it, recovers, and is judged."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from agent.core.bay import BayState
from agent.errors import AgentError
from tests.campaign.judge import RELEASED, UNEXPLAINED, Judge, Violation
from tests.campaign.kernel import Verb
from tests.campaign.plan import ACTS, MQTT_ACTS, NET_ACTS, STRIKES_AT, Fault, Kind, Plan
from tests.campaign.recorders import Recorder, Version
from tests.campaign.template import AGENCY, COLLECTOR, STATIONS, Template, agent_config, collector_config
from tests.campaign.world import World

PATIENCE_S: Final = 300.0
"""How long faults may rage before they end."""

RECOVERY_S: Final = 3600.0
"""How long recovery may take, in virtual time; a run that needs longer is stuck."""

SHAPES: Final = 24
"""Scenarios. There are few, so that the number of their steps is soon known; faults and order differ by seed."""

_DELIVERED: Final = frozenset({BayState.DONE, BayState.UNREADABLE})
_NEEDS_DOCKING: Final = frozenset(
    {BayState.REFUSED, BayState.NOT_RELEASED, BayState.LOST_CONTACT, BayState.RELEASE_INTERRUPTED}
)
_CLEARED: Final = frozenset({BayState.RELEASED, BayState.NOT_RELEASED, BayState.UNREADABLE})

_FIRST_NS: Final = 1_769_847_330_000_000_000


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is in a scenario at which a fault can strike: durable steps, writes to the net, messages."""

    steps: Counter[tuple[str, Verb]] = field(default_factory=Counter)
    writes: int = 0
    messages: int = 0

    def steps_for(self, kind: Kind, machine: str) -> int:
        verbs = STRIKES_AT.get(kind, frozenset(Verb))
        return sum(count for (where, verb), count in self.steps.items() if where == machine and verb in verbs)


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


@dataclass(frozen=True, slots=True)
class Stay:
    """A recorder's stay at a bay: from when, and until when if it is pulled."""

    recorder: int
    station: str
    bay: str
    from_s: float
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who has which files and goes where."""

    stations: tuple[str, ...]
    files: tuple[tuple[tuple[bytes, bytes], ...], ...]
    stays: tuple[Stay, ...]

    @classmethod
    def of(cls, shape: int) -> Scenario:
        rng = Random(f"shape {shape}")
        stations = STATIONS if shape % 4 == 3 else STATIONS[:1]
        recorders = 1 + (shape % 3 > 0)
        shared = (b"DCIM/100MEDIA/IMAG0001.MP4", rng.randbytes(_size(rng)))
        files = []
        for place in range(recorders):
            count = 1 + rng.randrange(4)
            own = [
                (_path(place, number, shape % 2), rng.randbytes(_size(rng))) for number in range(2, 2 + count)
            ]
            files.append((shared, *own) if len(stations) > 1 else tuple(own))
        stays = tuple(
            Stay(number, stations[number % len(stations)], f"bay-{1 + number}", 1 + rng.random() * 3)
            for number in range(recorders)
        )
        return cls(stations, tuple(files), stays)


def _path(recorder: int, number: int, by_rule: int) -> bytes:
    if by_rule:
        return f"CAM000{recorder}_00012{recorder}_202601310815{number:02}.mp4".encode()
    return f"DCIM/100MEDIA/IMAG{number:04}.{'JPG' if number % 3 == 0 else 'MP4'}".encode()


def _size(rng: Random) -> int:
    return rng.choice((0, 1, 700, 4096, 7000, 9000, 30_000, 60_000, 100_000))


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
        only: Kind | None = None,
    ) -> None:
        self._seed = seed
        self._rng = Random(f"run {seed}")
        self.scenario = Scenario.of(seed % SHAPES)
        self.plan = Plan(Random(f"plan {seed}"))
        self.plan.faults = self._choose(extent, only) if faults is None else faults
        release = seed % SHAPES % 4 != 1
        self.world = World(template, root, self._rng, self.plan, self.scenario.stations, release=release)
        self._violations: list[Violation] = []

    def _choose(self, extent: Extent, only: Kind | None) -> list[Fault]:
        """The first kind goes round with the seed, so that all have their turn; others may come with it."""
        kinds = [only] if only is not None else list(Kind)
        first = kinds[(self._seed + self._seed // (11 * SHAPES)) % len(kinds)]
        more = self._rng.choice((0, 0, 1, 1, 2))
        return [
            self._fault(kind, extent) for kind in (first, *(self._rng.choice(kinds) for _ in range(more)))
        ]

    def _fault(self, kind: Kind, extent: Extent) -> Fault:
        rng = self._rng
        machine = rng.choice((COLLECTOR, *self.scenario.stations))
        fault = Fault(kind, machine, at_s=1 + rng.random() * 12, for_s=1 + rng.random() * 60)
        if kind in ACTS:
            fault.at = 1 + rng.randrange(max(1, extent.steps_for(kind, machine)))
        elif kind in NET_ACTS:
            fault.at = 1 + rng.randrange(max(1, extent.writes))
        elif kind in MQTT_ACTS:
            fault.at = 1 + rng.randrange(max(1, extent.messages))
        return fault

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
        return Judge(
            collector=collector_config(world.root),
            stations=[agent_config(world.root, name) for name in self.scenario.stations],
            log_key=world.log_key,
            recorders=world.recorders,
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
        tasks += [world.loop.create_task(self._strike(fault)) for fault in self.plan.faults]
        await self._until_idle(PATIENCE_S, started=tasks)
        self._end_faults(tasks)
        person = world.loop.create_task(self._do_what_tiles_say())
        finished = await self._until_idle(RECOVERY_S, started=())
        person.cancel()
        if not finished:
            self._violations.append(
                Violation(UNEXPLAINED, f"not finished after {RECOVERY_S:.0f} s: {self._unfinished()}")
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
        if kept != version.content:
            self._violations.append(Violation(RELEASED, f"{version.recorder} {version.path!r} is not stored"))

    async def _stay(self, stay: Stay) -> None:
        await asyncio.sleep(stay.from_s)
        self.world.plug(self.world.recorders[stay.recorder], stay.station, stay.bay)

    async def _strike(self, fault: Fault) -> None:
        """Faults that have a time instead of a step."""
        world, machine = self.world, self.world.machines[fault.machine]
        if fault.kind in ACTS or fault.kind in NET_ACTS or fault.kind in MQTT_ACTS:
            return
        await asyncio.sleep(fault.at_s)
        recorder = self._rng.choice(world.recorders)
        match fault.kind:
            case Kind.DISK_FULL:
                machine.is_full = True
                self._struck(fault, fault.machine)
                await asyncio.sleep(fault.for_s)
                machine.is_full = False
            case Kind.AWAY:
                world.away.update(world.machines)
                for line in list(world.network.lines):
                    line.silence()
                self._struck(fault, f"for {fault.for_s:.0f} s")
                await asyncio.sleep(fault.for_s)
                world.away.clear()
            case Kind.CLOCK:
                jump = self._rng.choice((-1, 1)) * timedelta(
                    seconds=self._rng.choice((2, 3600, 86_400 * 400))
                )
                machine.offset += jump
                self._struck(fault, f"{fault.machine} by {jump}")
            case Kind.EARLY_PULL:
                await self._pull(fault, recorder)
            case Kind.READ_ERROR:
                self._strain(fault, recorder)
            case Kind.FILE_GROWS:
                self._grow(fault, recorder)
            case _:
                raise AssertionError(fault.kind)

    def _struck(self, fault: Fault, where: str) -> None:
        self.plan.strike(fault, where)
        self.world.note(f"{fault.kind.value}: {where}")

    async def _pull(self, fault: Fault, recorder: Recorder) -> None:
        if recorder.place is None:
            return
        self._struck(fault, recorder.name)
        self.world.pull(recorder)
        await asyncio.sleep(fault.for_s)
        if recorder.place is None:
            self.world.plug(
                recorder, self._rng.choice(self.scenario.stations), f"bay-{5 + self._rng.randrange(3)}"
            )

    def _strain(self, fault: Fault, recorder: Recorder) -> None:
        path = self._rng.choice(sorted(recorder.files))
        found = recorder.files[path]
        found.fails_at[self._rng.randrange(len(found.data) + 1)] = 5
        recorder.strained.add(path)
        self._struck(fault, f"{recorder.name} {path!r}")

    def _grow(self, fault: Fault, recorder: Recorder) -> None:
        path = self._rng.choice(sorted(recorder.files))
        found = recorder.files[path]
        found.data += b"more"
        found.modified_ns += 3_000_000_000
        recorder.note_growth(path)
        self._struck(fault, f"{recorder.name} {path!r}")
        self.world.changed(recorder)

    def _end_faults(self, tasks: list[asyncio.Task[None]]) -> None:
        world = self.world
        world.note("faults end")
        self.plan.active = False
        for task in tasks:
            task.cancel()
        world.away.clear()
        world.network.heal()
        for name, machine in world.machines.items():
            machine.is_full = False
            world.broker.restore(COLLECTOR if name == COLLECTOR else name)
        for recorder in world.recorders:
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
        if journal.open_intents():
            return f"{name}: an intent is open"
        return ""
