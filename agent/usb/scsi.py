"""SCSI commands through the kernel's own mass-storage driver, by SG_IO (linux/Documentation/scsi/scsi-generic.rst).

The driver stays where it is, so volumes behind the device stay usable. ``/dev/sgN`` takes vendor commands from whoever
may open it for reading and writing; opening it so does not touch the medium.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from agent.usb.errors import (
    DeviceBusyError,
    DeviceForbiddenError,
    DeviceGoneError,
    DeviceSilentError,
    TransferRefusedError,
    UsbError,
)

MAX_TRANSFER_BYTES: Final = 4096
"""A conversation asks for facts; it reads no media."""

_SG_IO: Final = 0x2285
_TO_DEVICE, _FROM_DEVICE, _NO_DATA = -2, -3, -1
_SENSE_BYTES: Final = 32
_GONE_STATUSES: Final = frozenset({0x01, 0x04})
"""DID_NO_CONNECT, DID_BAD_TARGET (include/scsi/scsi_status.h)."""

_TIMED_OUT: Final = 0x03
_NO_LIBUSB: Final = "the kernel's driver has the interface; it carries SCSI commands only"


class _Header(ctypes.Structure):
    """``struct sg_io_hdr`` (include/scsi/sg.h)."""

    _fields_ = (
        ("interface_id", ctypes.c_int),
        ("dxfer_direction", ctypes.c_int),
        ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte),
        ("iovec_count", ctypes.c_ushort),
        ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p),
        ("cmdp", ctypes.c_void_p),
        ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p),
        ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte),
        ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort),
        ("resid", ctypes.c_int),
        ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    )


class ScsiChannel:
    """Satisfies ``agent.usb.ports.UsbChannel`` for a mass-storage interface."""

    def __init__(self, node: str, *, is_there: Callable[[], bool]) -> None:
        """Raises as ``UsbBus.open``."""
        self._is_there = is_there
        self._handle: int | None = None
        try:
            self._handle = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self._told(error) from error

    def scsi(self, cdb: bytes, *, data_out: bytes = b"", length_in: int = 0, timeout_ms: int) -> bytes:
        if max(len(data_out), length_in) > MAX_TRANSFER_BYTES or (data_out and length_in):
            raise TransferRefusedError(f"a command moves one way, at most {MAX_TRANSFER_BYTES} bytes")
        data = ctypes.create_string_buffer(data_out, max(1, len(data_out), length_in))
        sense = ctypes.create_string_buffer(_SENSE_BYTES)
        command = ctypes.create_string_buffer(cdb, len(cdb))
        header = _Header(
            interface_id=ord("S"),
            dxfer_direction=_TO_DEVICE if data_out else _FROM_DEVICE if length_in else _NO_DATA,
            cmd_len=len(cdb),
            mx_sb_len=_SENSE_BYTES,
            dxfer_len=len(data_out) or length_in,
            dxferp=ctypes.addressof(data),
            cmdp=ctypes.addressof(command),
            sbp=ctypes.addressof(sense),
            timeout=timeout_ms,
        )
        self._send(header)
        self._check(header, sense.raw)
        return data.raw[: max(0, min(length_in, length_in - header.resid))]

    def control_out(
        self, *, request_type: int, request: int, value: int, index: int, data: bytes, timeout_ms: int
    ) -> None:
        raise TransferRefusedError(_NO_LIBUSB)

    def control_in(
        self, *, request_type: int, request: int, value: int, index: int, length: int, timeout_ms: int
    ) -> bytes:
        raise TransferRefusedError(_NO_LIBUSB)

    def write(self, endpoint: int, data: bytes, *, timeout_ms: int) -> None:
        raise TransferRefusedError(_NO_LIBUSB)

    def read(self, endpoint: int, length: int, *, timeout_ms: int) -> bytes:
        raise TransferRefusedError(_NO_LIBUSB)

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):
                os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, header: _Header) -> None:
        if self._handle is None:
            raise DeviceGoneError("the conversation is over")
        try:
            fcntl.ioctl(self._handle, _SG_IO, header)
        except OSError as error:
            raise self._told(error) from error

    def _check(self, header: _Header, sense: bytes) -> None:
        if header.host_status in _GONE_STATUSES or (header.host_status and not self._is_there()):
            raise DeviceGoneError("the device was pulled")
        if header.host_status == _TIMED_OUT:
            raise DeviceSilentError("the device did not answer in time")
        if header.host_status or header.status:
            found = sense[: header.sb_len_wr].hex(" ") or "none"
            raise TransferRefusedError(
                f"the command ended with status {header.status:02x}h, host {header.host_status:02x}h, sense {found}"
            )

    def _told(self, error: OSError) -> UsbError:
        if error.errno in (errno.ENODEV, errno.ENXIO, errno.ENOENT) or not self._is_there():
            return DeviceGoneError("the device was pulled or came back as another one")
        if error.errno in (errno.EACCES, errno.EPERM):
            return DeviceForbiddenError("the station may not send SCSI commands to the device")
        if error.errno in (errno.EBUSY, errno.EAGAIN):
            return DeviceBusyError("another program holds the device")
        return TransferRefusedError(f"the command failed: {error.strerror}")
