"""A volume's block devices, opened: from here on no name counts.

While a device is open its number is given to no other, so what was checked is what gets mounted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.mounting import kernel
from agent.mounting.sysfs import BlockSeen
from agent.usb.errors import DeviceGoneError, MountBusyError


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedVolume:
    """Descriptors of the volume and of the disk it lies on, the same device for a medium without partitions."""

    block: BlockSeen
    node: Path
    volume: int
    disk: int

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.volume, length, offset)

    def protect(self) -> None:
        """Nothing reaches the medium any more, whoever writes. The disk first: partitions follow it."""
        kernel.set_read_only(self.disk, True)
        kernel.set_read_only(self.volume, True)

    def unprotect(self) -> bool:
        """False for a medium that is protected by itself. Other partitions of the disk stay protected."""
        kernel.set_read_only(self.disk, False)
        kernel.set_read_only(self.volume, False)
        return not kernel.is_read_only(self.volume)

    def settle(self) -> None:
        """After an unmount: raises OSError if something did not reach the medium; forgets what is cached."""
        os.fsync(self.volume)
        kernel.drop_cache(self.volume)
        kernel.drop_cache(self.disk)


@contextmanager
def opened_volume(dev: Path, block: BlockSeen) -> Iterator[OpenedVolume]:
    """Raises DeviceGoneError when under these names there is another device by now."""
    volume = _open(dev / block.name, block.device, block.disk_sequence)
    try:
        disk = _open(dev / block.disk, block.disk_device, block.disk_sequence)
        try:
            yield OpenedVolume(block=block, node=dev / block.name, volume=volume, disk=disk)
        finally:
            os.close(disk)
    finally:
        os.close(volume)


def check_unused(node: Path) -> None:
    """Raises MountBusyError when a file system, swap or another device has claimed the device, in whatever mount
    namespace."""
    try:
        os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise MountBusyError(f"{node} is in use") from error
        raise


def _open(node: Path, device: str, disk_sequence: int) -> int:
    try:
        descriptor = os.open(node, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceGoneError(f"{node} cannot be opened: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        if not stat.S_ISBLK(found.st_mode) or number != device:
            raise DeviceGoneError(f"{node} is {number}, expected {device}")
        if kernel.disk_sequence(descriptor) != disk_sequence:
            raise DeviceGoneError(f"{node} is another medium by now")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
