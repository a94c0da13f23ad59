"""A recorder family as a USB device: how it is recognised, and what is said to it, from the ``[usb]`` tables. Pure.

Two rules for people's safety. What a device shows is a filter, never an identity: before anything else is sent, every
probe must be answered as expected. And a conversation nobody has tried on the real thing is off until the operator
turns it on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from firmware_profiles.answers import BytePattern, compile_answer
from firmware_profiles.device_steps import (
    Bulk,
    Control,
    Exchange,
    HidReport,
    Reenumerate,
    Scsi,
    Step,
    Wait,
    read_step,
)
from firmware_profiles.errors import ProfileMalformedError

_MASS_STORAGE_CLASS: Final = 0x08
_HID_CLASS: Final = 0x03
_BULK_OR_INTERRUPT: Final = frozenset({"bulk", "interrupt"})
_SECTIONS: Final = ("probe", "ask", "switch", "set_clock")


class DescribedEndpoint(Protocol):
    """An endpoint as a device's descriptors show it."""

    @property
    def address(self) -> int: ...
    @property
    def kind(self) -> str: ...


class DescribedInterface(Protocol):
    """An interface as a device's descriptors show it."""

    @property
    def number(self) -> int: ...
    @property
    def class_code(self) -> int: ...
    @property
    def subclass_code(self) -> int: ...
    @property
    def protocol_code(self) -> int: ...
    @property
    def endpoints(self) -> Sequence[DescribedEndpoint]: ...


