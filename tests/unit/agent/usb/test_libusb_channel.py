"""Does every error of libusb become the right one of ours, and does the kernel get its driver back?"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
import usb.core

from agent.usb.channel import LibusbChannel
from agent.usb.errors import (
    DeviceBusyError,
    DeviceForbiddenError,
    DeviceGoneError,
    DeviceSilentError,
    TransferRefusedError,
    UsbError,
)
from agent.usb.ports import DeviceSeen
from tests.support.fake_pyusb import FakePyusb
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import BULK, Ambarella, Face, HidUnlock, Recorder

OUT, IN = 0x01, 0x81


def seen(recorder: Recorder) -> DeviceSeen:
    return MemoryUsbBus().plug(recorder, "1-1")


def channel_over(fake: FakePyusb, *, is_there: bool = True) -> LibusbChannel:
    return LibusbChannel(fake.device(), seen(fake.recorder), 0, is_there=lambda: is_there)


def failure(number: int) -> usb.core.USBError:
    if number == errno.ETIMEDOUT:
        return usb.core.USBTimeoutError("Operation timed out", -7, number)
    return usb.core.USBError("it failed", -1, number)


ERRORS: list[tuple[int, type[UsbError]]] = [
    (errno.ENODEV, DeviceGoneError),
    (errno.ENOENT, DeviceGoneError),
    (errno.ESHUTDOWN, DeviceGoneError),
    (errno.ETIMEDOUT, DeviceSilentError),
    (errno.EPIPE, TransferRefusedError),
    (errno.EBUSY, DeviceBusyError),
    (errno.EACCES, DeviceForbiddenError),
    (errno.EPERM, DeviceForbiddenError),
    (errno.EIO, TransferRefusedError),
    (errno.EOVERFLOW, TransferRefusedError),
]


TRANSFERS: dict[str, Callable[[LibusbChannel], object]] = {
    "bulk_read": lambda channel: channel.read(IN, 64, timeout_ms=10),
    "bulk_write": lambda channel: channel.write(OUT, b"x", timeout_ms=10),
    "ctrl_transfer": lambda channel: channel.control_in(
        request_type=0xC0, request=1, value=0, index=0, length=8, timeout_ms=10
    ),
}


@pytest.mark.parametrize(("number", "expected"), ERRORS)
@pytest.mark.parametrize("method", TRANSFERS)
def test_an_error_of_a_transfer_is_told_in_our_words(
    method: str, number: int, expected: type[UsbError]
) -> None:
    fake = FakePyusb(Ambarella())
    with channel_over(fake) as channel:
        fake.fails[method] = failure(number)
        with pytest.raises(expected):
            TRANSFERS[method](channel)


@pytest.mark.parametrize(("number", "expected"), ERRORS)
@pytest.mark.parametrize("method", ["open_device", "claim_interface", "detach_kernel_driver"])
def test_an_interface_that_cannot_be_had_is_let_go(
    method: str, number: int, expected: type[UsbError]
) -> None:
    fake = FakePyusb(HidUnlock(kernel_driver="usbhid"))
    fake.fails[method] = failure(number)
    with pytest.raises(expected):
        channel_over(fake)
    assert fake.calls.count("attach_kernel_driver") == (method == "claim_interface")


@pytest.mark.parametrize("number", [number for number, _ in ERRORS])
def test_whatever_happens_to_a_device_that_is_not_there_any_more_it_is_gone(number: int) -> None:
    fake = FakePyusb(Ambarella())
    with channel_over(fake, is_there=False) as channel:
        fake.fails["bulk_read"] = failure(number)
        with pytest.raises(DeviceGoneError):
            channel.read(IN, 64, timeout_ms=10)


def test_the_kernel_gets_its_driver_back_once() -> None:
    fake = FakePyusb(HidUnlock(kernel_driver="usbhid"))
    channel = channel_over(fake)
    assert "detach_kernel_driver" in fake.calls
    channel.close()
    channel.close()
    assert fake.calls.count("attach_kernel_driver") == 1
    assert fake.calls.index("release_interface") < fake.calls.index("attach_kernel_driver")


def test_a_driver_that_was_not_there_is_not_given_back() -> None:
    fake = FakePyusb(Ambarella())
    channel_over(fake).close()
    assert "detach_kernel_driver" not in fake.calls
    assert "attach_kernel_driver" not in fake.calls


def test_a_system_that_knows_no_kernel_drivers_is_none_to_fear() -> None:
    fake = FakePyusb(Ambarella())
    fake.fails["is_kernel_driver_active"] = NotImplementedError()
    channel_over(fake).close()


def test_closing_survives_a_device_that_is_gone() -> None:
    fake = FakePyusb(HidUnlock(kernel_driver="usbhid"))
    channel = channel_over(fake)
    for method in ("release_interface", "attach_kernel_driver", "close_device"):
        fake.fails[method] = failure(errno.ENODEV)
    channel.close()


def test_a_halted_endpoint_is_cleared() -> None:
    fake = FakePyusb(Ambarella())
    with channel_over(fake) as channel:
        fake.fails["bulk_write"] = failure(errno.EPIPE)
        with pytest.raises(TransferRefusedError):
            channel.write(OUT, b"x", timeout_ms=10)
        assert "clear_halt" in fake.calls


def test_an_endpoint_the_device_does_not_have_is_refused() -> None:
    with channel_over(FakePyusb(Ambarella())) as channel, pytest.raises(TransferRefusedError):
        channel.write(0x05, b"x", timeout_ms=10)


def test_room_is_made_for_whole_packets() -> None:
    class Chatty(Recorder):
        def bulk_in(self, endpoint: int, length: int) -> bytes:
            return b"x" * length

    recorder = Chatty(faces=(Face(endpoints=((IN, BULK, 512),)),))
    with channel_over(FakePyusb(recorder)) as channel:
        assert len(channel.read(IN, 1024, timeout_ms=10)) == 1024
        with pytest.raises(TransferRefusedError):
            channel.read(IN, 513, timeout_ms=10)
