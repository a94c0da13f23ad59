"""A backend of pyusb over recorders that are objects: pyusb itself is real, no library, no kernel. Any call can be made
to fail with any error of libusb."""

from __future__ import annotations

import struct
from array import array
from types import SimpleNamespace
from typing import Any, Final

import usb.backend
import usb.core

from agent.usb.descriptors import interfaces_of
from tests.support.usb_recorders import Recorder, Stall

_DEVICE_FIELDS: Final = (
    *("bLength", "bDescriptorType", "bcdUSB", "bDeviceClass", "bDeviceSubClass", "bDeviceProtocol"),
    *("bMaxPacketSize0", "idVendor", "idProduct", "bcdDevice"),
    *("iManufacturer", "iProduct", "iSerialNumber", "bNumConfigurations"),
)
_ATTRIBUTES: Final = {"control": 0, "isochronous": 1, "bulk": 2, "interrupt": 3}


class FakePyusb(usb.backend.IBackend):  # type: ignore[misc]
    """One recorder, at bus 1, address 2. ``fails`` maps a method's name to the error it raises."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.fails: dict[str, Exception] = {}
        self.calls: list[str] = []
        self._interfaces = interfaces_of(recorder.descriptors()[18:], 1)

    def device(self) -> usb.core.Device:
        return usb.core.find(backend=self, bus=1, address=2)

    def enumerate_devices(self) -> list[int]:
        return [0]

    def get_parent(self, dev: int) -> None:
        return None

    def get_device_descriptor(self, dev: int) -> Any:
        values = struct.unpack("<BBHBBBBHHHBBBB", self.recorder.descriptors()[:18])
        place = {"bus": 1, "address": 2, "port_number": 1, "port_numbers": (1,), "speed": 3}
        return SimpleNamespace(**dict(zip(_DEVICE_FIELDS, values, strict=True)), **place)

    def get_configuration_descriptor(self, dev: int, config: int) -> Any:
        if config:
            raise IndexError
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=2,
            wTotalLength=0,
            bNumInterfaces=len(self._interfaces),
            bConfigurationValue=1,
            iConfiguration=0,
            bmAttributes=0x80,
            bMaxPower=250,
            extra_descriptors=[],
        )

    def get_interface_descriptor(self, dev: int, intf: int, alt: int, config: int) -> Any:
        if alt or intf >= len(self._interfaces):
            raise IndexError
        shown = self._interfaces[intf]
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=4,
            bInterfaceNumber=shown.number,
            bAlternateSetting=0,
            bNumEndpoints=len(shown.endpoints),
            bInterfaceClass=shown.class_code,
            bInterfaceSubClass=shown.subclass_code,
            bInterfaceProtocol=shown.protocol_code,
            iInterface=0,
            extra_descriptors=[],
        )

    def get_endpoint_descriptor(self, dev: int, ep: int, intf: int, alt: int, config: int) -> Any:
        points = self._interfaces[intf].endpoints
        if ep >= len(points):
            raise IndexError
        return SimpleNamespace(
            bLength=7,
            bDescriptorType=5,
            bEndpointAddress=points[ep].address,
            bmAttributes=_ATTRIBUTES[points[ep].kind],
            wMaxPacketSize=points[ep].max_packet_bytes,
            bInterval=1,
            bRefresh=0,
            bSynchAddress=0,
            extra_descriptors=[],
        )

    def open_device(self, dev: int) -> int:
        self._called("open_device")
        return dev

    def close_device(self, dev_handle: int) -> None:
        self._called("close_device")

    def get_configuration(self, dev_handle: int) -> int:
        return 1

    def claim_interface(self, dev_handle: int, intf: int) -> None:
        self._called("claim_interface")

    def release_interface(self, dev_handle: int, intf: int) -> None:
        self._called("release_interface")

    def is_kernel_driver_active(self, dev_handle: int, intf: int) -> bool:
        self._called("is_kernel_driver_active")
        return self.recorder.kernel_driver is not None

    def detach_kernel_driver(self, dev_handle: int, intf: int) -> None:
        self._called("detach_kernel_driver")

    def attach_kernel_driver(self, dev_handle: int, intf: int) -> None:
        self._called("attach_kernel_driver")

    def clear_halt(self, dev_handle: int, ep: int) -> None:
        self._called("clear_halt")

    def bulk_write(self, dev_handle: int, ep: int, intf: int, data: array[int], timeout: int) -> int:
        self._called("bulk_write")
        self._stalling(lambda: self.recorder.bulk_out(ep, bytes(data)))
        return len(data)

    intr_write = bulk_write

    def bulk_read(self, dev_handle: int, ep: int, intf: int, buff: array[int], timeout: int) -> int:
        self._called("bulk_read")
        answer = self._stalling(lambda: self.recorder.bulk_in(ep, len(buff)))
        if answer is None:
            raise usb.core.USBTimeoutError("Operation timed out", -7, 110)
        return _fill(buff, answer)

    intr_read = bulk_read

    def ctrl_transfer(
        self,
        dev_handle: int,
        bmRequestType: int,  # noqa: N803 - pyusb's names
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: array[int],
        timeout: int,
    ) -> int:
        self._called("ctrl_transfer")
        answer = self._stalling(
            lambda: self.recorder.control(bmRequestType, bRequest, wValue, wIndex, bytes(data), len(data))
        )
        return _fill(data, answer) if bmRequestType & 0x80 else len(data)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]

    def _stalling(self, act: Any) -> Any:
        try:
            return act()
        except Stall:
            raise usb.core.USBError("Pipe error", -9, 32) from None


def _fill(buffer: array[int], answer: bytes) -> int:
    whole = array("B", answer[: len(buffer)])
    buffer[: len(whole)] = whole
    return len(whole)
