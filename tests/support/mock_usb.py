"""A machine with USB ports for one process and its children, by umockdev: a sysfs, udev's events, and usbfs answered by
the recorders of ``usb_recorders``.

The process must run under ``umockdev-wrapper``, and ``MockUsb`` must be made before libusb is loaded. libumockdev is
driven by ctypes. What it cannot do: mount, read blocks, the kernel's own drivers.
"""

from __future__ import annotations

import ctypes as c
import errno
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.usb_recorders import Recorder, Stall

_SUBMIT, _REAP, _REAP_NOW, _DISCARD = 0x8038550A, 0x4008550C, 0x4008550D, 0x550B
_CLAIM, _RELEASE = 0x8004550F, 0x80045510
_SET_INTERFACE, _SET_CONFIGURATION, _RESET, _CLEAR_HALT = 0x80085504, 0x80045505, 0x5514, 0x80045515
_GET_DRIVER, _DRIVER, _CAPABILITIES = 0x41045508, 0xC0105512, 0x8004551A
_SG_IO: Final = 0x2285
_ATTACH: Final = 0x5517
"""Codes of linux/usbdevice_fs.h and scsi/sg.h, on 64 bits."""

_HUB: Final = bytes.fromhex(
    "12010002090001406b1d020010060302010109021900010100e0000904000001090000000705810304000c"
)
_BLOCK: Final = 2048
_SG_HEADER_BYTES: Final = 88

_P = c.c_void_p
_Handler = c.CFUNCTYPE(c.c_int, _P, _P, _P)


class _Umockdev:
    """The functions of libumockdev that are used."""

    def __init__(self) -> None:
        mock, glib = c.CDLL("libumockdev.so.0"), c.CDLL("libgobject-2.0.so.0")
        text, number = c.c_char_p, c.c_int
        self.ref = _function(glib.g_object_ref, _P, _P)
        self.connect = _function(glib.g_signal_connect_data, c.c_ulong, _P, text, _P, _P, _P, number)
        self.new = _function(mock.umockdev_testbed_new, _P)
        self.add = _function(mock.umockdev_testbed_add_from_string, number, _P, text, _P)
        self.event = _function(mock.umockdev_testbed_uevent, None, _P, text, text)
        self.set_attribute = _function(mock.umockdev_testbed_set_attribute, None, _P, text, text, text)
        self.set_property = _function(mock.umockdev_testbed_set_property, None, _P, text, text, text)
        self.remove = _function(mock.umockdev_testbed_remove_device, None, _P, text)
        self.attach = _function(mock.umockdev_testbed_attach_ioctl, number, _P, text, _P, _P)
        self.detach = _function(mock.umockdev_testbed_detach_ioctl, number, _P, text, _P)
        self.ioctl_base = _function(mock.umockdev_ioctl_base_new, _P)
        self.request = _function(mock.umockdev_ioctl_client_get_request, c.c_ulong, _P)
        self.argument = _function(mock.umockdev_ioctl_client_get_arg, _P, _P)
        self.complete = _function(mock.umockdev_ioctl_client_complete, None, _P, c.c_long, number)
        self.resolve = _function(mock.umockdev_ioctl_data_resolve, _P, _P, c.c_size_t, c.c_size_t, _P)
        self.set_pointer = _function(mock.umockdev_ioctl_data_set_ptr, number, _P, c.c_size_t, _P)
        self.update = _function(mock.umockdev_ioctl_data_update, None, _P, c.c_size_t, text, number)
        self.retrieve = _function(
            mock.umockdev_ioctl_data_retrieve, None, _P, c.POINTER(_P), c.POINTER(c.c_int)
        )

    def read(self, data: int) -> bytes:
        pointer, length = _P(), c.c_int()
        self.retrieve(data, c.byref(pointer), c.byref(length))
        return c.string_at(pointer.value or 0, length.value) if length.value else b""


def _function(function: Any, result: Any, *arguments: Any) -> Callable[..., Any]:
    function.restype, function.argtypes = result, list(arguments)
    return function  # type: ignore[no-any-return]


def is_mocked() -> bool:
    """Whether this process runs under umockdev-wrapper."""
    return "libumockdev-preload" in Path("/proc/self/maps").read_text()


def _letters(number: int) -> str:
    """As the kernel names disks; each once, because umockdev leaves the links in /sys/block behind."""
    return chr(ord("a") + number // 26) + chr(ord("a") + number % 26)


class MockUsb:
    """The ports. One for each process."""

    def __init__(self) -> None:
        self.lib = _Umockdev()
        self.testbed = self.lib.new()
        self._devices: dict[str, _Usbfs] = {}
        self._blocks: dict[str, list[str]] = {}
        self._disks: dict[str, str] = {}
        self._leaving: list[threading.Thread] = []
        self._addresses = 1
        self._sequence = 0
        self.add_text(
            "P: /devices/pci0000:00/0000:00:14.0/usb1\nN: bus/usb/001/001\n"
            "E: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\nE: BUSNUM=001\nE: DEVNUM=001\nE: ID_BUS=usb\n"
            "E: DEVNAME=/dev/bus/usb/001/001\nE: MAJOR=189\nE: MINOR=0\n"
            "A: idVendor=1d6b\nA: idProduct=0002\nA: bDeviceClass=09\nA: busnum=1\\n\nA: devnum=1\\n\nA: speed=480\n"
            f"A: bConfigurationValue=1\nA: dev=189:0\nH: descriptors={_HUB.hex()}\n"
        )

    def plug(self, recorder: Recorder, port_path: str) -> None:
        self._addresses += 1
        device = _Usbfs(self, recorder, port_path, self._addresses)
        recorder.leave = lambda then: self._leave_soon(port_path, then)
        self._devices[port_path] = device
        device.appear()

    def unplug(self, port_path: str) -> None:
        for path in reversed(self._blocks.pop(port_path, [])):
            self._vanish(path)
        device = self._devices.pop(port_path)
        device.break_off()
        self._vanish(device.path)

    def unplug_all(self) -> None:
        """Also what is just coming back as something else."""
        while self._leaving:
            self._leaving.pop().join()
        for port_path in list(self._devices):
            self.unplug(port_path)

    def show_block(self, port_path: str, *, lun: int = 0, partition: int = 0, **properties: str) -> None:
        """A whole medium, or after it a partition: upper case are udev's properties, lower case sysfs' files."""
        self._sequence += 1
        unit = self._unit(port_path, lun)
        if not partition:
            self._disks[unit] = f"sd{_letters(self._sequence)}"
        disk = self._disks[unit]
        name = f"{disk}{partition or ''}"
        path = f"{unit}/block/{disk}" + (f"/{name}" if partition else "")
        values = {
            "DISKSEQ": str(self._sequence),
            "ID_BUS": "usb",
            "size": str(_BLOCK),
            "ro": "0",
            **properties,
        }
        if partition:
            values["partition"] = str(partition)
        files = "".join(f"A: {key}={value}\\n\n" for key, value in values.items() if key.islower())
        words = "".join(f"E: {key}={value}\n" for key, value in values.items() if not key.islower())
        self.add_text(
            f"P: {path}\nN: {name}\nE: DEVNAME=/dev/{name}\nE: SUBSYSTEM=block\n"
            f"E: DEVTYPE={'partition' if partition else 'disk'}\nE: MAJOR=8\nE: MINOR={self._sequence}\n"
            f"{words}{files}"
        )
        self._blocks[port_path].append(path)

    def protect_block(self, port_path: str, *, lun: int, **properties: str) -> None:
        """As the kernel shows a medium that may not be written any more; udev may have found out more of it."""
        unit = self._unit(port_path, lun)
        node = f"/sys{unit}/block/{self._disks[unit]}".encode()
        self.lib.set_attribute(self.testbed, node, b"ro", b"1\n")
        for name, value in properties.items():
            self.lib.set_property(self.testbed, node, name.encode(), value.encode())
        self.lib.event(self.testbed, node, b"change")

    def show_scsi(self, port_path: str) -> None:
        """The node that carries SCSI commands to the recorder at this port."""
        self._sequence += 1
        device, name = self._devices[port_path], f"sg{self._sequence}"
        path = f"{self._unit(port_path, 0)}/scsi_generic/{name}"
        device.answer_at(f"/dev/{name}")
        self.add_text(f"P: {path}\nN: {name}\nE: DEVNAME=/dev/{name}\nE: SUBSYSTEM=scsi_generic\n")
        self._blocks[port_path].append(path)

    def _unit(self, port_path: str, lun: int) -> str:
        """The SCSI device of a logical unit, which the kernel makes once."""
        device = self._devices[port_path]
        host = device.address  # the kernel numbers hosts; any number of its own will do
        path = f"{device.path}/{port_path}:1.0/host{host}/target{host}:0:0/{host}:0:0:{lun}"
        blocks = self._blocks.setdefault(port_path, [])
        if path not in blocks:
            self.add_text(f"P: {path}\nE: DEVTYPE=scsi_device\nE: SUBSYSTEM=scsi\n")
            blocks.append(path)
        return path

    def add_text(self, text: str) -> None:
        """One or several devices as umockdev describes them; udev's event follows at once."""
        if not self.lib.add(self.testbed, text.encode(), None):
            raise RuntimeError(f"umockdev does not take this device:\n{text}")

    def _vanish(self, path: str) -> None:
        node = f"/sys{path}".encode()
        self.lib.event(self.testbed, node, b"remove")  # remove_device of 0.17 sends none
        self.lib.remove(self.testbed, node)

    def _leave_soon(self, port_path: str, then: Recorder | None) -> None:
        """After the transfer that is being answered; umockdev's thread may not wait for itself."""

        def go() -> None:
            self.unplug(port_path)
            if then is not None:
                self.plug(then, port_path)

        self._leaving.append(threading.Thread(target=go, name="leaving"))
        self._leaving[-1].start()


class _Usbfs:
    """One plugged recorder as ``/dev/bus/usb/...`` answers for it."""

    def __init__(self, usb: MockUsb, recorder: Recorder, port_path: str, address: int) -> None:
        self._usb = usb
        self._lib = usb.lib
        self._recorder = recorder
        self._port = port_path
        self.address = address
        steps = port_path.partition("-")[2].split(".")
        names = ["1-" + ".".join(steps[: count + 1]) for count in range(len(steps))]
        self.path = "/devices/pci0000:00/0000:00:14.0/usb1/" + "/".join(names)
        self._lock = threading.Lock()
        self._pending: list[int] = []
        self._done: list[int] = []
        self._claimed: set[int] = set()
        self._is_gone = False
        self._keep: list[Any] = []  # callbacks that C holds

    def appear(self) -> None:
        self.answer_at(f"/dev/bus/usb/001/{self.address:03d}")
        it, raw = self._recorder, self._recorder.descriptors().hex().upper()
        texts = {"manufacturer": it.manufacturer, "product": it.product, "serial": it.serial}
        self._usb.add_text(
            f"P: {self.path}\nN: bus/usb/001/{self.address:03d}={raw}\n"
            f"E: DEVNAME=/dev/bus/usb/001/{self.address:03d}\nE: DEVTYPE=usb_device\nE: SUBSYSTEM=usb\nE: ID_BUS=usb\n"
            f"E: BUSNUM=001\nE: DEVNUM={self.address:03d}\nE: MAJOR=189\nE: MINOR={self.address - 1}\n"
            f"A: idVendor={it.vendor_id:04x}\nA: idProduct={it.product_id:04x}\nA: bcdDevice={it.release_bcd:04x}\n"
            f"A: bDeviceClass={it.device_class:02x}\nA: busnum=1\\n\nA: devnum={self.address}\\n\n"
            f"A: speed=480\nA: bConfigurationValue=1\nA: dev=189:{self.address - 1}\n"
            + "".join(f"A: {name}={text}\\n\n" for name, text in texts.items() if text is not None)
            + f"H: descriptors={raw}\n"
        )

    def answer_at(self, node: str) -> None:
        """Before the node appears: its listeners must not be faster than we are."""
        base, handler = self._lib.ioctl_base(), _Handler(self._on_ioctl)
        self._keep += [base, handler]
        self._lib.connect(base, b"handle-ioctl", c.cast(handler, _P), None, None, 0)
        if not self._lib.attach(self._usb.testbed, node.encode(), base, None):
            raise RuntimeError(f"umockdev does not attach to {node}")

    def break_off(self) -> None:
        """As the kernel does when a device is pulled: what is pending ends with ESHUTDOWN."""
        with self._lock:
            self._is_gone = True
            for urb in self._pending:
                self._finish(urb, -errno.ESHUTDOWN, 0)
            self._pending.clear()

    def _on_ioctl(self, _base: int, client: int, _data: int) -> int:
        try:
            with self._lock:
                result, error = self._ioctl(self._lib.request(client), self._lib.argument(client))
        except Exception:  # nothing may reach C
            result, error = -1, errno.EIO
        self._lib.complete(client, result, error)
        return 1

    def _ioctl(self, request: int, argument: int) -> tuple[int, int]:
        if request == _SG_IO:
            return self._scsi(argument)
        size = (request >> 16) & 0x3FFF
        data = self._lib.resolve(argument, 0, size, None) if size else None
        if request in (_REAP, _REAP_NOW):
            return self._reap(data)
        if self._is_gone:
            return -1, errno.ENODEV
        if request == _SUBMIT:
            self._submit(self._lib.ref(data))
        elif request == _DISCARD:
            return self._discard()
        elif request == _CAPABILITIES:
            self._lib.update(data, 0, struct.pack("<I", 0x1D), 4)
        elif request == _GET_DRIVER:
            return self._tell_driver(data)
        elif request == _DRIVER:
            return self._drive(self._lib.read(data or 0))
        elif request in (_CLAIM, _RELEASE):
            return self._claim(request, self._lib.read(data or 0))
        elif request not in (_SET_INTERFACE, _SET_CONFIGURATION, _RESET, _CLEAR_HALT):
            return -1, errno.ENOTTY
        return 0, 0

    def _claim(self, request: int, data: bytes) -> tuple[int, int]:
        number = struct.unpack_from("<I", data)[0]
        if request == _CLAIM and number in self._claimed:
            return -1, errno.EBUSY
        (self._claimed.add if request == _CLAIM else self._claimed.discard)(number)
        return 0, 0

    def _tell_driver(self, data: int | None) -> tuple[int, int]:
        if not self._recorder.kernel_driver:
            return -1, errno.ENODATA
        name = self._recorder.kernel_driver.encode() + b"\0"
        self._lib.update(data, 4, name, len(name))
        return 0, 0

    def _drive(self, data: bytes) -> tuple[int, int]:
        """USBDEVFS_DISCONNECT and USBDEVFS_CONNECT, wrapped in USBDEVFS_IOCTL."""
        code = struct.unpack_from("<i", data, 4)[0]
        self._recorder.kernel_driver = "usbhid" if code == _ATTACH else None
        return 0, 0

    def _reap(self, data: int | None) -> tuple[int, int]:
        if not self._done:
            return -1, errno.ENODEV if self._is_gone else errno.EAGAIN
        self._lib.set_pointer(data, 0, self._done.pop(0))
        return 0, 0

    def _discard(self) -> tuple[int, int]:
        if not self._pending:
            return -1, errno.EINVAL
        self._finish(self._pending.pop(0), -errno.ENOENT, 0)
        return 0, 0

    def _finish(self, urb: int, status: int, length: int) -> None:
        self._lib.update(urb, 4, struct.pack("<i", status), 4)
        self._lib.update(urb, 28, struct.pack("<i", length), 4)
        self._done.append(urb)

    def _submit(self, urb: int) -> None:
        raw = self._lib.read(urb)
        kind, endpoint, length = raw[0], raw[1], struct.unpack_from("<i", raw, 24)[0]
        buffer = self._lib.resolve(urb, 16, length, None) if length else None
        sent = self._lib.read(buffer) if buffer else b""
        try:
            if kind == 2:
                self._finish(urb, 0, self._control(buffer, sent))
            elif endpoint & 0x80:
                self._answer(urb, buffer, self._recorder.bulk_in(endpoint, length), length)
            else:
                self._recorder.bulk_out(endpoint, sent)
                self._finish(urb, 0, length)
        except Stall:
            self._finish(urb, -errno.EPIPE, 0)

    def _answer(self, urb: int, buffer: int | None, data: bytes | None, length: int) -> None:
        if data is None:
            self._pending.append(urb)
            return
        if data and buffer:
            self._lib.update(buffer, 0, data[:length], min(len(data), length))
        self._finish(urb, -errno.EOVERFLOW if len(data) > length else 0, min(len(data), length))

    def _control(self, buffer: int | None, sent: bytes) -> int:
        request_type, request, value, index, length = struct.unpack_from("<BBHHH", sent)
        if (request_type, request) == (0x80, 8):
            answer = b"\x01"
        else:
            answer = self._recorder.control(request_type, request, value, index, sent[8 : 8 + length], length)
        if not request_type & 0x80:
            return int(length)
        answer = answer[:length]
        if answer:
            self._lib.update(buffer, 8, answer, len(answer))
        return len(answer)

    def _scsi(self, argument: int) -> tuple[int, int]:
        """SG_IO: the header's pointers are followed by umockdev."""
        if self._is_gone:
            return -1, errno.ENODEV
        header = self._lib.resolve(argument, 0, _SG_HEADER_BYTES, None)
        raw = self._lib.read(header)
        direction, command_length = struct.unpack_from("<iB", raw, 4)
        length = struct.unpack_from("<I", raw, 12)[0]
        command = self._lib.read(self._lib.resolve(header, 24, command_length, None))
        data = self._lib.resolve(header, 16, length, None) if length else None
        sent = self._lib.read(data) if data and direction == -2 else b""
        try:
            answer = self._recorder.scsi(command, sent, length if direction == -3 else 0)
        except Stall:
            self._lib.update(header, 64, b"\x02", 1)  # CHECK CONDITION
            return 0, 0
        if answer and data:
            self._lib.update(data, 0, answer, len(answer))
        self._lib.update(header, 72, struct.pack("<i", length - len(answer) if direction == -3 else 0), 4)
        return 0, 0
