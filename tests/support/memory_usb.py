"""The machine's USB in memory: a real implementation of the bus over recorders that are objects.

Time does not pass in it: what a device does not answer at once it does not answer in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from agent.usb.descriptors import interfaces_of
from agent.usb.errors import (
    DeviceBusyError,
    DeviceGoneError,
    DeviceSilentError,
    TransferRefusedError,
)
from agent.usb.ports import DeviceSeen, UsbChannel, VolumeSeen
from tests.support.usb_recorders import STORAGE_CLASS, Recorder, Stall

_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class _Plugged:
    recorder: Recorder
    seen: DeviceSeen
    held: set[int] = field(default_factory=set)


class MemoryUsbBus:
    """Satisfies ``agent.usb.ports.UsbBus``; plugging and unplugging from outside."""

    def __init__(self) -> None:
        self._plugged: dict[str, _Plugged] = {}
        self._volumes: dict[str, tuple[VolumeSeen, ...]] = {}
        self._listeners: set[asyncio.Queue[str]] = set()
        self._count = 0
        self.gives_hints = True

    def plug(self, recorder: Recorder, port_path: str) -> DeviceSeen:
        self._count += 1
        number = self._count
        seen = DeviceSeen(
            port_path=port_path,
            generation=f"memory:{number}",
            vendor_id=recorder.vendor_id,
            product_id=recorder.product_id,
            release_bcd=recorder.release_bcd,
            device_class=recorder.device_class,
            manufacturer=recorder.manufacturer,
            product=recorder.product,
            serial=recorder.serial,
            speed_mbit=480,
            interfaces=interfaces_of(recorder.descriptors()[18:], 1),
        )
        recorder.leave = lambda then: self._leave(port_path, then)
        self._plugged[port_path] = _Plugged(recorder, seen)
        self._hint(port_path)
        return seen

    def unplug(self, port_path: str) -> None:
        self._plugged.pop(port_path, None)
        self._volumes.pop(port_path, None)
        self._hint(port_path)

    def show_volumes(self, port_path: str, *volumes: VolumeSeen) -> None:
        """What the kernel found on the device at this port."""
        self._volumes[port_path] = volumes
        self._hint(port_path)

    def devices(self) -> tuple[DeviceSeen, ...]:
        return tuple(plugged.seen for _, plugged in sorted(self._plugged.items()))

    def volumes(self, port_path: str) -> tuple[VolumeSeen, ...]:
        return self._volumes.get(port_path, ())

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield _from_queue(queue)
        finally:
            self._listeners.discard(queue)

    def open(self, device: DeviceSeen, *, interface: int) -> UsbChannel:
        plugged = self.find(device)
        if interface in plugged.held:
            raise DeviceBusyError("another conversation holds the interface")
        shown = next((face for face in device.interfaces if face.number == interface), None)
        is_storage = shown is not None and shown.class_code == STORAGE_CLASS
        if not is_storage:
            plugged.held.add(interface)
        return MemoryChannel(self, device, interface, is_storage=is_storage)

    def find(self, device: DeviceSeen) -> _Plugged:
        plugged = self._plugged.get(device.port_path)
        if plugged is None or plugged.seen.generation != device.generation:
            raise DeviceGoneError(f"what was at port {device.port_path} is not there any more")
        return plugged

    def _leave(self, port_path: str, then: Recorder | None) -> None:
        self.unplug(port_path)
        if then is not None:
            self.plug(then, port_path)

    def _hint(self, port_path: str) -> None:
        if self.gives_hints:
            for queue in self._listeners:
                queue.put_nowait(port_path)


async def _from_queue(queue: asyncio.Queue[str]) -> AsyncIterator[str]:
    while True:
        yield await queue.get()


class MemoryChannel:
    """Satisfies ``agent.usb.ports.UsbChannel``."""

    def __init__(self, bus: MemoryUsbBus, device: DeviceSeen, interface: int, *, is_storage: bool) -> None:
        self._bus = bus
        self._device = device
        self._interface = interface
        self._is_storage = is_storage
        self._is_open = True

    def control_out(
        self, *, request_type: int, request: int, value: int, index: int, data: bytes, timeout_ms: int
    ) -> None:
        self._ask(lambda it: it.control(request_type, request, value, index, data, len(data)), for_scsi=False)

    def control_in(
        self, *, request_type: int, request: int, value: int, index: int, length: int, timeout_ms: int
    ) -> bytes:
        answer = self._ask(
            lambda it: it.control(request_type, request, value, index, b"", length), for_scsi=False
        )
        return answer[:length]

    def write(self, endpoint: int, data: bytes, *, timeout_ms: int) -> None:
        self._ask(lambda it: it.bulk_out(endpoint, data), for_scsi=False)

    def read(self, endpoint: int, length: int, *, timeout_ms: int) -> bytes:
        packets = {
            point.address: point.max_packet_bytes
            for face in self._device.interfaces
            for point in face.endpoints
        }
        packet = max(1, packets.get(endpoint, 1))
        room = -(-length // packet) * packet
        answer = self._ask(lambda it: it.bulk_in(endpoint, room), for_scsi=False)
        if answer is None:
            raise DeviceSilentError("the device did not answer in time")
        if len(answer) > length:
            raise TransferRefusedError(f"the device sent more than {length} bytes")
        return answer

    def scsi(self, cdb: bytes, *, data_out: bytes = b"", length_in: int = 0, timeout_ms: int) -> bytes:
        return self._ask(lambda it: it.scsi(cdb, data_out, length_in), for_scsi=True)[:length_in]

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self._bus.find(self._device).held.discard(self._interface)
            except DeviceGoneError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, act: Callable[[Recorder], _Answer], *, for_scsi: bool) -> _Answer:
        if not self._is_open:
            raise DeviceGoneError("the conversation is over")
        plugged = self._bus.find(self._device)
        if for_scsi != self._is_storage:
            raise TransferRefusedError("not through this interface")
        try:
            return act(plugged.recorder)
        except Stall as error:
            self._bus.find(self._device)  # pulled in the middle is more than refused
            raise TransferRefusedError("the device refused the transfer") from error
