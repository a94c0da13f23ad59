"""The folder dock (目录接口): every directory directly in a base directory is a recorder's volume.

Serves automounting desktops, card readers, network drops and exports. A volume is announced when it has been quiet for
``settle_s``; again when later changes are quiet. Truth comes from looking: watchdog only says when to look sooner, so
a lost event costs a rescan interval, never a recorder. Each bay has its own task and looks happen in threads, so that
a device that hangs holds up no other bay. Names that start with a dot are being prepared and ignored until renamed;
links and files in the base directory are ignored.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from agent.dock_events import DockQueue
from agent.ports import DockEvent, VolumeAppeared, VolumeChanged, VolumeVanished
from agent.volumes.errors import VolumeError, VolumeVanishedError
from agent.volumes.hints import Hints
from agent.volumes.settling import Change, Look, Settling, settle
from agent.volumes.tree import TreeVolume
from protocol.listing import display_path

_log = logging.getLogger(__name__)
_Args = ParamSpec("_Args")
_T = TypeVar("_T")

MAX_BAYS: Final = 256
"""Directories watched at once; a base directory with more is a mistake in the configuration."""

MAX_BAY_CHARS: Final = 64
"""A bay's name goes into statements, logs and onto the screen."""

MAX_LOOKS: Final = 32
"""Threads of their own for looks: devices that hang must not use up those the rest of the agent works with."""

_LOOK_SHARE: Final = 20
"""A look may take a twentieth of the time: volumes of very many files are rescanned less often."""

_SHORTEST_WAIT_S: Final = 0.01


def bay_name(raw_name: bytes) -> str:
    """A directory's name as bay name: letters and digits of any script and ``-_.``, at most 64 characters. A name
    that had to be altered ends with part of its digest, so that two directories never share a bay."""
    shown = display_path(raw_name)
    safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in shown)
    if safe.encode() == raw_name and len(safe) <= MAX_BAY_CHARS:
        return safe
    mark = hashlib.sha256(raw_name).hexdigest()[:8]
    return f"{safe[: MAX_BAY_CHARS - 9]}-{mark}"


def fingerprint(volume: TreeVolume) -> int:
    """A number that differs when a path, size or time on the volume does; independent of the order of listing. A
    volume that cannot be listed is quiet too: it gets announced, and whoever lists it meets the error."""
    total = 0
    try:
        for entry in volume.scan():
            total += hash((entry.raw_path, entry.size_bytes, entry.modified_ns, entry.obstacle))
    except VolumeVanishedError:
        raise
    except VolumeError as error:
        return hash(error.code)
    return total


@dataclass(frozen=True, slots=True)
class _Seen:
    look: Look
    volume: TreeVolume


@dataclass(slots=True)
class _Bay:
    """One directory under watch. ``removed`` is a hint that the directory itself went away, even if one of the same
    name, and possibly of the same inode number, is there again."""

    name: str
    wake: asyncio.Event
    idle: bool = False
    removed: bool = False

    def hint(self, removed: bool) -> None:
        self.removed = self.removed or removed
        if self.idle or removed:
            self.wake.set()


class FolderDock:
    """A ``Dock`` over a base directory, which is created when it is missing."""

    def __init__(
        self,
        base: Path,
        *,
        name: str = "folder",
        settle_s: float = 2.0,
        rescan_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = os.fsencode(base.absolute())
        self._name = name
        self._settle_s = settle_s
        self._rescan_s = rescan_s
        self._clock = clock

    @property
    def name(self) -> str:
        return self._name

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[DockEvent]]:
        """See ``Dock``. Raises OSError when the base directory cannot be made."""
        watching = _Watching(self._base, self._name, self._settle_s, self._rescan_s, self._clock)
        async with watching.events.fed_by(watching.keep(), name=f"dock {self._name}") as events:
            yield events


