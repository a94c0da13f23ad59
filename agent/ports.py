"""The outside things the agent's rules need, each behind one small port, and the values that cross it.

Every port has an in-memory twin in the tests, and one contract suite runs on both. Methods of ``RecorderVolume``,
``ErasableVolume`` and ``FileReader`` block and are called in threads; ``Dock`` belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias

from protocol.statements import RecorderClock


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeIdentity:
    """What a volume (存储卷) shows of itself. ``generation`` differs when something else lies at the same place:
    another mount, another folder, another boot. What is not known is None."""

    dock: str
    bay: str
    label: str | None
    generation: str
    fs_type: str | None
    total_bytes: int | None
    free_bytes: int | None


class Obstacle(StrEnum):
    """Why an entry of a volume is no file that could be read; the value is the rule of its listing row."""

    SYMBOLIC_LINK = "symbolic-link"
    NOT_A_REGULAR_FILE = "not-a-regular-file"
    UNREADABLE_FOLDER = "folder-unreadable"
    UNREADABLE_ENTRY = "entry-unreadable"
    TOO_DEEP = "folder-too-deep"
    PATH_TOO_LONG = "path-too-long"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedEntry:
    """One file of a scan, or a thing that stands in the way of one. Folders appear only with an obstacle."""

    raw_path: bytes
    size_bytes: int
    modified_ns: int | None
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """What must stay the same while a file is read, and until it is erased without reading it again."""

    size_bytes: int
    modified_ns: int
    inode: int


class FileReader(Protocol):
    """One file opened for one sequential read. Closing twice is harmless."""

    @property
    def opened_as(self) -> FileIdentity:
        """The file as it was when opened."""

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` as far as one read goes and return the number of bytes, 0 at the end of the file.

        Raises FileUnreadableError or VolumeVanishedError.
        """

    def verify_unchanged(self) -> None:
        """Raises FileChangedError when the file is no longer as it was opened, and as ``readinto``."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ErasableVolume(Protocol):
    """A recorder's storage opened for release (清除放行). It can be read, and the one change it knows is to erase a
    file. What was erased is durable when the context it came from was left without an error, not before.

    Every method raises VolumeVanishedError once the volume is gone or replaced.
    """

    def identify(self) -> VolumeIdentity:
        """The volume as it is opened now: its owner compares it with the one that was read."""

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> FileReader:
        """As ``RecorderVolume.open_file``, to read a file again before it is erased."""

    def erase(self, raw_path: bytes, expected: FileIdentity) -> None:
        """Erase the file if it is still the expected one; its folder stays. Links are not followed.

        Raises FileGoneError, FileReplacedError, PathUnsafeError, FileNotErasedError (also when it may be erased
        nevertheless: only a listing tells), VolumeReadOnlyError.
        """


class RecorderVolume(Protocol):
    """A recorder's storage as files: listed and read, never written but for ``open_for_release``.

    Every method raises VolumeVanishedError once the volume is gone or replaced, even by one at the same place.
    """

    def identify(self) -> VolumeIdentity:
        """The volume as it shows itself now; space changes, the generation does not."""

    def scan(self) -> Iterator[ScannedEntry]:
        """Everything on the volume, in no particular order, links never followed.

        Raises VolumeUnreadableError or TooManyFilesError.
        """

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> FileReader:
        """Open a regular file at an offset. Raises PathUnsafeError for a path that leaves the volume or leads
        over a link or to no regular file, FileUnreadableError for one that cannot be opened."""

    def open_for_release(self) -> AbstractContextManager[ErasableVolume]:
        """The volume writable, from entering to leaving; afterwards it is read-only again and whoever lists it sees
        what its medium holds.

        Entering raises VolumeReadOnlyError, VolumeDirtyError: then nothing was changed. Leaving raises
        ErasureUnsureError when what was erased may not be durable.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a recorder said of itself before it showed its storage (设备自述). Claims of the device; what it did not say
    is None. ``family`` is the firmware profile whose questions it answered."""

    family: str | None = None
    recorder: str | None = None
    officer: str | None = None
    battery_percent: int | None = None
    firmware: str | None = None
    clock: RecorderClock | None = None


NOTHING_SAID: Final = DeviceFacts()
"""Of a volume that is just there."""


class DockStage(StrEnum):
    """What a dock does with a recorder before its volume can be read."""

    IDENTIFYING = "identifying"
    SWITCHING = "switching"
    MOUNTING = "mounting"


@dataclass(frozen=True, slots=True)
class BayBusy:
    """A recorder is at the bay and being made readable."""

    bay: str
    stage: DockStage


@dataclass(frozen=True, slots=True)
class BayTroubled:
    """A recorder is at the bay that cannot be read; ``code`` and ``detail`` say why. A later event may take it back."""

    bay: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class VolumeAppeared:
    """A volume is there and quiet: a visit begins. Recorders at one ``hub`` share its transfer rate."""

    bay: str
    volume: RecorderVolume
    facts: DeviceFacts = NOTHING_SAID
    hub: str = ""


@dataclass(frozen=True, slots=True)
class VolumeChanged:
    """Something on an announced volume changed and is quiet again: new files of a network drop, or an erasure."""

    bay: str
    volume: RecorderVolume


@dataclass(frozen=True, slots=True)
class VolumeVanished:
    """The volume announced at this bay is gone, or the recorder that could not be read."""

    bay: str


DockEvent: TypeAlias = BayBusy | BayTroubled | VolumeAppeared | VolumeChanged | VolumeVanished


class Dock(Protocol):
    """A source of recorder volumes (采集接口)."""

    @property
    def name(self) -> str: ...

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[DockEvent]]:
        """Watch from entering to leaving. Volumes already there come first; per bay, events alternate in order: busy
        or troubled any number of times, appeared, changed any number of times, vanished. The iterator ends only by an
        error or by leaving."""
