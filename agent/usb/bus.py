"""The machine's USB: what is plugged in, told by udev; conversations, held through libusb or the kernel's SCSI driver.

Devices are told apart by port and generation, never by serial number: some makers give every unit the same one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

import pyudev
import usb.backend
import usb.core

from agent.usb.channel import LibusbChannel
from agent.usb.errors import DeviceGoneError
from agent.usb.hints import port_hints
from agent.usb.libusb import load_backend
from agent.usb.ports import DeviceSeen, UsbChannel, VolumeSeen
from agent.usb.scsi import ScsiChannel
from agent.usb.sighting import bus_address, scsi_node, see_device, see_devices, see_volumes

_MASS_STORAGE_CLASS: Final = 0x08

APPEARS_WITHIN_S: Final = 1.0
"""libusb and the SCSI layer learn of a device a little later than udev's list shows it."""

_LOOK_AGAIN_S: Final = 0.05

_Found = TypeVar("_Found")


class SystemUsbBus:
    """Satisfies ``agent.usb.ports.UsbBus``. ``backend`` is asked for at the first conversation."""

    def __init__(self, backend: Callable[[], usb.backend.IBackend] = load_backend) -> None:
        self._backend = backend
        self._contexts = threading.local()  # libudev's handles are not for several threads at once

    def devices(self) -> tuple[DeviceSeen, ...]:
        return see_devices(self._context)

    def volumes(self, port_path: str) -> tuple[VolumeSeen, ...]:
        return see_volumes(self._context, port_path)

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        return port_hints(pyudev.Context())

    def open(self, device: DeviceSeen, *, interface: int) -> UsbChannel:
        """As the port says; LibusbMissingError where there is none. Waits up to ``APPEARS_WITHIN_S``."""
        shown = next((found for found in device.interfaces if found.number == interface), None)
        if shown is not None and shown.class_code == _MASS_STORAGE_CLASS:
            node = self._await(device, lambda: scsi_node(self._context, device.port_path))
            return self._still(device, ScsiChannel(node, is_there=lambda: self._is_there(device)))
        handle = self._await(device, lambda: self._find(device))
        channel = LibusbChannel(handle, device, interface, is_there=lambda: self._is_there(device))
        return self._still(device, channel)

    @property
    def _context(self) -> pyudev.Context:
        context: pyudev.Context | None = getattr(self._contexts, "context", None)
        if context is None:
            context = self._contexts.context = pyudev.Context()
        return context

    def _is_there(self, device: DeviceSeen) -> bool:
        now = see_device(self._context, device.port_path)
        return now is not None and now.generation == device.generation

    def _still(self, device: DeviceSeen, channel: UsbChannel) -> UsbChannel:
        """What was opened by a number is that device only if the device was there before and after."""
        if self._is_there(device):
            return channel
        channel.close()
        raise DeviceGoneError(f"what was at port {device.port_path} is not there any more")

    def _find(self, device: DeviceSeen) -> usb.core.Device | None:
        place = bus_address(self._context, device.port_path)
        if place is None:
            return None
        return usb.core.find(backend=self._backend(), bus=place[0], address=place[1])

    def _await(self, device: DeviceSeen, look: Callable[[], _Found | None]) -> _Found:
        """What ``look`` finds of this very device. Raises DeviceGoneError."""
        deadline = time.monotonic() + APPEARS_WITHIN_S
        while True:
            found = look()
            if not self._is_there(device):
                raise DeviceGoneError(f"what was at port {device.port_path} is not there any more")
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise DeviceGoneError(f"the device at port {device.port_path} cannot be reached")
            time.sleep(_LOOK_AGAIN_S)
