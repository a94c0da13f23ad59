"""What may be plugged into a bay, and which families a device may be of (设备识别). Pure.

A bay is for recorders. Keyboards and network adapters are how a station is attacked through a plug, so a device that
shows such an interface is refused whatever else it shows; what shows nothing a recorder shows is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agent.core.docking import Trouble
from agent.usb.ports import DeviceSeen, InterfaceSeen
from firmware_profiles.schema import Profile

DEVICE_NOT_ALLOWED: Final = "device-not-allowed"
DEVICE_UNKNOWN: Final = "device-unknown"
FAMILY_OFF: Final = "family-off"

# Class codes as the USB-IF assigns them (Defined Class Codes).
_MASS_STORAGE: Final = 0x08
_HID: Final = 0x03
_BOOT: Final = 0x01
_FORBIDDEN: Final = {
    0x02: "a modem or network adapter",
    0x07: "a printer",
    0x0A: "a modem or network adapter",
    0x0B: "a smart card reader",
    0xE0: "a wireless or network adapter",
}
_RNDIS: Final = (0xEF, 0x04, 0x01)
"""Remote NDIS over Ethernet, among the miscellaneous."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Families to ask, in order, each with the interface to talk through. ``is_disk``: the device shows storage
    whatever they answer."""

    families: tuple[tuple[Profile, int], ...]
    is_disk: bool


Judgement: TypeAlias = Candidates | Trouble


def judge_device(device: DeviceSeen, profiles: Sequence[Profile], turned_on: Collection[str]) -> Judgement:
    """Whether to go on with a device, and how. Nothing has been sent to it."""
    for interface in device.interfaces:
        forbidden = _forbidden(interface)
        if forbidden is not None:
            return Trouble(code=DEVICE_NOT_ALLOWED, detail=f"{_name(device)} shows itself as {forbidden}")
    matching = [
        (profile, number) for profile in profiles if (number := _talks_through(profile, device)) is not None
    ]
    allowed = [pair for pair in matching if _may_send(pair[0], turned_on)]
    is_disk = any(interface.class_code == _MASS_STORAGE for interface in device.interfaces)
    if allowed or is_disk:
        return Candidates(tuple(allowed), is_disk)
    if matching:
        families = ", ".join(profile.id for profile, _ in matching)
        return Trouble(code=FAMILY_OFF, detail=f"{_name(device)} may be {families}, which is off")
    return Trouble(code=DEVICE_UNKNOWN, detail=f"{_name(device)} is of no family this station knows")


def _forbidden(interface: InterfaceSeen) -> str | None:
    codes = (interface.class_code, interface.subclass_code, interface.protocol_code)
    if codes[:2] == (_HID, _BOOT):
        return "a keyboard or mouse"
    return "a network adapter" if codes == _RNDIS else _FORBIDDEN.get(interface.class_code)


def _talks_through(profile: Profile, device: DeviceSeen) -> int | None:
    return None if profile.usb is None or not profile.usb.sends else profile.usb.interface_of(device)


def _may_send(profile: Profile, turned_on: Collection[str]) -> bool:
    return profile.usb is not None and profile.usb.may_send(
        profile.id, verified=bool(profile.verified_on), turned_on=turned_on
    )


def _name(device: DeviceSeen) -> str:
    return f"device {device.vendor_id:04x}:{device.product_id:04x}"
