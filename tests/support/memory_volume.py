"""A recorder's volume in memory: the twin of ``agent.volumes.tree.TreeVolume``, with faults on demand.

It can vanish after a number of bytes, fail at an offset of a file, grow a file while it is read, and give short
reads. Opened for release it can refuse, fail to erase, erase although it reports a failure, vanish between two
erasures, and lose whatever was not yet flushed. Everything else behaves as the contract suite demands of both.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from agent.ports import FileIdentity, Obstacle, ScannedEntry, VolumeIdentity
from agent.volumes.errors import (
    ErasureUnsureError,
    FileChangedError,
    FileGoneError,
    FileNotErasedError,
    FileReplacedError,
    FileUnreadableError,
    PathUnsafeError,
    VolumeDirtyError,
    VolumeReadOnlyError,
    VolumeVanishedError,
)
from protocol.errors import ProtocolError
from protocol.listing import check_raw_path

FIRST_TIME_NS = 1_769_847_330_000_000_000
"""2026-01-31T08:15:30Z; each later change is one second on."""


@dataclass(slots=True)
class MemoryFile:
    """``fails_at`` maps offsets to error numbers; ``grows_at`` maps offsets to bytes appended when reached;
    ``erase_fails`` is the error number its erasing reports, and ``erased_all_the_same`` whether that is a lie."""

    data: bytes
    modified_ns: int
    inode: int
    fails_at: dict[int, int] = field(default_factory=dict)
    grows_at: dict[int, bytes] = field(default_factory=dict)
    erase_fails: int | None = None
    erased_all_the_same: bool = False

    def identity(self) -> FileIdentity:
        return FileIdentity(size_bytes=len(self.data), modified_ns=self.modified_ns, inode=self.inode)


_NUMBERS: Final = itertools.count()
"""Two volumes are never the same one, also when the first is long gone."""


class MemoryVolume:
    """A ``RecorderVolume`` whose files are given as bytes."""

    def __init__(
        self,
        files: Mapping[bytes, bytes],
        *,
        obstacles: Mapping[bytes, Obstacle] | None = None,
        bay: str = "bay-1",
        label: str | None = None,
        max_read_bytes: int | None = None,
    ) -> None:
        self.files: dict[bytes, MemoryFile] = {}
        self.obstacles = dict(obstacles or {})
        self.max_read_bytes = max_read_bytes
        self.bytes_read = 0
        self.read_only = False
        self.dirty = False
        self.flush_fails = False
        self.erased = 0
        self.on_release: Callable[[str], None] = lambda _: None
        """Called with "erase", "erased", "flush", "flushed" before and after each: may change the volume, or raise."""
        self._unflushed: dict[bytes, MemoryFile] = {}
        self._number = next(_NUMBERS)
        self._mounts = 0
        self._bay = bay
        self._label = label
        self._clock_ns = FIRST_TIME_NS
        self._next_inode = 10
        self._vanish_after: int | None = None
        for raw_path, data in files.items():
            self.put(raw_path, data)

    def put(self, raw_path: bytes, data: bytes) -> MemoryFile:
        """Add or replace a file."""
        self._next_inode += 1
        self.files[raw_path] = MemoryFile(data, self._tick(), self._next_inode)
        return self.files[raw_path]

    def append(self, raw_path: bytes, data: bytes) -> None:
        found = self.files[raw_path]
        found.data += data
        found.modified_ns = self._tick()

    def vanish(self) -> None:
        """Unplug it now."""
        self._vanish_after = self.bytes_read

    def vanish_after(self, more_bytes: int) -> None:
        """Unplug it when that many more bytes were read."""
        self._vanish_after = self.bytes_read + more_bytes

    def plug_in(self, *, lost_unflushed: bool = False, same_mount: bool = False) -> None:
        """Put it back, as another mount: erasures that were not flushed are undone or not, and the medium tells. In the
        same mount it goes on showing them, whatever the medium holds."""
        self._vanish_after = None
        if same_mount:
            return
        if lost_unflushed:
            self.files = {**self._unflushed, **self.files}
        self._unflushed.clear()
        self._mounts += 1

    def identify(self) -> VolumeIdentity:
        self.check_there()
        return VolumeIdentity(
            dock="memory",
            bay=self._bay,
            label=self._label,
            generation=f"memory:{self._number:09}:{self._mounts}",
            fs_type="memory",
            total_bytes=64 * 2**30,
            free_bytes=64 * 2**30 - sum(len(found.data) for found in self.files.values()),
        )

    def scan(self) -> Iterator[ScannedEntry]:
        self.check_there()
        for raw_path, found in list(self.files.items()):
            self.check_there()
            yield ScannedEntry(raw_path=raw_path, size_bytes=len(found.data), modified_ns=found.modified_ns)
        for raw_path, obstacle in self.obstacles.items():
            yield ScannedEntry(raw_path=raw_path, size_bytes=0, modified_ns=None, obstacle=obstacle)

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> MemoryFileReader:
        self.check_there()
        try:
            check_raw_path(raw_path)
        except ProtocolError as error:
            raise PathUnsafeError(str(error)) from error
        if raw_path in self.files:
            return MemoryFileReader(self, self.files[raw_path], offset_bytes)
        if self._is_no_regular_file(raw_path):
            raise PathUnsafeError(f"not a regular file: {raw_path!r}")
        raise FileUnreadableError(f"cannot read {raw_path!r}", errno_value=errno.ENOENT)

    @contextmanager
    def open_for_release(self) -> Iterator[ErasableMemory]:
        self.check_there()
        if self.read_only:
            raise VolumeReadOnlyError(f"the volume at bay {self._bay} is locked")
        if self.dirty:
            raise VolumeDirtyError(f"the volume at bay {self._bay} was not left in order")
        yield ErasableMemory(self)
        self.on_release("flush")
        self.check_there()
        if self.flush_fails:
            raise ErasureUnsureError("the flush failed")
        self._unflushed.clear()
        self.on_release("flushed")

    def erase(self, raw_path: bytes, expected: FileIdentity) -> None:
        """For ``ErasableMemory``."""
        self.on_release("erase")
        found = self._file_to_erase(raw_path)
        if found.identity() != expected:
            raise FileReplacedError(f"{raw_path!r} is {found.identity()}, not {expected}")
        if found.erase_fails is None or found.erased_all_the_same:
            self._unflushed[raw_path] = self.files.pop(raw_path)
            self.erased += 1
        self.on_release("erased")
        if found.erase_fails is not None:
            raise FileNotErasedError(f"cannot erase {raw_path!r}", errno_value=found.erase_fails)

    def _file_to_erase(self, raw_path: bytes) -> MemoryFile:
        """Raises FileGoneError, PathUnsafeError."""
        try:
            self.open_file(raw_path).close()
        except FileUnreadableError as error:
            raise FileGoneError(f"not there any more: {raw_path!r}") from error
        return self.files[raw_path]

    def _is_no_regular_file(self, raw_path: bytes) -> bool:
        names = raw_path.split(b"/")
        above = {b"/".join(names[:depth]) for depth in range(1, len(names))}
        is_folder = any(path.startswith(raw_path + b"/") for path in self.files)
        return is_folder or raw_path in self.obstacles or not above.isdisjoint({*self.files, *self.obstacles})

    def check_there(self) -> None:
        if self._vanish_after is not None and self.bytes_read >= self._vanish_after:
            raise VolumeVanishedError(f"the volume at bay {self._bay} is gone")

    def readable_now(self, wanted: int) -> int:
        """How much of a read is possible before the volume vanishes."""
        self.check_there()
        limits = [wanted]
        if self.max_read_bytes is not None:
            limits.append(self.max_read_bytes)
        if self._vanish_after is not None:
            limits.append(self._vanish_after - self.bytes_read)
        return min(limits)

    def _tick(self) -> int:
        self._clock_ns += 1_000_000_000
        return self._clock_ns


class ErasableMemory:
    """An ``ErasableVolume`` over a ``MemoryVolume``."""

    def __init__(self, volume: MemoryVolume) -> None:
        self._volume = volume

    def identify(self) -> VolumeIdentity:
        return self._volume.identify()

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> MemoryFileReader:
        return self._volume.open_file(raw_path, offset_bytes=offset_bytes)

    def erase(self, raw_path: bytes, expected: FileIdentity) -> None:
        self._volume.erase(raw_path, expected)


class MemoryFileReader:
    """A ``FileReader`` over a ``MemoryFile``."""

    def __init__(self, volume: MemoryVolume, found: MemoryFile, offset: int) -> None:
        self._volume = volume
        self._file = found
        self._offset = offset
        self._closed = False
        self.opened_as = found.identity()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        if self._closed:
            raise FileUnreadableError("the reader is closed", errno_value=errno.EBADF)
        self._meet_events()
        ahead = [mark for mark in (*self._file.fails_at, *self._file.grows_at) if mark > self._offset]
        wanted = min([len(buffer), *(mark - self._offset for mark in ahead)])
        piece = self._file.data[self._offset : self._offset + self._volume.readable_now(wanted)]
        memoryview(buffer)[: len(piece)] = piece
        self._offset += len(piece)
        self._volume.bytes_read += len(piece)
        return len(piece)

    def _meet_events(self) -> None:
        number = self._file.fails_at.get(self._offset)
        if number is not None:
            raise FileUnreadableError("cannot read", errno_value=number)
        more = self._file.grows_at.pop(self._offset, None)
        if more is not None:
            self._file.data += more
            self._file.modified_ns += 1_000_000_000

    def verify_unchanged(self) -> None:
        self._volume.check_there()
        now = self._file.identity()
        if now != self.opened_as:
            raise FileChangedError(f"was {self.opened_as} and is {now}")

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
