"""The mounts of one bay: what the helper does for a request, step by step. Blocking; one request at a time.

Guarantees: nothing reaches a medium but while it is mounted for release; what is mounted is the medium that was asked
for, at a port that is a bay; a medium in use by anything else is left alone.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.mounting import kernel
from agent.mounting.filesystems import Examined, examine
from agent.mounting.opened import OpenedVolume, check_unused, opened_volume
from agent.mounting.options import mount_options
from agent.mounting.places import make_directory, mounted_devices, remove_directory, volume_directory
from agent.mounting.settings import MounterSettings
from agent.mounting.sysfs import BlockSeen, blocks_below, find_block, is_held
from agent.mounting.wire import Act, Request, Volume
from agent.usb.errors import DeviceGoneError, MountBusyError, MountFailedError, MountRefusedError
from agent.usb.ports import Mounted
from agent.volumes.errors import ErasureUnsureError, VolumeDirtyError, VolumeReadOnlyError

_BUSY_S: Final = 5.0
"""So long an unmount waits for whoever still has a file open: the agent closes its own within moments."""

_POLL_S: Final = 0.05
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESTALE, errno.ENOENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the kernel shows itself, and what was prepared before privileges were given up."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    owners: int | None = None
    next_mount_id: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    block: BlockSeen
    mounted: Mounted

    @property
    def directory(self) -> Path:
        return Path(os.fsdecode(self.mounted.directory))


@dataclass(slots=True)
class BayMounts:
    """All mounts at one port path."""

    port_path: str
    settings: MounterSettings
    machine: Machine
    _held: dict[tuple[int, int], _Held] = field(default_factory=dict)

    def do(self, request: Request) -> Mounted | None:
        """Raises the errors of ``Mounter``."""
        with _system_errors():
            self._let_go_of_the_gone()
            if request.volume is None:
                self._unmount_all()
                return None
            block = self._find(request.volume)
            if request.act is Act.MOUNT_READ_ONLY:
                return self._mount_read_only(block)
            return self._mount_for_release(block)

    def _find(self, volume: Volume) -> BlockSeen:
        block = find_block(
            self.machine.sys, port_path=self.port_path, lun=volume.lun, partition=volume.partition
        )
        if block.generation != volume.generation:
            raise DeviceGoneError(f"at port {self.port_path} is medium {block.generation}, another one")
        return block

    def _mount_read_only(self, block: BlockSeen) -> Mounted:
        held = self._held.get((block.lun, block.partition))
        if held is not None and not held.mounted.writable:
            return held.mounted
        with opened_volume(self.machine.dev, block) as volume:
            if held is not None:
                self._unmount(held, volume)
            self._check_free(volume)
            return self._protect_and_mount(volume)

    def _mount_for_release(self, block: BlockSeen) -> Mounted:
        held = self._held.get((block.lun, block.partition))
        if held is not None and held.mounted.writable:
            return held.mounted
        with opened_volume(self.machine.dev, block) as volume:
            examined = self._examine(volume)
            if examined.disorder is not None:
                raise VolumeDirtyError(f"the volume was not left in order: {examined.disorder}")
            if held is not None:
                self._unmount(held, volume)
            try:
                self._check_free(volume)
                if not volume.unprotect():
                    raise VolumeReadOnlyError("the medium is write-protected")
                return self._mount(volume, examined, writable=True)
            except BaseException:
                with suppress(OSError, AgentError):  # what went wrong first is what is told
                    self._protect_and_mount(volume)
                raise

    def _protect_and_mount(self, volume: OpenedVolume) -> Mounted:
        volume.protect()
        return self._mount(volume, self._examine(volume), writable=False)

    def _examine(self, volume: OpenedVolume) -> Examined:
        examined = examine(volume.read_at)
        if examined.file_system not in self.settings.file_systems:
            raise MountFailedError(f"{examined.file_system} is switched off in the mounter's settings")
        return examined

    def _mount(self, volume: OpenedVolume, examined: Examined, *, writable: bool) -> Mounted:
        settings, file_system = self.settings, examined.file_system
        options = mount_options(
            file_system, writable=writable, user_id=settings.user_id, group_id=settings.group_id
        )
        # What has no owners on the medium was given to the agent by its options.
        owners = None if "uid" in options else self.machine.owners
        mount = kernel.make_mount(file_system, str(volume.node), options, writable=writable, owners=owners)
        directory = volume_directory(settings.base, volume.block)
        try:
            make_directory(settings.base, directory)
            kernel.attach(mount, os.fsencode(directory))
        except OSError:
            remove_directory(directory)
            raise
        finally:
            os.close(mount)
        return self._hold(volume.block, directory, file_system, writable=writable)

    def _hold(self, block: BlockSeen, directory: Path, fs_type: str, *, writable: bool) -> Mounted:
        mounted = Mounted(
            directory=os.fsencode(directory),
            mount_id=self.machine.next_mount_id(),
            fs_type=fs_type,
            writable=writable,
        )
        held = _Held(block=block, mounted=mounted)
        self._held[block.lun, block.partition] = held
        if not _is_mounted(held):
            self._let_go(held)
            raise MountRefusedError("what was mounted is another device")
        if writable and os.statvfs(directory).f_flag & os.ST_RDONLY:
            self._let_go(held)
            raise VolumeReadOnlyError("the file system was mounted for reading only")
        return mounted

    def _check_free(self, volume: OpenedVolume) -> None:
        """Raises MountRefusedError for a disk that something else of this machine lies on, MountBusyError."""
        block = volume.block
        if is_held(self.machine.sys, block.name) or is_held(self.machine.sys, block.disk):
            raise MountRefusedError(f"another device is built upon {block.disk}")
        own = {held.mounted.directory for held in self._held.values()}
        devices = {
            each.device
            for each in blocks_below(self.machine.sys, self.port_path)
            if each.disk_sequence == block.disk_sequence
        }
        if any(device in devices and place not in own for device, place in mounted_devices()):
            raise MountRefusedError(f"a file system of {block.disk} is mounted elsewhere")
        shared = any(held.block.disk_sequence == block.disk_sequence for held in self._held.values())
        check_unused(volume.node if shared else self.machine.dev / block.disk)

    def _unmount_all(self) -> None:
        troubles: list[AgentError | OSError] = []
        for held in list(self._held.values()):
            try:
                with opened_volume(self.machine.dev, held.block) as volume:
                    self._unmount(held, volume)
            except DeviceGoneError:
                self._let_go(held)
            except (AgentError, OSError) as error:
                troubles.append(error)  # what can be unmounted is, whatever the others do
        if troubles:
            raise troubles[0]

    def _unmount(self, held: _Held, volume: OpenedVolume) -> None:
        """Written back and gone; afterwards the medium is protected. Raises MountBusyError, ErasureUnsureError."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                kernel.unmount(held.mounted.directory, lazily=False)
                break
            except OSError as error:
                if error.errno == errno.EINVAL:
                    break  # somebody else has unmounted it
                if error.errno != errno.EBUSY:
                    raise
                if time.monotonic() > deadline:
                    raise MountBusyError(f"files at port {self.port_path} are still open") from error
            time.sleep(_POLL_S)
        self._forget(held)
        try:
            volume.settle()
        except OSError as error:
            if held.mounted.writable:
                raise ErasureUnsureError(f"the medium did not confirm what was written: {error}") from error
            raise
        finally:
            volume.protect()

    def _let_go_of_the_gone(self) -> None:
        there = {
            (block.lun, block.partition): block for block in blocks_below(self.machine.sys, self.port_path)
        }
        for place, held in list(self._held.items()):
            now = there.get(place)
            if now is None or now.generation != held.block.generation or not _is_mounted(held):
                self._let_go(held)

    def _let_go(self, held: _Held) -> None:
        """Without waiting for anybody or anything."""
        with suppress(OSError):
            kernel.unmount(held.mounted.directory, lazily=True)
        self._forget(held)

    def _forget(self, held: _Held) -> None:
        self._held.pop((held.block.lun, held.block.partition), None)
        remove_directory(held.directory)


def _is_mounted(held: _Held) -> bool:
    """Whether its directory shows its device, and neither nothing nor something else."""
    try:
        found = os.stat(held.directory).st_dev
    except OSError:
        return False
    return f"{os.major(found)}:{os.minor(found)}" == held.block.device


@contextmanager
def _system_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise DeviceGoneError(str(error)) from error
        if error.errno == errno.EROFS:
            raise VolumeReadOnlyError(str(error)) from error
        if error.errno == errno.EBUSY:
            raise MountBusyError(str(error)) from error
        raise MountFailedError(str(error)) from error
