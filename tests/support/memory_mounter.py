"""The mount helper's twin: cards are folders, and mounting moves a card's folder to where it is mounted.

What a folder cannot be is read-only; ``Mounted.writable`` says what it should be. Everything else behaves as the
contract suite demands of both.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from agent.usb.errors import DeviceGoneError, MounterAwayError, MountFailedError, MountRefusedError
from agent.usb.ports import Mounted, VolumeSeen, volume_generation
from agent.volumes.errors import VolumeDirtyError, VolumeReadOnlyError


@dataclass(slots=True)
class MemoryCard:
    """A card and its state. ``fs_type`` None: nothing that could be mounted."""

    folder: Path
    fs_type: str | None = "vfat"
    partition: int = 0
    dirty: bool = False
    write_protected: bool = False


@dataclass(slots=True)
class _Stay:
    """A card plugged in: what is seen of it, and its mount."""

    card: MemoryCard
    seen: VolumeSeen
    mounted: Mounted | None = None


class MemoryMounter:
    """A ``Mounter`` of cards that were plugged in with ``plug``. ``bays`` are port paths; ``away`` is the helper
    stopped."""

    def __init__(self, base: Path, *bays: str) -> None:
        self.away = False
        self._base = base
        self._bays = frozenset(bays)
        self._stays: dict[tuple[str, int, int], _Stay] = {}
        self._numbers = itertools.count(1)

    def plug(self, port_path: str, *cards: MemoryCard) -> list[VolumeSeen]:
        """A recorder with a logical unit for each card."""
        sequence = next(self._numbers)
        for lun, card in enumerate(cards):
            place = (port_path, lun, card.partition)
            self._stays[place] = _Stay(card, _seen(port_path, lun, card, sequence))
        return self.volumes(port_path)

    def pull(self, port_path: str) -> None:
        for place in [place for place in self._stays if place[0] == port_path]:
            self._put_back(self._stays.pop(place))

    def volumes(self, port_path: str) -> list[VolumeSeen]:
        """As ``UsbBus.volumes``."""
        return [stay.seen for place, stay in sorted(self._stays.items()) if place[0] == port_path]

    def where(self, card: MemoryCard) -> Path:
        """The folder with a card's files now."""
        for stay in self._stays.values():
            if stay.card is card and stay.mounted is not None:
                return Path(stay.mounted.directory.decode())
        return card.folder

    def mount_read_only(self, volume: VolumeSeen) -> Mounted:
        stay = self._stay(volume)
        if stay.mounted is not None and not stay.mounted.writable:
            return stay.mounted
        return self._mount(stay, writable=False)

    def remount_for_release(self, volume: VolumeSeen) -> Mounted:
        stay = self._stay(volume)
        if stay.mounted is not None and stay.mounted.writable:
            return stay.mounted
        if stay.card.fs_type is not None and stay.card.dirty:
            raise VolumeDirtyError("the volume was not left in order")
        if stay.card.write_protected:
            self._mount(stay, writable=False)
            raise VolumeReadOnlyError("the medium is write-protected")
        return self._mount(stay, writable=True)

    def unmount(self, port_path: str) -> None:
        self._check(port_path)
        for place, stay in self._stays.items():
            if place[0] == port_path:
                self._put_back(stay)

    def _check(self, port_path: str) -> None:
        if self.away:
            raise MounterAwayError("the mounter is not running")
        if port_path not in self._bays:
            raise MountRefusedError(f"port {port_path} is no bay of this station")

    def _stay(self, volume: VolumeSeen) -> _Stay:
        self._check(volume.port_path)
        stay = self._stays.get((volume.port_path, volume.lun, volume.partition))
        if stay is None or stay.seen.generation != volume.generation:
            raise DeviceGoneError(f"not at port {volume.port_path} any more")
        return stay

    def _mount(self, stay: _Stay, *, writable: bool) -> Mounted:
        if stay.card.fs_type is None:
            raise MountFailedError("expected one file system, found none that is mounted here")
        self._put_back(stay)
        seen = stay.seen
        sequence = seen.generation.partition("/")[0]
        directory = self._base / seen.port_path / f"{seen.lun}-{seen.partition}-{sequence}"
        directory.parent.mkdir(parents=True, exist_ok=True)
        stay.card.folder.rename(directory)
        stay.mounted = Mounted(
            directory=bytes(directory),
            mount_id=next(self._numbers),
            fs_type=stay.card.fs_type,
            writable=writable,
        )
        return stay.mounted

    def _put_back(self, stay: _Stay) -> None:
        if stay.mounted is not None:
            Path(stay.mounted.directory.decode()).rename(stay.card.folder)
            stay.mounted = None


def _seen(port_path: str, lun: int, card: MemoryCard, sequence: int) -> VolumeSeen:
    return VolumeSeen(
        port_path=port_path,
        generation=volume_generation(disk_sequence=sequence, device=f"8:{16 * lun + card.partition}"),
        device_node=f"/dev/sd{'abcdefgh'[lun]}{card.partition or ''}",
        lun=lun,
        partition=card.partition,
        size_bytes=sum(path.stat().st_size for path in card.folder.rglob("*") if path.is_file()),
        fs_type=card.fs_type,
        label="ZFY",
    )
