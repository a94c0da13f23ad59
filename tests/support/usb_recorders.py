"""Recorders as USB devices, as objects: descriptors, answers, faults. The same ones stand behind the bus in memory, the
fake backend of pyusb and umockdev's usbfs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

BULK: Final = 2
INTERRUPT: Final = 3

VENDOR_CLASS: Final = 0xFF
HID_CLASS: Final = 0x03
STORAGE_CLASS: Final = 0x08


class Stall(Exception):  # noqa: N818 - what a device does, not an error of ours
    """Raised by a device to refuse a transfer (SCSI: check condition)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One interface: codes, and endpoints as (address, kind, largest packet)."""

    class_code: int = VENDOR_CLASS
    subclass_code: int = 0
    protocol_code: int = 0
    endpoints: tuple[tuple[int, int, int], ...] = ()


@dataclass(slots=True, kw_only=True)
class Recorder:
    """A device that answers nothing; the families below answer. ``leave`` is set by the bus: the device goes away and,
    with an argument, comes back as that."""

    vendor_id: int = 0x1209
    product_id: int = 0x0001
    release_bcd: int = 0x0100
    device_class: int = 0
    manufacturer: str | None = "ZHILU EXAMPLE"
    product: str | None = "Recorder"
    serial: str | None = "000000000000"
    faces: tuple[Face, ...] = (Face(),)
    kernel_driver: str | None = None
    leave: Callable[[Recorder | None], None] = lambda _: None
    heard: list[bytes] = field(default_factory=list)

    def control(
        self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes:
        """To the device: ``data``, the return value does not count. From it: at most ``length`` bytes."""
        raise Stall

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        raise Stall

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        """None: nothing to say yet."""
        raise Stall

    def scsi(self, cdb: bytes, data: bytes, length: int) -> bytes:
        raise Stall

    def descriptors(self) -> bytes:
        """Device descriptor and one configuration, as usbfs and sysfs give them."""
        head = struct.pack(
            "<BBHBBBBHHHBBBB",
            *(18, 1, 0x0200, self.device_class, 0, 0, 64),
            *(self.vendor_id, self.product_id, self.release_bcd, 1, 2, 3, 1),
        )
        body = b"".join(_face_bytes(number, face) for number, face in enumerate(self.faces))
        return head + struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), len(self.faces), 1, 0, 0x80, 250) + body


def _face_bytes(number: int, face: Face) -> bytes:
    codes = (face.class_code, face.subclass_code, face.protocol_code)
    data = struct.pack("<BBBBBBBBB", 9, 4, number, 0, len(face.endpoints), *codes, 0)
    for address, kind, packet in face.endpoints:
        data += struct.pack("<BBBBHB", 7, 5, address, kind, packet, 1)
    return data


@dataclass(slots=True, kw_only=True)
class Disk(Recorder):
    """Mass storage without secrets."""

    faces: tuple[Face, ...] = (
        Face(
            class_code=STORAGE_CLASS,
            subclass_code=6,
            protocol_code=0x50,
            endpoints=((0x81, BULK, 512), (0x02, BULK, 512)),
        ),
    )


@dataclass(slots=True, kw_only=True)
class Ambarella(Recorder):
    """The "simple class" as published; ``answers`` replaces answers by command."""

    vendor_id: int = 0x4255
    faces: tuple[Face, ...] = (Face(endpoints=((0x81, BULK, 512), (0x01, BULK, 512))),)
    ident: str = "007"
    answers: dict[str, bytes | None] = field(default_factory=dict)
    waiting: list[bytes] = field(default_factory=list)

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        self.heard.append(data)
        command = data.decode("ascii", "replace").lstrip("@").partition(";")[0]
        answer = self.answers.get(command, self._answer(command))
        if answer is not None:
            self.waiting.append(answer)
        if command == "ATH":
            self.leave(Disk(vendor_id=self.vendor_id, product_id=0x0003, serial=self.serial))

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        return self.waiting.pop(0)[:length] if self.waiting else None

    def _answer(self, command: str) -> bytes:
        if command == "Ver":
            return b"@Ver;OK;#"
        if command == "Gdv":
            return f"@Gdv;{len(self.ident)};{self.ident}#".encode()
        return f"@{command};OK;#".encode()


@dataclass(slots=True, kw_only=True)
class HidUnlock(Recorder):
    """The example family that is unlocked by HID reports."""

    faces: tuple[Face, ...] = (
        Face(class_code=HID_CLASS, endpoints=((0x81, INTERRUPT, 64), (0x02, INTERRUPT, 64))),
    )
    password: bytes = b"000000"
    clock: str = "20250102030405"
    info: bytes = b"INFO ZFY0001 A00123 87 1.2.3"
    waiting: list[bytes] = field(default_factory=list)

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        self.heard.append(data)
        word, _, rest = data.rstrip(b"\0").partition(b" ")
        known = {b"HELLO": b"RECORDER", b"INFO": self.info, b"TIME": b"TIME " + self.clock.encode()}
        answer = known.get(word, b"OK")
        if word == b"UNLOCK" and rest != self.password:
            answer = b"NO"
        self.waiting.append(answer.ljust(64, b"\0"))

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        if not self.waiting:
            return None
        answer = self.waiting.pop(0)
        if answer.startswith(b"OK") and self.heard[-1].startswith(b"UNLOCK"):
            self.leave(Disk(serial=self.serial))
        return answer[:length]


@dataclass(slots=True, kw_only=True)
class VendorScsi(Disk):
    """The example family that is unlocked by SCSI commands."""

    product_id: int = 0x0002
    password: bytes = b"000000"

    def scsi(self, cdb: bytes, data: bytes, length: int) -> bytes:
        self.heard.append(cdb + data)
        if cdb[0] == 0x12:
            return (bytes(8) + b"ZHILU   EXAMPLE RECORDER1.00")[:length]
        if cdb[:2] == b"\xf9\x01":
            return b"ZFY0002,B00456,55,2.0"[:length].ljust(length, b"\0")
        if cdb[:2] == b"\xf9\x02":
            return b"20250102030405".ljust(length, b"\0")
        if cdb[:2] == b"\xfa\x01" and data.rstrip(b"\0") == self.password:
            self.leave(Disk(serial=self.serial))
            return b""
        if cdb[:2] == b"\xfa\x02":
            return b""
        raise Stall
