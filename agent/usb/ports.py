"""What the USB dock needs of the machine, each behind one small port, and the values that cross it.

A *port path* is where something is plugged in: the kernel's name of the USB port, such as ``1-2.4`` (bus 1, port 2 of
the root hub, port 4 of the hub there). It names a bay, because serial numbers of recorders are often equal on every
unit. Every port has an in-memory twin in the tests, and one contract suite runs on both. All methods block and are
called in threads, except ``UsbBus.hints``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self


class TransferKind(StrEnum):
    """How an endpoint moves data (USB 2.0 section 4.7)."""

    CONTROL = "control"
    ISOCHRONOUS = "isochronous"
    BULK = "bulk"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSeen:
    """One endpoint. ``address`` as in its descriptor: bit 7 set means from device to host."""

    address: int
    kind: TransferKind
    max_packet_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceSeen:
    """One interface in its first setting. The three codes are those of the USB-IF's table of class codes."""

    number: int
    class_code: int
    subclass_code: int
    protocol_code: int
    endpoints: tuple[EndpointSeen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSeen:
    """A device as its descriptors show it; nothing was sent but standard requests.

    ``generation`` differs whenever the device was enumerated anew, even at the same port: boot and the bus's own
    counter. ``release_bcd`` is bcdDevice. Strings the device does not have are None; they are claims, at most 126
    characters each, and may hold anything.
    """

    port_path: str
    generation: str
    vendor_id: int
    product_id: int
    release_bcd: int
    device_class: int
    manufacturer: str | None
    product: str | None
    serial: str | None
    speed_mbit: int | None
    interfaces: tuple[InterfaceSeen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSeen:
    """A block device, whole or a partition, that carries a file system, below a device at a port.

    Equal while it is the same medium at the same place, whatever happens to it meanwhile. ``generation`` differs
    whenever another medium lies there, even under the same name: the kernel's ``diskseq`` and the device number.
    ``lun`` is the logical unit, ``partition`` 0 for a medium without a table. ``fs_type`` and ``label`` are what
    libblkid reads from the medium; None when it cannot tell, and it looks again after every writing.
    """

    port_path: str
    generation: str
    device_node: str
    lun: int
    partition: int
    size_bytes: int
    fs_type: str | None = field(compare=False)
    label: str | None = field(compare=False)


def volume_generation(*, disk_sequence: int, device: str) -> str:
    """One spelling for whoever looks and whoever mounts: ``device`` is "major:minor" of the volume itself."""
    return f"{disk_sequence}/{device}"


class UsbChannel(Protocol):
    """A conversation with one device. One interface is claimed while it is open; closing twice is harmless. A
    mass-storage interface stays with the kernel's driver instead: it takes ``scsi`` alone, every other interface
    everything but that, and what it does not take raises TransferRefusedError.

    Every method raises DeviceGoneError, DeviceSilentError after ``timeout_ms``, TransferRefusedError for a stall.
    """

    def control_out(
        self, *, request_type: int, request: int, value: int, index: int, data: bytes, timeout_ms: int
    ) -> None: ...

    def control_in(
        self, *, request_type: int, request: int, value: int, index: int, length: int, timeout_ms: int
    ) -> bytes: ...

    def write(self, endpoint: int, data: bytes, *, timeout_ms: int) -> None:
        """To a bulk or interrupt endpoint, all of it or an error."""

    def read(self, endpoint: int, length: int, *, timeout_ms: int) -> bytes:
        """One transfer from a bulk or interrupt endpoint: at most ``length`` bytes, possibly none."""

    def scsi(self, cdb: bytes, *, data_out: bytes = b"", length_in: int = 0, timeout_ms: int) -> bytes:
        """One SCSI command to the first logical unit (SAM-5). Raises TransferRefusedError for a check condition."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class UsbBus(Protocol):
    """All USB devices of the machine and the volumes behind them."""

    def devices(self) -> tuple[DeviceSeen, ...]:
        """Everything plugged in, hubs left out, in order of the port path."""

    def volumes(self, port_path: str) -> tuple[VolumeSeen, ...]:
        """File systems of the device at this port, in order of logical unit and partition; none while the kernel is
        still looking for them."""

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Port paths at which something may have changed. A hint may be lost or false: who listens looks again from
        time to time all the same."""

    def open(self, device: DeviceSeen, *, interface: int) -> UsbChannel:
        """Raises DeviceGoneError, also when another device is at that port by now; DeviceBusyError,
        DeviceForbiddenError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounted:
    """A mounted volume: where, and a number that no other mount of this boot has. The directory is another one for
    each medium; the root of a card that came back looks like that of the one before, so compare the number."""

    directory: bytes
    mount_id: int
    fs_type: str
    writable: bool


class Mounter(Protocol):
    """Mounts volumes for the station. Whoever implements it with privileges checks everything anew by itself.

    Every method raises MountRefusedError (not a bay, not what was asked for), MountFailedError (the file system),
    MountBusyError (still in use, or the device hangs), DeviceGoneError, MounterAwayError. ``mount_read_only`` and
    ``unmount`` raise ErasureUnsureError when a medium opened for release did not confirm what was written to it.
    """

    def mount_read_only(self, volume: VolumeSeen) -> Mounted:
        """The medium is made read-only at the block layer first, so that not even a journal is replayed; then mounted
        without device files, set-uid or execution. What is mounted for release is unmounted, synced and mounted anew;
        what is mounted read-only already stays the mount it is."""

    def remount_for_release(self, volume: VolumeSeen) -> Mounted:
        """Unmounts the read-only mount and mounts anew for writing. Raises VolumeDirtyError when the file system was
        not cleanly unmounted by its recorder, VolumeReadOnlyError for a write-protected medium; then nothing was
        changed and the volume is mounted read-only again."""

    def unmount(self, port_path: str) -> None:
        """All mounts of this port, with everything synced; a device that is gone is let go. Nothing mounted is no
        error."""
