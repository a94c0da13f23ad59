"""One simulated world: machines with disks and clocks, programs that are started again, a network, recorders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import patch

import agent.app
import collector.app
from agent.app import Station
from agent.ports import VolumeChanged
from tests.campaign import calls
from tests.campaign.acts import Act, Verb
from tests.campaign.broker import SimBroker, SimMosquitto
from tests.campaign.clockwork import Clockwork
from tests.campaign.disk import Disk
from tests.campaign.kernel import Kernel
from tests.campaign.network import Network
from tests.campaign.patches import installed
from tests.campaign.plan import Fault, Plan
from tests.campaign.process import CURRENT, Crash, Process
from tests.campaign.recorders import Recorder, SimDock
from tests.campaign.sockets import socket_module
from tests.campaign.template import COLLECTOR, START, Template, agent_config, collector_config

RESTART_S: Final = 5.0
"""What systemd waits before it starts a failed service again (``RestartSec`` of docs/administrators.md)."""


@dataclass(eq=False)
class Machine:
    """One computer: its disk, its clock, and the program it keeps running."""

    name: str
    disk: Disk
    program: Callable[[Machine, asyncio.Event], Coroutine[Any, Any, None]]
    offset: timedelta = timedelta()
    boots: int = 1
    runs: int = 0
    process: Process | None = None
    stop: asyncio.Event | None = None
    main: asyncio.Task[None] | None = None
    supervisor: asyncio.Task[None] | None = None
    is_full: bool = False
    wanted: bool = True
    ends: list[str] = field(default_factory=list)
    station: Station | None = None


class World:
    """Everything of one run. Use as context manager; ``loop`` drives it."""

    def __init__(
        self,
        template: Template,
        root: Path,
        rng: Random,
        plan: Plan,
        stations: tuple[str, ...],
        *,
        release: bool,
    ) -> None:
        template.copy_to(root)
        self.root = root
        self.log_key = template.log_key
        self._certificates = template.certificates
        self.release = release
        self.rng = rng
        self.plan = plan
        plan.on_full = self._fill
        self.loop = Clockwork(Random(rng.random()))
        self.loop.set_exception_handler(_note_exception)
        self.away: set[str] = set()
        self.network = Network(
            self.loop, Random(rng.random()), plan.at_write, lambda name: name not in self.away
        )
        self.broker = SimBroker(self.loop, Random(rng.random()), plan.at_message)
        self.docks = {name: SimDock(name) for name in stations}
        self.machines = {
            name: Machine(name, Disk(root / name), self._collect if name == COLLECTOR else self._serve)
            for name in (COLLECTOR, *stations)
        }
        self.recorders: list[Recorder] = []
        self._kernel = Kernel(str(root), self, self.loop)
        self._stack = ExitStack()
        self.events: list[str] = []

    def __enter__(self) -> World:
        asyncio.set_event_loop(None)
        self._stack.enter_context(
            installed(
                loop=self.loop,
                rng=Random(self.rng.random()),
                clock=self.clock,
                make_dock=lambda folder: self.docks[folder.parent.name],
                make_broker=self._bus,
                make_mosquitto=lambda *_, **__: SimMosquitto(self.broker),
                sockets=socket_module(self.loop, self.network),
                station_of=lambda request: self._certificates[
                    request.transport.get_extra_info("peername")[0]
                ],
            )
        )
        self._stack.enter_context(calls.installed(self._kernel))
        self._stack.enter_context(patch.object(agent.app, "Station", self._station))
        self.loop.connect = self.network.connect
        self.loop.listen = self.network.listen
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines.values():
            if machine.supervisor is not None:
                machine.supervisor.cancel()
            if machine.process is not None:
                self._die(machine.process, silently=False)
        try:
            self.loop.run_until_complete(self._drain())
        finally:
            self._stack.close()
            self.loop.close()

    async def _drain(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not self.loop.is_working and len(asyncio.all_tasks()) == 1:
                break

    def _station(self, *args: Any) -> Station:
        process = CURRENT.get()
        assert process is not None
        made = self.machines[process.machine].station = Station(*args)
        return made

    def _bus(self, station: str | None, presence: Any) -> object:
        return self.broker.collector() if station is None else self.broker.station(station, presence)

    def clock(self) -> datetime:
        """The clock of whoever asks."""
        process = CURRENT.get()
        offset = timedelta() if process is None else self.machines[process.machine].offset
        return START + timedelta(seconds=self.loop.time()) + offset

    def note(self, what: str) -> None:
        """A line of the run's story."""
        self.events.append(f"{self.loop.time():10.3f}  {what}")

    # --- kernel.Site -------------------------------------------------------------------------------------------

    def at_step(self, process: Process, verb: Verb, path: str) -> Act | None:
        if "/status." in path:
            return None  # a snapshot for readers, which nothing relies on
        is_full = self.machines[process.machine].is_full
        act = self.plan.at_step(process, verb, path, is_full=is_full)
        if act is not None:
            self.note(f"{act.value} at {verb.value} {path.removeprefix(str(self.root))}")
        return act

    def _fill(self, fault: Fault) -> None:
        machine = self.machines[fault.machine]
        machine.is_full = True
        self.loop.call_later(fault.for_s, setattr, machine, "is_full", False)

    def end(self, process: Process, *, power_cut: bool) -> None:
        self._die(process, silently=power_cut)
        if power_cut:
            self._cut_power(self.machines[process.machine])

    def disk_of(self, process: Process) -> Disk:
        return self.machines[process.machine].disk

    def is_full(self, process: Process) -> bool:
        return self.machines[process.machine].is_full

    # --- life and death ----------------------------------------------------------------------------------------

    def start(self) -> None:
        for machine in self.machines.values():
            machine.supervisor = self.loop.create_task(self._supervise(machine))

    async def _supervise(self, machine: Machine) -> None:
        failed_at_once = 0
        while True:
            if not machine.wanted:
                await asyncio.sleep(1)
                continue
            began_s = self.loop.time()
            await self._run_once(machine)
            failed_at_once = failed_at_once + 1 if self.loop.time() - began_s < 1 else 0
            await asyncio.sleep(RESTART_S * min(60, 1 + failed_at_once**2))

    async def _run_once(self, machine: Machine) -> None:
        machine.runs += 1
        process = machine.process = Process(machine.name, machine.runs)
        process.on_death.append(lambda: self.loop.kill_workers(process))
        machine.stop, machine.station = asyncio.Event(), None
        token = CURRENT.set(process)
        try:
            machine.main = self.loop.create_task(machine.program(machine, machine.stop))
        finally:
            CURRENT.reset(token)
        self.note(f"{machine.name} starts")
        machine.main.add_done_callback(_look_at)
        await asyncio.wait({machine.main})
        error = None if machine.main.cancelled() else machine.main.exception()
        if process.alive:
            self.note(f"{machine.name} ends: {error!r}")
            machine.ends.append(repr(error))
            self._die(process, silently=False)

    async def _serve(self, machine: Machine, stop: asyncio.Event) -> None:
        await agent.app.run(agent_config(self.root, machine.name, release=self.release), stop)

    async def _collect(self, machine: Machine, stop: asyncio.Event) -> None:
        await collector.app.run(collector_config(self.root), stop, lambda _: None)

    def _die(self, process: Process, *, silently: bool) -> None:
        if process.alive:
            process.die()
            self.network.drop(process, silently=silently)

    def _cut_power(self, machine: Machine) -> None:
        machine.disk.cut_power()
        machine.boots += 1
        if machine.name in self.docks:
            self.docks[machine.name].reboot(machine.boots, self.loop.pause)

    def power_cycle(self, name: str) -> None:
        """Power off and on again."""
        machine = self.machines[name]
        if machine.process is not None:
            self._die(machine.process, silently=True)
        self._cut_power(machine)

    def plug(self, recorder: Recorder, station: str, bay: str) -> None:
        self.note(f"{recorder.name} into {station} {bay}")
        self.docks[station].plug(recorder, bay, self.machines[station].boots, self.loop.pause)

    def changed(self, recorder: Recorder) -> None:
        """The dock notices that files on it changed."""
        if recorder.place is not None and recorder.volume is not None:
            station, bay = recorder.place
            self.docks[station].tell(VolumeChanged(bay, recorder.volume))

    def pull(self, recorder: Recorder) -> None:
        if recorder.place is not None:
            self.note(f"{recorder.name} pulled")
            self.docks[recorder.place[0]].pull(recorder.place[1])


def _note_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """That a dead program's tasks end with a crash is no news."""
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)


def _look_at(task: asyncio.Task[None]) -> None:
    """What a dead program's last task raised is no news."""
    if not task.cancelled():
        task.exception()
