"""A recorder's file system behind the mounter (存储卷): read-only but for the moments of a release."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.ports import ErasableVolume, FileReader, ScannedEntry, VolumeIdentity
from agent.usb.errors import DeviceGoneError, UsbError
from agent.usb.ports import Mounted, Mounter, VolumeSeen
from agent.volumes.errors import VolumeUnreadableError, VolumeVanishedError
from agent.volumes.tree import TreeVolume


@dataclass(slots=True, kw_only=True)
class UsbVolume:
    """A ``RecorderVolume`` over one mounted file system. Its generation is that of the medium: mounted anew for a
    release and after it, it is still the same volume; another medium at the same port never is."""

    seen: VolumeSeen
    dock: str
    bay: str
    mounter: Mounter
    mounted: Mounted
    _tree: TreeVolume = field(init=False)

    def __post_init__(self) -> None:
        self._tree = self._tree_at(self.mounted)

    def identify(self) -> VolumeIdentity:
        return self._tree.identify()

    def scan(self) -> Iterator[ScannedEntry]:
        return self._tree.scan()

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> FileReader:
        return self._tree.open_file(raw_path, offset_bytes=offset_bytes)

    @contextmanager
    def open_for_release(self) -> Iterator[ErasableVolume]:
        """See ``RecorderVolume``. Whatever happens in between, the volume is read-only again afterwards, and what it
        then lists comes from the medium. Raises VolumeDirtyError and VolumeReadOnlyError of the mounter as well."""
        with _as_volume_errors():
            writable = self.mounter.remount_for_release(self.seen)
        try:
            with self._tree_at(writable).open_for_release() as opened:
                yield opened
        finally:
            with _as_volume_errors():
                self.mounted = self.mounter.mount_read_only(self.seen)
            self._tree = self._tree_at(self.mounted)

    def _tree_at(self, mounted: Mounted) -> TreeVolume:
        return TreeVolume.at(
            mounted.directory,
            dock=self.dock,
            bay=self.bay,
            label=self.seen.label,
            medium=self.seen.generation,
        )


@contextmanager
def _as_volume_errors() -> Iterator[None]:
    """What the mounter says of a medium that is gone, in the words of those who read volumes."""
    try:
        yield
    except DeviceGoneError as error:
        raise VolumeVanishedError(str(error)) from error
    except UsbError as error:
        raise VolumeUnreadableError(f"{error.code}: {error}") from error
