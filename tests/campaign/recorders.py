"""Recorders, their files, and the truth about them: every version of every file that ever was on one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from agent.ports import DockEvent, FileIdentity, VolumeAppeared, VolumeIdentity, VolumeVanished
from tests.support.memory_volume import MemoryFile, MemoryVolume


@dataclass(frozen=True, slots=True)
class Version:
    """A file's bytes at one time."""

    recorder: str
    path: bytes
    content: bytes
    modified_ns: int


@dataclass(eq=False)
class Recorder:
    """One recorder; its files stay with it wherever it goes."""

    name: str
    start_ns: int
    files: dict[bytes, MemoryFile] = field(default_factory=dict)
    truth: list[Version] = field(default_factory=list)
    plugged: int = 0
    volume: DockedVolume | None = None
    place: tuple[str, str] | None = None
    strained: set[bytes] = field(default_factory=set)
    alike: set[bytes] = field(default_factory=set)
    """Files that look like the one before them in every respect."""
    erased: list[Version] = field(default_factory=list)
    on_erased: Callable[[Version], None] = lambda _: None
    _changes: int = 0

    def put(self, path: bytes, content: bytes) -> None:
        """A new file, or another one under an old name."""
        self._changes += 1
        modified_ns = self.start_ns + self._changes * 2_000_000_000
        self.files[path] = MemoryFile(content, modified_ns, 10 + self._changes)
        self.truth.append(Version(self.name, path, content, modified_ns))

    def current(self) -> list[Version]:
        """What is on it now."""
        return [Version(self.name, path, found.data, found.modified_ns) for path, found in self.files.items()]

    def note_growth(self, path: bytes) -> None:
        found = self.files[path]
        self.truth.append(Version(self.name, path, found.data, found.modified_ns))


class DockedVolume(MemoryVolume):
    """A recorder's volume for as long as it stays plugged in. Every access is a place to give way."""

    def __init__(self, recorder: Recorder, bay: str, generation: str, pause: Callable[[], None]) -> None:
        super().__init__({}, bay=bay, label=recorder.name.upper())
        self.files = recorder.files
        self._recorder = recorder
        self.generation = generation
        self._pause = pause

    def lose(self) -> None:
        """Gone, and with it what was erased and not yet flushed: those files are there again."""
        self.vanish()
        self.files.update(self._unflushed)

    def identify(self) -> VolumeIdentity:
        return replace(super().identify(), generation=self.generation)

    def erase(self, raw_path: bytes, expected: FileIdentity) -> None:
        before = {version.path: version for version in self._recorder.current()}
        try:
            super().erase(raw_path, expected)
        finally:
            if raw_path not in self.files and raw_path in before:
                self._recorder.erased.append(before[raw_path])
                self._recorder.on_erased(before[raw_path])

    def check_there(self) -> None:
        self._pause()
        super().check_there()


@dataclass(eq=False)
class SimDock:
    """The bays of one station. They outlive the agent; each run of it watches anew."""

    station: str
    name: str = "memory"
    bays: dict[str, Recorder] = field(default_factory=dict)
    _watchers: list[asyncio.Queue[DockEvent]] = field(default_factory=list)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[DockEvent]]:
        queue: asyncio.Queue[DockEvent] = asyncio.Queue()
        for bay, recorder in sorted(self.bays.items()):
            assert recorder.volume is not None
            queue.put_nowait(VolumeAppeared(bay, recorder.volume))
        self._watchers = [queue]
        yield self._events(queue)

    async def _events(self, queue: asyncio.Queue[DockEvent]) -> AsyncIterator[DockEvent]:
        while True:
            yield await queue.get()

    def tell(self, event: DockEvent) -> None:
        for queue in self._watchers:
            queue.put_nowait(event)

    def plug(self, recorder: Recorder, bay: str, boots: int, pause: Callable[[], None]) -> None:
        """The recorder is put into a bay, which must be free."""
        assert bay not in self.bays, f"{bay} holds {self.bays[bay].name}"
        recorder.plugged += 1
        generation = f"{recorder.name}:{recorder.plugged}:{boots}"
        recorder.volume = DockedVolume(recorder, bay, generation, pause)
        recorder.place = (self.station, bay)
        self.bays[bay] = recorder
        self.tell(VolumeAppeared(bay, recorder.volume))

    def pull(self, bay: str) -> None:
        """The recorder is taken away, whatever is being done with it."""
        recorder = self.bays.pop(bay)
        assert recorder.volume is not None
        recorder.volume.lose()
        recorder.volume = recorder.place = None
        self.tell(VolumeVanished(bay))

    def reboot(self, boots: int, pause: Callable[[], None]) -> None:
        """After a power cut everything is mounted anew."""
        for bay, recorder in sorted(self.bays.items()):
            assert recorder.volume is not None
            recorder.volume.lose()
            self._watchers = []
            del self.bays[bay]
            self.plug(recorder, bay, boots, pause)
