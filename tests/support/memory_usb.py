"""USB in memory: a bus that things are plugged into, and a mounter for media that are folders."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.usb.errors import DeviceGoneError, MountRefusedError, UsbError
from agent.usb.ports import DeviceSeen, Mounted, UsbChannel, VolumeSeen
from agent.volumes.errors import VolumeError


def a_device(port_path: str, *, product_id: int = 1, serial: str | None = None) -> DeviceSeen:
    return DeviceSeen(
        port_path=port_path,
        generation="",
        vendor_id=0x1234,
        product_id=product_id,
        release_bcd=0x0100,
        device_class=0,
        manufacturer="maker",
        product="recorder",
        serial=serial,
        speed_mbit=480,
        interfaces=(),
    )


@dataclass(eq=False)
class Medium:
    """A card: a folder, and how it behaves."""

    folder: Path
    label: str | None = None
    fs_type: str = "vfat"
    write_protected: bool = False
    refuses_mount: UsbError | None = None
    refuses_release: VolumeError | None = None


@dataclass(eq=False)
class MemoryBus:
    """A ``UsbBus``. Hints go out by themselves unless ``hinting`` is off. Plug and unplug on the event loop."""

    hinting: bool = True
    media: dict[VolumeSeen, Medium] = field(default_factory=dict)
    _devices: dict[str, DeviceSeen] = field(default_factory=dict)
    _count: int = 0
    _listeners: set[asyncio.Queue[str]] = field(default_factory=set)

    def plug(self, device: DeviceSeen, *media: Medium) -> DeviceSeen:
        self._count += 1
        plugged = replace(device, generation=f"boot:{self._count}")
        self._devices[device.port_path] = plugged
        for medium in media:
            self.insert(device.port_path, medium)
        self._hint(device.port_path)
        return plugged

    def insert(self, port_path: str, medium: Medium) -> VolumeSeen:
        self._count += 1
        volume = VolumeSeen(
            port_path=port_path,
            generation=f"seq:{self._count}",
            device_node=f"/dev/sd{self._count}",
            lun=len(self.volumes(port_path)),
            partition=1,
            size_bytes=2**30,
            write_protected=medium.write_protected,
            fs_type=medium.fs_type,
            label=medium.label,
        )
        self.media[volume] = medium
        self._hint(port_path)
        return volume

    def eject(self, port_path: str) -> None:
        """The medium goes, the device stays."""
        for volume in self.volumes(port_path):
            del self.media[volume]
        self._hint(port_path)

    def pull(self, port_path: str) -> None:
        del self._devices[port_path]
        self.eject(port_path)

    def devices(self) -> tuple[DeviceSeen, ...]:
        return tuple(device for _, device in sorted(self._devices.items()))

    def volumes(self, port_path: str) -> tuple[VolumeSeen, ...]:
        return tuple(volume for volume in list(self.media) if volume.port_path == port_path)

    @asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield _forever(queue)
        finally:
            self._listeners.discard(queue)

    def open(self, device: DeviceSeen, *, interface: int) -> UsbChannel:
        raise DeviceGoneError(f"nobody talks at {device.port_path}, interface {interface}")

    def _hint(self, port_path: str) -> None:
        if self.hinting:
            for listener in self._listeners:
                listener.put_nowait(port_path)


async def _forever(queue: asyncio.Queue[str]) -> AsyncIterator[str]:
    while True:
        yield await queue.get()


@dataclass(eq=False)
class MemoryMounter:
    """A ``Mounter`` of folders: what is mounted is a copy, written back to the medium when it was for release."""

    bus: MemoryBus
    base: Path
    asked: list[str] = field(default_factory=list)
    _mounted: dict[VolumeSeen, Mounted] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mount_read_only(self, volume: VolumeSeen) -> Mounted:
        with self._lock:
            medium = self._medium(volume)
            if medium.refuses_mount is not None:
                raise medium.refuses_mount
            self._let_go(volume)
            return self._mount(volume, medium, writable=False)

    def remount_for_release(self, volume: VolumeSeen) -> Mounted:
        with self._lock:
            medium = self._medium(volume)
            if medium.refuses_release is not None:
                raise medium.refuses_release
            self._let_go(volume)
            return self._mount(volume, medium, writable=True)

    def unmount(self, port_path: str) -> None:
        with self._lock:
            self.asked.append(f"unmount {port_path}")
            for volume in [volume for volume in self._mounted if volume.port_path == port_path]:
                self._let_go(volume)

    def mounted_at(self, port_path: str) -> Iterable[VolumeSeen]:
        return [volume for volume in self._mounted if volume.port_path == port_path]

    def _medium(self, volume: VolumeSeen) -> Medium:
        try:
            return self.bus.media[volume]
        except KeyError:
            raise DeviceGoneError(f"no {volume.device_node} any more") from None

    def _mount(self, volume: VolumeSeen, medium: Medium, *, writable: bool) -> Mounted:
        if medium.fs_type not in ("vfat", "exfat", "ext4"):
            raise MountRefusedError(f"{medium.fs_type} is not mounted")
        self.asked.append(f"mount {volume.device_node} {'rw' if writable else 'ro'}")
        folder = self.base / volume.device_node.rpartition("/")[2]
        shutil.copytree(medium.folder, folder)
        mounted = Mounted(
            directory=bytes(folder), mount_id=len(self.asked), fs_type=medium.fs_type, writable=writable
        )
        self._mounted[volume] = mounted
        return mounted

    def _let_go(self, volume: VolumeSeen) -> None:
        mounted = self._mounted.pop(volume, None)
        if mounted is None:
            return
        folder = Path(mounted.directory.decode())
        medium = self.bus.media.get(volume)
        if mounted.writable and medium is not None:
            shutil.rmtree(medium.folder)
            shutil.copytree(folder, medium.folder)
        shutil.rmtree(folder)
