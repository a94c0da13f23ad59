"""Which block device is the volume at a USB port, as the kernel's own tree says; no name that was told is used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.usb.errors import DeviceGoneError
from agent.usb.ports import volume_generation

PORT_PATH: Final = re.compile(r"[0-9]{1,3}-[0-9]{1,3}(?:\.[0-9]{1,3}){0,5}")
"""Bus, port of the root hub, ports of at most five hubs (USB 2.0 section 4.1.1)."""

_UNIT: Final = re.compile(r"[0-9]+:[0-9]+:[0-9]+:([0-9]+)")
"""A SCSI device: host, channel, target, logical unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSeen:
    """A block device below a USB port: a whole disk, or a partition of ``disk``. Devices are "major:minor"."""

    name: str
    device: str
    disk: str
    disk_device: str
    disk_sequence: int
    port_path: str
    lun: int
    partition: int

    @property
    def generation(self) -> str:
        return volume_generation(disk_sequence=self.disk_sequence, device=self.device)


def find_block(sys: Path, *, port_path: str, lun: int, partition: int) -> BlockSeen:
    """Raises DeviceGoneError when there is none."""
    for seen in blocks_below(sys, port_path):
        if (seen.lun, seen.partition) == (lun, partition):
            return seen
    raise DeviceGoneError(f"no volume {lun}-{partition} at port {port_path}")


def blocks_below(sys: Path, port_path: str) -> list[BlockSeen]:
    """All block devices of the device at a port, not those of devices behind it if it is a hub. Nothing of devices at
    other ports is read."""
    try:
        names = sorted(link.name for link in (sys / "class/block").iterdir())
    except OSError:
        return []
    seen = (_look(sys / "class/block" / name, port_path) for name in names)
    return [block for block in seen if block is not None]


def is_held(sys: Path, name: str) -> bool:
    """Whether another device of the kernel is built upon this one: encryption, RAID, a volume group."""
    try:
        return any((sys / "class/block" / name / "holders").iterdir())
    except OSError:
        return False


def _look(link: Path, port_path: str) -> BlockSeen | None:
    """None for a block device that is elsewhere, and for one that goes away meanwhile."""
    try:
        folder = link.resolve(strict=True)
        ports = [part for part in folder.parts if PORT_PATH.fullmatch(part)]
        units = [found for part in folder.parts if (found := _UNIT.fullmatch(part))]
        if not units or ports[-1:] != [port_path]:
            return None
        partition = _number(folder / "partition") if (folder / "partition").exists() else 0
        disk = folder.parent if partition else folder
        return BlockSeen(
            name=folder.name,
            device=_text(folder / "dev"),
            disk=disk.name,
            disk_device=_text(disk / "dev"),
            disk_sequence=_number(disk / "diskseq"),
            port_path=port_path,
            lun=int(units[-1][1]),
            partition=partition,
        )
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    return path.read_text("ascii").strip()


def _number(path: Path) -> int:
    return int(_text(path))
