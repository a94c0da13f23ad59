"""What udev and sysfs say of USB devices and of the volumes behind them. Nothing is opened, nothing is sent.

Values from sysfs are read when asked for, so a device may go in the middle: then it is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyudev

from agent.usb.descriptors import interfaces_of
from agent.usb.ports import DeviceSeen, VolumeSeen, volume_generation
from agent.volumes.mounts import boot_id

MAX_TEXT_CHARS: Final = 126
"""Longest string descriptor (USB 2.0 section 9.6.7)."""

_HUB_CLASS: Final = 0x09
_SECTOR_BYTES: Final = 512
"""Unit of ``size`` in sysfs, whatever the medium's own."""

_PORT: Final = re.compile(r"[0-9]+-[0-9]+(?:\.[0-9]+)*")
_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")
_EXTENDED_PARTITIONS: Final = frozenset({"0x5", "0xf", "0x85"})


def port_of(device_path: str) -> str | None:
    """The port of the device at or above this path of sysfs: the last name in it that is one."""
    return next((name for name in reversed(device_path.split("/")) if _PORT.fullmatch(name)), None)


def see_devices(context: pyudev.Context) -> tuple[DeviceSeen, ...]:
    """Every device that udev has finished with, hubs left out, by port path."""
    found = context.list_devices(subsystem="usb", DEVTYPE="usb_device")
    seen = (_device(device) for device in found if _PORT.fullmatch(device.sys_name))
    kept = (device for device in seen if device is not None and device.device_class != _HUB_CLASS)
    return tuple(sorted(kept, key=lambda device: _port_order(device.port_path)))


def see_device(context: pyudev.Context, port_path: str) -> DeviceSeen | None:
    """The device at this port."""
    device = _at(context, port_path)
    return None if device is None else _device(device)


def bus_address(context: pyudev.Context, port_path: str) -> tuple[int, int] | None:
    """Bus and address of the device at this port, as libusb numbers them."""
    device = _at(context, port_path)
    numbers = None if device is None else (_number(device, "busnum"), _number(device, "devnum"))
    if numbers is None or numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0], numbers[1]


def see_volumes(context: pyudev.Context, port_path: str) -> tuple[VolumeSeen, ...]:
    """Volumes that udev has finished with; a medium with a partition table counts by its partitions."""
    blocks = [block for block in _below(context, "block", port_path) if _is_settled(block)]
    partitions = (block for block in blocks if block.device_type == "partition")
    divided = {block.parent.sys_path for block in partitions if block.parent is not None}
    seen = (_volume(block, port_path) for block in blocks if _may_carry(block, divided))
    volumes = [volume for volume in seen if volume is not None]
    return tuple(sorted(volumes, key=lambda volume: (volume.lun, volume.partition, volume.device_node)))


def scsi_node(context: pyudev.Context, port_path: str) -> str | None:
    """The node through which the kernel carries SCSI commands to the first logical unit."""
    for subsystem in ("scsi_generic", "block"):
        found = _below(context, subsystem, port_path)
        whole = [device for device in found if device.device_type != "partition" and device.device_node]
        if whole:
            return str(min(whole, key=lambda device: (_lun(device), device.sys_name)).device_node)
    return None


def label_of(encoded: str | None) -> str | None:
    """udev's ID_FS_LABEL_ENC as text: ``\\x20`` is a blank."""
    if encoded is None:
        return None
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), encoded.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "replace").strip() or None


def _is_settled(device: pyudev.Device) -> bool:
    """Whether udevd has applied its rules: until then neither the node's permissions nor the file system are known."""
    return device.is_initialized or device.properties.get("ID_BUS") is not None


def _at(context: pyudev.Context, port_path: str) -> pyudev.Device | None:
    try:
        return pyudev.Devices.from_name(context, "usb", port_path)
    except pyudev.DeviceNotFoundError:
        return None


