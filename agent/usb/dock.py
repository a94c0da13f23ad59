"""The USB dock (USB 接口): every named port of this machine is a bay.

Each bay has its own task, which looks at its port, does what ``agent.core.docking`` says, and looks again: at a hint,
when something is due, and after a while in any case, so that a lost hint costs a rescan, never a recorder. What can
hang (conversations, mounts, looks) happens in threads of the dock's own; a bay that hangs holds up no other.

Mounts stay when the station stops: they are read-only, and a station started again goes on with the same visit.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, Protocol, TypeVar

from agent.core.docking import (
    Action,
    Answer,
    Docking,
    Leave,
    Mount,
    Stage,
    Step,
    Talk,
    Trouble,
    Withdraw,
    answered,
    give_up,
    look,
    mounted,
    trouble_of,
)
from agent.core.turns import hub_of
from agent.dock_events import DockQueue
from agent.ports import BayBusy, BayTroubled, DockEvent, DockStage, VolumeAppeared, VolumeVanished
from agent.usb.errors import UsbError
from agent.usb.ports import DeviceSeen, Mounter, UsbBus, VolumeSeen
from agent.usb.volume import UsbVolume
from agent.volumes.errors import VolumeError

_log = logging.getLogger(__name__)
_Args = ParamSpec("_Args")
_T = TypeVar("_T")

_MISTAKE: Final = "internal-error"
_MISTAKE_RETRY_S: Final = 60.0

_SHOWN: Final[Mapping[Stage, DockStage]] = {
    Stage.TALKING: DockStage.IDENTIFYING,
    Stage.SWITCHING: DockStage.SWITCHING,
    Stage.AWAITING_STORAGE: DockStage.MOUNTING,
    Stage.MOUNTING: DockStage.MOUNTING,
}


class Introductions(Protocol):
    """Finds out what a device is, and makes it show its storage."""

    def talk(self, device: DeviceSeen) -> Answer:
        """Blocks, not for ever. Whatever the device does becomes an answer; raises nothing that a device can cause."""


class UsbDock:
    """A ``Dock`` over the ports that ``bays`` names: port path to bay. What is at other ports is not its business."""

    def __init__(
        self,
        bus: UsbBus,
        mounter: Mounter,
        introductions: Introductions,
        *,
        bays: Mapping[str, str],
        name: str = "usb",
        rescan_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._mounter = mounter
        self._introductions = introductions
        self._bays = dict(bays)
        self._name = name
        self._rescan_s = rescan_s
        self._clock = clock

    @property
    def name(self) -> str:
        return self._name

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[DockEvent]]:
        """See ``Dock``."""
        queue = DockQueue()
        threads = ThreadPoolExecutor(2 * len(self._bays) + 1, thread_name_prefix=f"dock-{self._name}")
        ports = {
            port: _Port(
                port,
                bay,
                self._name,
                self._bus,
                self._mounter,
                self._introductions,
                queue,
                threads,
                self._clock,
            )
            for port, bay in self._bays.items()
        }
        try:
            async with queue.fed_by(self._keep(ports), name=f"dock {self._name}") as events:
                yield events
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _keep(self, ports: Mapping[str, _Port]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for port in ports.values():
                tasks.create_task(port.keep(self._rescan_s), name=f"bay {port.bay}")
            try:
                await self._follow_hints(ports)
            except (UsbError, OSError) as error:
                _log.warning("usb.no_hints", extra={"dock": self._name, "error": str(error)})

    async def _follow_hints(self, ports: Mapping[str, _Port]) -> None:
        """Without hints bays are looked at from time to time all the same."""
        async with self._bus.hints() as hints:
            async for path in hints:
                if path in ports:
                    ports[path].hint()


class _Port:
    """One bay: looks, acts, tells."""

    def __init__(
        self,
        path: str,
        bay: str,
        dock: str,
        bus: UsbBus,
        mounter: Mounter,
        introductions: Introductions,
        queue: DockQueue,
        threads: ThreadPoolExecutor,
        clock: Callable[[], float],
    ) -> None:
        self.bay = bay
        self._path = path
        self._hub = hub_of(path)
        self._dock = dock
        self._bus = bus
        self._mounter = mounter
        self._introductions = introductions
        self._queue = queue
        self._threads = threads
        self._clock = clock
        self._state = Docking()
        self._wake = asyncio.Event()
        self._names: dict[VolumeSeen, str] = {}
        self._told: DockEvent | None = None

    def hint(self) -> None:
        self._wake.set()

    async def keep(self, rescan_s: float) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            try:
                device, volumes = await self._in_thread(self._look)
                await self._take(look(self._state, device, volumes, self._clock()))
            except UsbError as error:
                _log.warning("usb.not_looked", extra={"bay": self.bay, "code": error.code})
            except Exception as error:
                # A mistake of ours with one recorder must not take the other bays down with it.
                _log.exception("usb.bay_failed", extra={"bay": self.bay})
                mistake = Trouble(code=_MISTAKE, detail=repr(error)[:200], retry_after_s=_MISTAKE_RETRY_S)
                await self._take(give_up(self._state, mistake, self._clock()))
            await self._pause(rescan_s)

    def _look(self) -> tuple[DeviceSeen | None, tuple[VolumeSeen, ...]]:
        """Blocks."""
        device = next((found for found in self._bus.devices() if found.port_path == self._path), None)
        return device, () if device is None else self._bus.volumes(self._path)

    async def _take(self, step: Step) -> None:
        """The new state is shown before what it asks for is done."""
        self._state, actions = step
        for action in actions:
            if isinstance(action, Leave | Withdraw):
                await self._act(action)
        await self._show()
        for action in actions:
            if isinstance(action, Talk | Mount):
                await self._act(action)

    async def _act(self, action: Action) -> None:
        match action:
            case Talk(device):
                answer = await self._in_thread(self._introductions.talk, device)
                await self._take(answered(self._state, device.generation, answer, self._clock()))
            case Mount(volumes):
                await self._mount(volumes)
            case Withdraw(volumes):
                await self._withdraw(volumes)
            case Leave():
                await self._withdraw(tuple(self._names))
                await self._tell_left()

    async def _mount(self, volumes: Sequence[VolumeSeen]) -> None:
        generation = self._state.generation or ""
        opened: dict[VolumeSeen, UsbVolume] = {}
        troubles: dict[VolumeSeen, Trouble] = {}
        for volume in volumes:
            self._names[volume] = self._free_name()
            try:
                opened[volume] = await self._in_thread(self._open, volume)
            except (UsbError, VolumeError) as error:
                _log.warning("usb.not_mounted", extra={"bay": self._names[volume], "code": error.code})
                troubles[volume] = trouble_of(error)
        if not opened and self._names.keys() <= troubles.keys():
            self._names.clear()  # the trouble is the bay's
        await self._take(mounted(self._state, generation, tuple(opened), troubles, self._clock()))
        await self._tell_volumes(opened, troubles)

    async def _tell_volumes(
        self, opened: Mapping[VolumeSeen, UsbVolume], troubles: Mapping[VolumeSeen, Trouble]
    ) -> None:
        for volume, name in list(self._names.items()):
            if volume in opened:
                self._told = None
                await self._queue.put(VolumeAppeared(name, opened[volume], self._state.facts, self._hub))
            elif volume in troubles:
                await self._queue.put(BayTroubled(name, troubles[volume].code, troubles[volume].detail))

    def _open(self, volume: VolumeSeen) -> UsbVolume:
        """Blocks."""
        return UsbVolume(
            seen=volume,
            dock=self._dock,
            bay=self._names[volume],
            mounter=self._mounter,
            mounted=self._mounter.mount_read_only(volume),
        )

    async def _withdraw(self, volumes: Sequence[VolumeSeen]) -> None:
        """Told first: whoever reads stops by itself, and the mounter lets go even of what is still open."""
        for volume in volumes:
            name = self._names.pop(volume, None)
            if name is not None:
                await self._queue.put(VolumeVanished(name))
        if not self._names:
            try:
                await self._in_thread(self._mounter.unmount, self._path)
            except UsbError as error:
                _log.warning("usb.not_unmounted", extra={"bay": self.bay, "code": error.code})

    async def _show(self) -> None:
        trouble, shown = self._state.trouble, _SHOWN.get(self._state.stage)
        if self._names:
            return
        if self._state.stage is Stage.TROUBLED and trouble is not None:
            await self._tell(BayTroubled(self.bay, trouble.code, trouble.detail))
        elif shown is not None:
            await self._tell(BayBusy(self.bay, shown))

    async def _tell(self, event: DockEvent) -> None:
        if event != self._told:
            self._told = event
            await self._queue.put(event)

    async def _tell_left(self) -> None:
        if self._told is not None:
            self._told = None
            await self._queue.put(VolumeVanished(self.bay))

    def _free_name(self) -> str:
        """The bay's own for the first volume; further ones of the same recorder are numbered."""
        taken = set(self._names.values())
        names = [self.bay, *(f"{self.bay}-{number}" for number in range(2, len(taken) + 2))]
        return next(name for name in names if name not in taken)

    async def _pause(self, rescan_s: float) -> None:
        due_s = self._state.due_s
        wait_s = rescan_s if due_s is None else min(rescan_s, max(0.01, due_s - self._clock()))
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _in_thread(
        self, work: Callable[_Args, _T], *args: _Args.args, **kwargs: _Args.kwargs
    ) -> Awaitable[_T]:
        call = functools.partial(work, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)