class DescribedDevice(Protocol):
    """A device as its descriptors show it; ``agent.usb.ports.DeviceSeen`` is one."""

    @property
    def vendor_id(self) -> int: ...
    @property
    def product_id(self) -> int: ...
    @property
    def release_bcd(self) -> int: ...
    @property
    def device_class(self) -> int: ...
    @property
    def manufacturer(self) -> str | None: ...
    @property
    def product(self) -> str | None: ...
    @property
    def interfaces(self) -> Sequence[DescribedInterface]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRule:
    """Codes of the interface that is talked with; None fits any."""

    class_code: int
    subclass_code: int | None
    protocol_code: int | None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        return cls(
            class_code=table["class"],
            subclass_code=table.get("subclass"),
            protocol_code=table.get("protocol"),
        )

    def fits(self, interface: DescribedInterface) -> bool:
        wanted = (self.class_code, self.subclass_code, self.protocol_code)
        shown = (interface.class_code, interface.subclass_code, interface.protocol_code)
        return all(want in (None, code) for want, code in zip(wanted, shown, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMatch:
    """What a device must show. A criterion not given is None or empty."""

    ids: frozenset[tuple[int, int]]
    device_class: int | None
    interface: InterfaceRule | None
    manufacturer: BytePattern | None
    product: BytePattern | None
    release_from: int
    release_below: int

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        if not table:
            raise ProfileMalformedError("usb.match", "has no criterion")
        firmware = table.get("firmware", {})
        return cls(
            ids=frozenset(_id(text) for text in table.get("ids", ())),
            device_class=table.get("device_class"),
            interface=InterfaceRule.from_table(table["interface"]) if "interface" in table else None,
            manufacturer=_string(table, "manufacturer"),
            product=_string(table, "product"),
            release_from=_bcd(firmware.get("from", "0.00")),
            release_below=_bcd(firmware["below"]) if "below" in firmware else 0x10000,
        )

    def fits(self, device: DescribedDevice) -> bool:
        return (
            (not self.ids or (device.vendor_id, device.product_id) in self.ids)
            and self.device_class in (None, device.device_class)
            and (self.interface is None or any(self.interface.fits(shown) for shown in device.interfaces))
            and _says(self.manufacturer, device.manufacturer)
            and _says(self.product, device.product)
            and self.release_from <= device.release_bcd < self.release_below
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbProfile:
    """A family as a USB device (USB 侧的固件配置)."""

    match: DeviceMatch
    probe: tuple[Step, ...]
    ask: tuple[Step, ...]
    switch: tuple[Step, ...]
    set_clock: tuple[Step, ...]

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """From the checked table ``usb``. Raises ProfileMalformedError."""
        sections = {name: _section(table, name) for name in _SECTIONS}
        profile = cls(match=DeviceMatch.from_table(table["match"]), **sections)
        _check_conversation(profile)
        return profile

    @property
    def sends(self) -> bool:
        """Whether the family is talked with at all; else its descriptors say enough."""
        return bool(self.probe)

    @property
    def needs_password(self) -> bool:
        exchanges = (step for step in (*self.ask, *self.switch) if isinstance(step, Exchange))
        return any(step.uses_password for step in exchanges)

    @property
    def reenumeration(self) -> Reenumerate | None:
        """What the switch ends with, if it does."""
        last = self.switch[-1] if self.switch else None
        return last if isinstance(last, Reenumerate) else None

    def may_send(self, family: str, *, verified: bool, turned_on: Collection[str]) -> bool:
        """Whether the conversation may be held: tried on real hardware, or turned on by the station's operator."""
        return verified or family in turned_on

    def interface_of(self, device: DescribedDevice) -> int | None:
        """Number of the interface to talk with; None if the device is not of this family, whatever it may say."""
        if self.match.interface is None or not self.match.fits(device):
            return None
        fitting = (shown for shown in device.interfaces if self.match.interface.fits(shown))
        return next((shown.number for shown in fitting if _has_endpoints(shown, self._endpoints())), None)

    def _endpoints(self) -> set[int]:
        steps = (*self.probe, *self.ask, *self.switch, *self.set_clock)
        transports = [step.transport for step in steps if isinstance(step, Exchange)]
        pairs = [
            (transport.out_endpoint, transport.in_endpoint)
            for transport in transports
            if isinstance(transport, Bulk | HidReport)
        ]
        return {endpoint for pair in pairs for endpoint in pair if endpoint is not None}


def _section(table: Mapping[str, Any], name: str) -> tuple[Step, ...]:
    return tuple(read_step(row, f"usb.{name}[{number}]") for number, row in enumerate(table.get(name, ())))


def _check_conversation(profile: UsbProfile) -> None:
    if not profile.probe:
        if profile.ask or profile.switch or profile.set_clock:
            raise ProfileMalformedError("usb.probe", "is missing: something harmless must be answered first")
        return
    if profile.match.interface is None:
        raise ProfileMalformedError("usb.match.interface", "is missing: with which interface to talk")
    _check_probe(profile.probe)
    for name, steps in (("probe", profile.probe), ("ask", profile.ask), ("switch", profile.switch[:-1])):
        _refuse_reenumeration(name, steps)
    _refuse_reenumeration("set_clock", profile.set_clock)
    for name in _SECTIONS:
        for number, step in enumerate(getattr(profile, name)):
            _check_class(step, profile.match.interface.class_code, f"usb.{name}[{number}]")


def _check_probe(steps: tuple[Step, ...]) -> None:
    for number, step in enumerate(steps):
        template = step.payload if isinstance(step, Exchange) else None
        if template is not None and (template.uses_password or template.uses_time):
            raise ProfileMalformedError(
                f"usb.probe[{number}]", "carries a password or the time: that is no harmless query"
            )
    last = steps[-1]
    if not isinstance(last, Exchange) or last.expect is None:
        raise ProfileMalformedError(
            f"usb.probe[{len(steps) - 1}].expect", "is missing: a probe ends with an answer"
        )


def _refuse_reenumeration(name: str, steps: tuple[Step, ...]) -> None:
    for number, step in enumerate(steps):
        if isinstance(step, Reenumerate):
            raise ProfileMalformedError(f"usb.{name}[{number}].reenumerate", "can only end the switch")


def _check_class(step: Step, class_code: int, key: str) -> None:
    """SCSI goes through the kernel's driver, everything else needs the interface for itself."""
    if isinstance(step, Wait | Reenumerate):
        return
    match step.transport:
        case Scsi():
            fits = class_code == _MASS_STORAGE_CLASS
        case HidReport():
            fits = class_code == _HID_CLASS
        case Bulk() | Control():
            fits = class_code != _MASS_STORAGE_CLASS
    if not fits:
        raise ProfileMalformedError(key, f"does not go with an interface of class {class_code}")


def _has_endpoints(interface: DescribedInterface, wanted: set[int]) -> bool:
    shown = {point.address for point in interface.endpoints if point.kind in _BULK_OR_INTERRUPT}
    return wanted <= shown


def _says(pattern: BytePattern | None, text: str | None) -> bool:
    return pattern is None or (
        text is not None and pattern.fullmatch(text.encode("utf-8", "replace")) is not None
    )


def _string(table: Mapping[str, Any], name: str) -> BytePattern | None:
    if name not in table:
        return None
    return compile_answer(table[name], groups=frozenset(), key=f"usb.match.{name}")[0]


def _id(text: str) -> tuple[int, int]:
    vendor, _, product = text.partition(":")
    return int(vendor, 16), int(product, 16)


def _bcd(text: str) -> int:
    return int(text.replace(".", ""), 16)