def _device(device: pyudev.Device) -> DeviceSeen | None:
    numbers = {
        name: _number(device, name, 16) for name in ("idVendor", "idProduct", "bcdDevice", "bDeviceClass")
    }
    bus, address = _number(device, "busnum"), _number(device, "devnum")
    vendor, product = numbers["idVendor"], numbers["idProduct"]
    if not _is_settled(device) or vendor is None or product is None or bus is None or address is None:
        return None
    return DeviceSeen(
        port_path=device.sys_name,
        generation=f"{boot_id()}:{bus}/{address}:{_node_number(device)}",
        vendor_id=vendor,
        product_id=product,
        release_bcd=numbers["bcdDevice"] or 0,
        device_class=numbers["bDeviceClass"] or 0,
        manufacturer=_text(device, "manufacturer"),
        product=_text(device, "product"),
        serial=_text(device, "serial"),
        speed_mbit=_number(device, "speed"),
        interfaces=interfaces_of(
            _attribute(device, "descriptors") or b"", _number(device, "bConfigurationValue")
        ),
    )


def _volume(block: pyudev.Device, port_path: str) -> VolumeSeen | None:
    node, sectors, sequence = block.device_node, _number(block, "size"), _disk_sequence(block)
    if not node or not sectors or sequence is None:
        return None
    number = f"{block.properties.get('MAJOR')}:{block.properties.get('MINOR')}"
    return VolumeSeen(
        port_path=port_path,
        generation=volume_generation(disk_sequence=sequence, device=number),
        device_node=node,
        lun=_lun(block),
        partition=_number(block, "partition") or 0,
        size_bytes=sectors * _SECTOR_BYTES,
        fs_type=block.properties.get("ID_FS_TYPE"),
        label=label_of(block.properties.get("ID_FS_LABEL_ENC")),
    )


def _disk_sequence(block: pyudev.Device) -> int | None:
    """The kernel's number of the medium (5.15 and later); a partition has that of its disk."""
    told = block.properties.get("DISKSEQ")
    if told is not None:
        return int(told) if told.isdecimal() else None
    disk = block if block.device_type == "disk" else block.find_parent("block", "disk")
    return None if disk is None else _number(disk, "diskseq")


def _may_carry(block: pyudev.Device, divided: set[str]) -> bool:
    """A partition that holds no other ones, or a medium without a table. One with a table whose partitions are not
    there yet is still being looked at."""
    if block.device_type == "partition":
        return block.properties.get("ID_PART_ENTRY_TYPE") not in _EXTENDED_PARTITIONS
    return block.sys_path not in divided and (
        block.properties.get("ID_FS_TYPE") is not None or block.properties.get("ID_PART_TABLE_TYPE") is None
    )


def _below(context: pyudev.Context, subsystem: str, port_path: str) -> Iterator[pyudev.Device]:
    found = context.list_devices(subsystem=subsystem)
    return (device for device in found if port_of(device.device_path) == port_path)


def _lun(device: pyudev.Device) -> int:
    unit = device.find_parent("scsi", "scsi_device")
    number = "" if unit is None else unit.sys_name.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _node_number(device: pyudev.Device) -> str:
    """sysfs gives each folder a number of its own: a device that is enumerated anew has another one."""
    try:
        return str(os.stat(device.sys_path).st_ino)
    except OSError:
        return "gone"


def _port_order(port_path: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.split("[-.]", port_path))


def _number(device: pyudev.Device, name: str, base: int = 10) -> int | None:
    raw = _attribute(device, name)
    try:
        return None if raw is None else int(raw, base)
    except ValueError:
        return None


def _text(device: pyudev.Device, name: str) -> str | None:
    raw = _attribute(device, name)
    return None if raw is None else raw.decode("utf-8", "replace").strip("\n\0 ")[:MAX_TEXT_CHARS] or None


def _attribute(device: pyudev.Device, name: str) -> bytes | None:
    """From sysfs itself: udev's library keeps values and cuts those with zero bytes, as descriptors have."""
    try:
        return (Path(device.sys_path) / name).read_bytes()
    except OSError:
        return None
