"""A conversation through libusb: one interface claimed, the kernel's driver put back afterwards.

Guarantee: whatever the device does, a call ends within its timeout with bytes or with an error of ``agent.usb.errors``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import usb.core
import usb.util

from agent.usb.errors import (
    DeviceBusyError,
    DeviceForbiddenError,
    DeviceGoneError,
    DeviceSilentError,
    TransferRefusedError,
    UsbError,
)
from agent.usb.ports import DeviceSeen

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.ESHUTDOWN, errno.ENXIO})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
_NO_SCSI: Final = "SCSI commands go through the kernel's driver, which has not this interface"


class LibusbChannel:
    """Satisfies ``agent.usb.ports.UsbChannel`` for interfaces that are not mass storage."""

    def __init__(
        self, handle: usb.core.Device, seen: DeviceSeen, interface: int, *, is_there: Callable[[], bool]
    ) -> None:
        """Claims the interface; ``is_there`` tells whether the device is still that one. Raises as
        ``UsbBus.open``."""
        self._handle = handle
        self._interface = interface
        self._is_there = is_there
        self._packets = {
            point.address: point.max_packet_bytes for shown in seen.interfaces for point in shown.endpoints
        }
        self._took_from_kernel = False
        self._is_open = True
        try:
            self._claim()
        except UsbError:
            self.close()
            raise

    def control_out(
        self, *, request_type: int, request: int, value: int, index: int, data: bytes, timeout_ms: int
    ) -> None:
        with self._errors():
            sent = self._device.ctrl_transfer(request_type, request, value, index, data, timeout_ms)
        _demand_all(sent, data)

    def control_in(
        self, *, request_type: int, request: int, value: int, index: int, length: int, timeout_ms: int
    ) -> bytes:
        with self._errors():
            return bytes(self._device.ctrl_transfer(request_type, request, value, index, length, timeout_ms))

    def write(self, endpoint: int, data: bytes, *, timeout_ms: int) -> None:
        with self._errors(endpoint):
            sent = self._device.write(endpoint, data, timeout_ms)
        _demand_all(sent, data)

    def read(self, endpoint: int, length: int, *, timeout_ms: int) -> bytes:
        # Whole packets: the host controller calls it an error when the last one does not fit.
        packet = max(1, self._packets.get(endpoint, 1))
        room = -(-length // packet) * packet
        with self._errors(endpoint):
            answer = bytes(self._device.read(endpoint, room, timeout_ms))
        if len(answer) > length:
            raise TransferRefusedError(f"the device sent more than {length} bytes")
        return answer

    def scsi(self, cdb: bytes, *, data_out: bytes = b"", length_in: int = 0, timeout_ms: int) -> bytes:
        raise TransferRefusedError(_NO_SCSI)

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        with suppress(usb.core.USBError, NotImplementedError):  # gone: nothing is left to give back
            usb.util.release_interface(self._handle, self._interface)
        if self._took_from_kernel:
            with suppress(usb.core.USBError, NotImplementedError):
                self._handle.attach_kernel_driver(self._interface)
        with suppress(usb.core.USBError):
            usb.util.dispose_resources(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _device(self) -> Any:
        if not self._is_open:
            raise DeviceGoneError("the conversation is over")
        return self._handle

    def _claim(self) -> None:
        with self._errors():
            if self._kernel_has_it():
                self._handle.detach_kernel_driver(self._interface)
                self._took_from_kernel = True
            usb.util.claim_interface(self._handle, self._interface)

    def _kernel_has_it(self) -> bool:
        try:
            return bool(self._handle.is_kernel_driver_active(self._interface))
        except NotImplementedError:
            return False

    @contextmanager
    def _errors(self, endpoint: int | None = None) -> Iterator[None]:
        try:
            yield
        except usb.core.USBError as error:
            told = self._told(error)
            if isinstance(told, TransferRefusedError) and endpoint is not None:
                with suppress(usb.core.USBError):
                    self._handle.clear_halt(endpoint)
            raise told from error
        except (NotImplementedError, ValueError) as error:  # pyusb's own view of what the device can do
            raise TransferRefusedError(f"the transfer cannot be made: {error}") from error

    def _told(self, error: usb.core.USBError) -> UsbError:
        if error.errno in _GONE or not self._is_there():
            return DeviceGoneError("the device was pulled or came back as another one")
        if isinstance(error, usb.core.USBTimeoutError) or error.errno == errno.ETIMEDOUT:
            return DeviceSilentError("the device did not answer in time")
        if error.errno == errno.EBUSY:
            return DeviceBusyError("another program holds the interface")
        if error.errno in _FORBIDDEN:
            return DeviceForbiddenError("the station may not open the device")
        return TransferRefusedError(f"the transfer failed: {error.strerror or error}")


def _demand_all(sent: int, data: bytes) -> None:
    if sent != len(data):
        raise DeviceSilentError(f"the device took {sent} of {len(data)} bytes")
