"""A recorder as a USB device: cards with a counter of written blocks, and whatever can go wrong at an exact block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from usbip import In, Interface, Out, Stall, USBDevice
from usbip.classes.device import hid, msc
from usbip.core import SPEED_HIGH

from tests.support.guest.boot import Guest
from tests.support.guest.redir import RedirectedDevice

BLOCK_BYTES: Final = 512
_MEDIUM_ERROR: Final = (0x03, 0x11, 0x00)
"""Sense: unrecovered read error."""


class Card:
    """An image file as a card. ``blocks_written`` counts what reached it; ``on_read`` and ``on_write`` are called
    before blocks are moved, with the first and their number. A ``worn_out`` card said it could be written, and
    refuses."""

    block_size: Final = BLOCK_BYTES

    def __init__(self, image: Path, *, write_protected: bool = False) -> None:
        self.image = image
        self.read_only = write_protected
        self.blocks_written = 0
        self.bad_blocks: set[int] = set()
        self.worn_out = False
        self.on_read: Callable[[int, int], None] = lambda first, count: None
        self.on_write: Callable[[int, int], None] = lambda first, count: None

    @property
    def num_blocks(self) -> int:
        return self.image.stat().st_size // BLOCK_BYTES

    def read(self, first: int, count: int) -> bytes:
        self.on_read(first, count)
        with self.image.open("rb") as file:
            file.seek(first * BLOCK_BYTES)
            return file.read(count * BLOCK_BYTES)

    def write(self, first: int, count: int, data: bytes) -> None:
        self.on_write(first, count)
        self.blocks_written += count
        with self.image.open("r+b") as file:
            file.seek(first * BLOCK_BYTES)
            file.write(data)


class StorageFace(msc.MSC):  # type: ignore[misc]
    """Mass storage with a logical unit for each card."""

    def _dispatch(self, lun: int, tag: bytes, length: int, command: bytes) -> None:
        card: Card = self.luns[lun].store
        if command[0] == msc.OP_READ_10 and card.bad_blocks:
            first, count = self._lba_count(command)
            if card.bad_blocks.intersection(range(first, first + count)):
                self._fail(lun, tag, length, _MEDIUM_ERROR, "bad block")
                return
        if command[0] == msc.OP_WRITE_10 and card.worn_out:
            self._fail(lun, tag, length, msc.SENSE_WRITE_PROTECT, "worn out")
            return
        super()._dispatch(lun, tag, length, command)


class Recorder:
    """A recorder that shows its cards as soon as it is plugged in."""

    def __init__(
        self, *cards: Card, vendor_id: int = 0x1209, product_id: int = 0x0002, serial: str = "0001"
    ) -> None:
        self.cards: Sequence[Card] = cards
        self._ids = (vendor_id, product_id, serial)
        self._stay: RedirectedDevice | None = None

    @property
    def blocks_written(self) -> int:
        return sum(card.blocks_written for card in self.cards)

    def plug(self, guest: Guest, port: int) -> None:
        self._stay = RedirectedDevice(self._device(), guest.port_socket(port))

    def pull(self) -> None:
        stay, self._stay = self._stay, None
        if stay is not None:
            stay.pull()

    def _device(self) -> Any:
        vendor_id, product_id, serial = self._ids
        device = USBDevice(
            vendor_id, product_id, manufacturer="Example", product="Body Recorder", serial=serial
        )
        device.set_speed(SPEED_HIGH)
        device.add(StorageFace(list(self.cards), vendor="EXAMPLE", product="RECORDER"))
        return device


class Keyboard(Recorder):
    """No recorder at all: what a person with other intentions plugs into a bay."""

    def _device(self) -> Any:
        device = USBDevice(0x1209, 0x0003, manufacturer="Example", product="Keyboard", serial="0001")
        device.set_speed(SPEED_HIGH)
        device.add(hid.HID(hid.keyboard_report_descriptor(), subclass=1, protocol=1))
        return device


class AmbarellaFace(Interface):  # type: ignore[misc]
    """The "simple class" as published: frames of ASCII over two bulk endpoints."""

    bInterfaceClass = 0xFF  # noqa: N815 - the name of the package usbip
    bulk_out = Out(0x01, "bulk", mps=512)
    bulk_in = In(0x81, "bulk", mps=512)

    def __init__(self, ident: str, switch: Callable[[], None]) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.version = b"@Ver;OK;#"
        self._ident = ident
        self._switch = switch

    def on_out(self, endpoint: int, data: bytes) -> None:
        command, _, rest = bytes(data).decode("ascii", "replace").removeprefix("@").partition(";")
        self.heard.append(command)
        if command == "Ver":
            self.bulk_in.write(self.version if rest == "8;00000000;#" else b"@Ver;ERROR;#")
        elif command == "Gdv":
            self.bulk_in.write(f"@Gdv;{len(self._ident)};{self._ident}#".encode())
        elif command == "ATH":
            self._switch()
        else:
            raise Stall


class AmbarellaRecorder(Recorder):
    """Shows its cards only when it is told to, and comes back as another device at the same port; a ``lost`` one does
    not come back."""

    def __init__(self, *cards: Card, ident: str, lost: bool = False) -> None:
        super().__init__(*cards, vendor_id=0x4255, product_id=0x0001)
        self.face = AmbarellaFace(ident, lambda: threading.Thread(target=self._come_back).start())
        self._is_disk = False
        self._lost = lost
        self._port: tuple[Guest, int] | None = None

    def plug(self, guest: Guest, port: int) -> None:
        """As when it leaves the officer's hand: not a disk."""
        self._is_disk, self._port = False, (guest, port)
        super().plug(guest, port)

    def _come_back(self) -> None:
        assert self._port is not None
        self.pull()
        self._is_disk = True
        if not self._lost:
            super().plug(*self._port)

    def _device(self) -> Any:
        if self._is_disk:
            return super()._device()
        device = USBDevice(0x4255, 0x0001, manufacturer="Example", product="Body Recorder", serial="0001")
        device.set_speed(SPEED_HIGH)
        device.add(self.face)
        return device
