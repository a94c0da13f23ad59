"""Machines with USB ports for the contract of the bus: one in memory, one made by umockdev.

Under umockdev-wrapper the real bus is tested, else the one in memory: a process is either.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Protocol

from agent.usb.bus import SystemUsbBus
from agent.usb.ports import DeviceSeen, UsbBus, VolumeSeen
from tests.support.memory_usb import MemoryUsbBus
from tests.support.mock_usb import MockUsb, is_mocked
from tests.support.usb_recorders import STORAGE_CLASS, Recorder


class UsbWorld(Protocol):
    """What a test may do to the machine, and the bus that must notice."""

    @property
    def bus(self) -> UsbBus: ...

    def plug(self, recorder: Recorder, port_path: str) -> None: ...

    def unplug(self, port_path: str) -> None: ...

    def show_partition(self, port_path: str, number: int, *, lun: int, fs_type: str, label: str) -> None:
        """On a medium with a partition table; the first one of a unit brings the medium."""

    def show_medium(self, port_path: str, *, lun: int, fs_type: str) -> None:
        """A medium without a partition table."""

    def protect_medium(self, port_path: str, *, lun: int) -> None:
        """The kernel is told to write nothing to this medium any more, and udev looks at it again."""

    def clear(self) -> None: ...


class MemoryWorld:
    """Everything in this process's memory."""

    def __init__(self) -> None:
        self.bus = MemoryUsbBus()
        self._sequence = 0

    def plug(self, recorder: Recorder, port_path: str) -> None:
        self.bus.plug(recorder, port_path)

    def unplug(self, port_path: str) -> None:
        self.bus.unplug(port_path)

    def show_partition(self, port_path: str, number: int, *, lun: int, fs_type: str, label: str) -> None:
        self._show(self._volume(port_path, lun, fs_type), partition=number, label=label)

    def show_medium(self, port_path: str, *, lun: int, fs_type: str) -> None:
        self._show(self._volume(port_path, lun, fs_type))

    def protect_medium(self, port_path: str, *, lun: int) -> None:
        relabelled = [
            replace(volume, label="READ AGAIN") if volume.lun == lun else volume
            for volume in self.bus.volumes(port_path)
        ]
        self.bus.show_volumes(port_path, *relabelled)

    def clear(self) -> None:
        for device in self.bus.devices():
            self.bus.unplug(device.port_path)

    def _volume(self, port_path: str, lun: int, fs_type: str) -> VolumeSeen:
        self._sequence += 1
        return VolumeSeen(
            port_path=port_path,
            generation=f"memory:{self._sequence}",
            device_node=f"/dev/sd{lun}",
            lun=lun,
            partition=0,
            size_bytes=1 << 20,
            fs_type=fs_type,
            label=None,
        )

    def _show(self, volume: VolumeSeen, **changes: object) -> None:
        shown = (*self.bus.volumes(volume.port_path), replace(volume, **changes))  # type: ignore[arg-type]
        ordered = sorted(shown, key=lambda each: (each.lun, each.partition))
        self.bus.show_volumes(volume.port_path, *ordered)


class MockWorld:
    """The real bus over a sysfs and a usbfs made by umockdev."""

    def __init__(self) -> None:
        self.mock = _mock()
        self.bus = SystemUsbBus()

    def plug(self, recorder: Recorder, port_path: str) -> None:
        self.mock.plug(recorder, port_path)
        if recorder.faces[0].class_code == STORAGE_CLASS:
            self.mock.show_scsi(port_path)

    def unplug(self, port_path: str) -> None:
        self.mock.unplug(port_path)

    def show_partition(self, port_path: str, number: int, *, lun: int, fs_type: str, label: str) -> None:
        if all(volume.lun != lun for volume in self.bus.volumes(port_path)):
            self.mock.show_block(port_path, lun=lun, ID_PART_TABLE_TYPE="dos")
        escaped = label.replace(" ", "\\x20")
        self.mock.show_block(
            port_path, lun=lun, partition=number, ID_FS_TYPE=fs_type, ID_FS_LABEL_ENC=escaped
        )

    def show_medium(self, port_path: str, *, lun: int, fs_type: str) -> None:
        self.mock.show_block(port_path, lun=lun, ID_FS_TYPE=fs_type)

    def protect_medium(self, port_path: str, *, lun: int) -> None:
        self.mock.protect_block(port_path, lun=lun, ID_FS_LABEL_ENC="READ\\x20AGAIN")

    def clear(self) -> None:
        self.mock.unplug_all()


def make_world() -> UsbWorld:
    """The machine that this process can have."""
    return MockWorld() if is_mocked() else MemoryWorld()


@cache
def _mock() -> MockUsb:
    return MockUsb()


def device_at(bus: UsbBus, port_path: str) -> DeviceSeen:
    """The device at this port, which must be there."""
    return next(device for device in bus.devices() if device.port_path == port_path)