class _Watching:
    """The state of one ``watch``: a task for the base directory and one for each directory in it."""

    def __init__(
        self, base: bytes, dock: str, settle_s: float, rescan_s: float, clock: Callable[[], float]
    ) -> None:
        self.events = DockQueue()
        self._base = base
        self._dock = dock
        self._settle_s = settle_s
        self._rescan_s = rescan_s
        self._clock = clock
        self._bays: dict[bytes, _Bay] = {}
        self._base_hint = asyncio.Event()
        self._hints = Hints(base, self._take_hint)
        self._watched: tuple[int, int] | None = None
        self._threads = ThreadPoolExecutor(MAX_LOOKS, thread_name_prefix=f"dock-{dock}")

    async def keep(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._keep_base(tasks)
        finally:
            await asyncio.shield(self._in_thread(self._hints.stop))
            self._threads.shutdown(wait=False)

    def _in_thread(
        self, work: Callable[_Args, _T], *args: _Args.args, **kwargs: _Args.kwargs
    ) -> Awaitable[_T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, functools.partial(work, *args, **kwargs))

    async def _keep_base(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._base_hint.clear()
            found = await self._in_thread(_base_key, self._base)
            if found != self._watched:  # at first, and when the base itself was removed and made again
                await self._in_thread(self._rewatch)
                self._watched = found
            self._start_bays(tasks, await self._in_thread(_directories, self._base))
            await _wait(self._base_hint, self._rescan_s)

    def _rewatch(self) -> None:
        self._hints.stop()
        self._hints.start()
        for name in list(self._bays):
            self._hints.follow(name)

    def _start_bays(self, tasks: asyncio.TaskGroup, names: list[bytes]) -> None:
        new = [name for name in names if name not in self._bays]
        room = MAX_BAYS - len(self._bays)
        if len(new) > room:
            _log.warning("dock.too_many_bays", extra={"dock": self._dock, "directories": len(names)})
        for name in new[:room]:
            self._bays[name] = _Bay(bay_name(name), asyncio.Event())
            tasks.create_task(self._keep_bay(name), name=f"bay {bay_name(name)}")

    def _take_hint(self, name: bytes, removed: bool) -> None:
        if removed and not name:
            self._watched = None
        self._base_hint.set()
        bay = self._bays.get(name)
        if bay is not None:
            bay.hint(removed)

    async def _keep_bay(self, name: bytes) -> None:
        """Look, tell, wait, until the directory is gone."""
        bay = self._bays[name]
        await self._in_thread(self._hints.follow, name)
        state = Settling()
        try:
            while True:
                started_s = self._clock()
                seen = await self._in_thread(self._look, name, bay.name)
                state = await self._tell(bay, state, seen)
                if seen is None:
                    return
                await self._pause(bay, state, took_s=self._clock() - started_s)
        finally:
            del self._bays[name]
            self._base_hint.set()
            await asyncio.shield(self._in_thread(self._hints.unfollow, name))

    def _look(self, name: bytes, bay: str) -> _Seen | None:
        """Blocks. None when there is no volume."""
        try:
            volume = TreeVolume.at(
                os.path.join(self._base, name), dock=self._dock, bay=bay, label=display_path(name)
            )
            return _Seen(Look(volume.generation, fingerprint(volume)), volume)
        except VolumeVanishedError:
            return None

    async def _tell(self, bay: _Bay, state: Settling, seen: _Seen | None) -> Settling:
        if bay.removed:
            bay.removed = False
            state = await self._settle(bay, state, None)
        return await self._settle(bay, state, seen)

    async def _settle(self, bay: _Bay, state: Settling, seen: _Seen | None) -> Settling:
        look = None if seen is None else seen.look
        state, changes = settle(state, look, now_s=self._clock(), settle_s=self._settle_s)
        for change in changes:
            await self.events.put(_event(bay.name, change, seen))
        return state

    async def _pause(self, bay: _Bay, state: Settling, *, took_s: float) -> None:
        """Until the next look is worth it: soon while unsettled, else at a hint or a rescan."""
        due_s = state.due_s(self._settle_s)
        bay.idle = due_s is None
        if due_s is None:
            wait_s = max(self._rescan_s, _LOOK_SHARE * took_s)
        else:
            wait_s = max(due_s - self._clock(), _SHORTEST_WAIT_S)
        await _wait(bay.wake, wait_s)
        bay.wake.clear()


def _event(bay: str, change: Change, seen: _Seen | None) -> DockEvent:
    if change is Change.VANISHED or seen is None:
        return VolumeVanished(bay)
    kind = VolumeAppeared if change is Change.APPEARED else VolumeChanged
    return kind(bay, seen.volume)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


def _base_key(base: bytes) -> tuple[int, int]:
    """Blocks. Makes the directory when it is missing. Raises OSError."""
    os.makedirs(base, exist_ok=True)
    found = os.stat(base)
    return found.st_dev, found.st_ino


def _directories(base: bytes) -> list[bytes]:
    """Blocks. The names of the volumes, sorted; a base that vanished has none until it is made again."""
    try:
        with os.scandir(base) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(b".") and entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []
