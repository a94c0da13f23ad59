"""A USB device in Python, plugged into QEMU's ``usb-redir``: connecting plugs it in, hanging up pulls it.

The device is one of the package ``usbip`` (whatever has its ``handle_urb``). Spoken is the public usbredir protocol,
version 0.6: control, bulk and interrupt transfers.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from usbip.core import IN, OUT

_HELLO, _CONNECT, _, _RESET, _INTERFACES, _ENDPOINTS, _SET_CONFIG, _GET_CONFIG, _CONFIG = range(9)
_SET_ALT, _GET_ALT, _ALT = 9, 10, 11
_START_INTERRUPT, _STOP_INTERRUPT, _INTERRUPT_STATUS, _CANCEL = 15, 16, 17, 21
_CONTROL, _BULK, _INTERRUPT = 100, 101, 103
_CAPABILITIES: Final = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6
"""Device version, packet sizes of endpoints, 64-bit ids, 32-bit lengths."""

_OK, _STALLED = 0, 4
_HIGH_SPEED: Final = 2
_SLOTS: Final = 32
_UNUSED: Final = 255
_DESCRIPTOR_INTERFACE: Final = 4
_DESCRIPTOR_ENDPOINT: Final = 5


class RedirectedDevice:
    """One stay of a device at a port of the guest."""

    def __init__(self, device: Any, port: Path) -> None:
        self._device = device
        self._sending = threading.Lock()
        self._long_ids = False
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(port))
        device.reset_io()
        self._thread = threading.Thread(target=self._talk, name="redirected device", daemon=True)
        self._thread.start()

    def pull(self) -> None:
        """May be called from the device's own code, in the middle of a transfer."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(10)

    def _talk(self) -> None:
        with suppress(EOFError, OSError, ValueError):
            self._send(_HELLO, 0, b"zhilu tests".ljust(64, b"\0") + struct.pack("<I", _CAPABILITIES))
            while True:
                kind, length = struct.unpack("<II", self._receive(8))
                (ident,) = (
                    struct.unpack("<Q", self._receive(8))
                    if self._long_ids
                    else struct.unpack("<I", self._receive(4))
                )
                self._take(kind, ident, self._receive(length))

    def _send(self, kind: int, ident: int, payload: bytes) -> None:
        header = struct.pack("<IIQ" if self._long_ids else "<III", kind, len(payload), ident)
        with self._sending, suppress(OSError):
            self._line.sendall(header + payload)

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._line.recv(length - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _take(self, kind: int, ident: int, payload: bytes) -> None:
        device = self._device
        if kind == _HELLO:
            self._long_ids = True
            self._announce()
        elif kind == _RESET:
            device.reset_io()
        elif kind == _SET_CONFIG:
            device.config = payload[0]
            self._send(_CONFIG, ident, bytes([_OK, payload[0]]))
        elif kind == _GET_CONFIG:
            self._send(_CONFIG, ident, bytes([_OK, device.config]))
        elif kind in (_SET_ALT, _GET_ALT):
            self._send(_ALT, ident, bytes([_OK, payload[0], 0]))
        elif kind == _CONTROL:
            self._control(ident, payload)
        elif kind == _BULK:
            self._bulk(ident, payload)
        elif kind == _INTERRUPT:
            self._interrupt_out(ident, payload)
        elif kind in (_START_INTERRUPT, _STOP_INTERRUPT):
            self._send(_INTERRUPT_STATUS, ident, bytes([_OK, payload[0]]))
            if kind == _START_INTERRUPT:
                self._await_interrupt(payload[0], 0)
        elif kind == _CANCEL:
            device.cancel_urb(ident)

    def _announce(self) -> None:
        """Endpoints and interfaces as the descriptors say, then the device itself."""
        endpoints = {0: (0, 0, 0, 64), 16: (0, 0, 0, 64)}
        interfaces: list[tuple[int, int, int, int]] = []
        config, at, number = self._device.config_bytes(), 0, 0
        while at < len(config):
            if config[at + 1] == _DESCRIPTOR_INTERFACE and config[at + 3] == 0:
                number = config[at + 2]
                interfaces.append((number, *config[at + 5 : at + 8]))
            elif config[at + 1] == _DESCRIPTOR_ENDPOINT:
                address, attributes, size, interval = struct.unpack_from("<BBHB", config, at + 2)
                slot = (address & 0x80) >> 3 | address & 15
                endpoints[slot] = (attributes & 3, interval, number, size)
            at += config[at]
        none = (_UNUSED, 0, 0, 0)
        rows = [endpoints.get(slot, none) for slot in range(_SLOTS)]
        columns = b"".join(bytes(row[column] for row in rows) for column in range(3))
        self._send(_ENDPOINTS, 0, columns + struct.pack("<32H", *(row[3] for row in rows)))
        fields = b"".join(
            bytes(each[column] for each in interfaces).ljust(_SLOTS, b"\0") for column in range(4)
        )
        self._send(_INTERFACES, 0, struct.pack("<I", len(interfaces)) + fields)
        descriptor = self._device.device_descriptor().pack()
        ids = struct.unpack_from("<HHH", descriptor, 8)
        self._send(_CONNECT, 0, struct.pack("<BBBBHHH", _HIGH_SPEED, *descriptor[4:7], *ids))

    def _control(self, ident: int, payload: bytes) -> None:
        endpoint, request, kind, _, value, index, length = struct.unpack_from("<BBBBHHH", payload)
        inwards = bool(kind & 0x80)
        setup = struct.pack("<BBHHH", kind, request, value, index, length)

        def answer(urb: Any) -> None:
            data = urb.buffer[: urb.actual] if inwards and not urb.status else b""
            moved = len(data) if inwards else (0 if urb.status else length)
            header = (endpoint, request, kind, _status(urb), value, index, moved)
            self._send(_CONTROL, ident, struct.pack("<BBBBHHH", *header) + data)

        self._submit(_urb(0, inwards, payload[10:], length, ident, setup), answer)

    def _bulk(self, ident: int, payload: bytes) -> None:
        endpoint, _, low, stream, high = struct.unpack_from("<BBHIH", payload)
        inwards, length = bool(endpoint & 0x80), high << 16 | low

        def answer(urb: Any) -> None:
            data = urb.buffer[: urb.actual] if inwards and not urb.status else b""
            moved = len(data) if inwards else (0 if urb.status else length)
            header = (endpoint, _status(urb), moved & 0xFFFF, stream, moved >> 16)
            self._send(_BULK, ident, struct.pack("<BBHIH", *header) + data)

        self._submit(_urb(endpoint & 15, inwards, payload[10:], length, ident), answer)

    def _interrupt_out(self, ident: int, payload: bytes) -> None:
        def answer(urb: Any) -> None:
            self._send(_INTERRUPT, ident, struct.pack("<BBH", payload[0], _status(urb), urb.actual))

        self._submit(_urb(payload[0] & 15, False, payload[4:], len(payload) - 4, ident), answer)

    def _await_interrupt(self, endpoint: int, turn: int) -> None:
        """One transfer is always waiting; what comes is passed on."""

        def answer(urb: Any) -> None:
            header = struct.pack("<BBH", endpoint, _OK, urb.actual)
            self._send(_INTERRUPT, turn, header + urb.buffer[: urb.actual])
            self._await_interrupt(endpoint, turn + 1)

        self._submit(_urb(endpoint & 15, True, b"", 0, turn | 1 << 40), answer)

    def _submit(self, urb: Any, answer: Any) -> None:
        done = self._device.handle_urb(urb, respond=answer)
        if done is not None:
            answer(done)


def _status(urb: Any) -> int:
    return _STALLED if urb.status else _OK


def _urb(endpoint: int, inwards: bool, data: bytes, length: int, ident: int, setup: bytes = b"") -> Any:
    """A transfer as ``usbip`` expects it."""
    return SimpleNamespace(
        ep=endpoint,
        ep_addr=endpoint | (0x80 if inwards else 0),
        direction=IN if inwards else OUT,
        buffer=bytes(data),
        length=length,
        seqnum=ident,
        setup=setup,
        actual=0,
        status=0,
        interval=0,
        iso_packets=None,
        devid=0,
    )
