"""Interfaces and endpoints from the bytes of a device's descriptors (USB 2.0 section 9.6). Pure.

The bytes come from the device: lengths that lead nowhere end the reading, and what was whole until then counts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from agent.usb.ports import EndpointSeen, InterfaceSeen, TransferKind

MAX_INTERFACES: Final = 32
"""As the kernel's USB_MAXINTERFACES."""

_CONFIGURATION: Final = 0x02
_INTERFACE: Final = 0x04
_ENDPOINT: Final = 0x05
_LEAST_BYTES: Final = {_CONFIGURATION: 9, _INTERFACE: 9, _ENDPOINT: 7}
_KINDS: Final = (
    TransferKind.CONTROL,
    TransferKind.ISOCHRONOUS,
    TransferKind.BULK,
    TransferKind.INTERRUPT,
)
_PACKET_BITS: Final = 0x7FF


def interfaces_of(descriptors: bytes, configuration: int | None) -> tuple[InterfaceSeen, ...]:
    """Interfaces of the configuration with this bConfigurationValue, else of the first, each in its setting 0."""
    configurations = list(_configurations(descriptors))
    active = [parts for value, parts in configurations if value == configuration]
    return _interfaces((active or [parts for _, parts in configurations] or [[]])[0])


def _configurations(descriptors: bytes) -> Iterator[tuple[int, list[bytes]]]:
    parts: list[bytes] = []
    for part in _parts(descriptors):
        if part[1] == _CONFIGURATION:
            parts = []
            yield part[5], parts
        else:
            parts.append(part)


def _parts(descriptors: bytes) -> Iterator[bytes]:
    start = 0
    while start + 2 <= len(descriptors):
        length = descriptors[start]
        part = descriptors[start : start + length]
        if length < _LEAST_BYTES.get(descriptors[start + 1], 2) or len(part) < length:
            return
        yield part
        start += length


def _interfaces(parts: list[bytes]) -> tuple[InterfaceSeen, ...]:
    found: list[InterfaceSeen] = []
    is_default = False
    for part in parts:
        if part[1] == _INTERFACE:
            is_default = part[3] == 0 and len(found) < MAX_INTERFACES
            if is_default:
                found.append(
                    InterfaceSeen(
                        number=part[2], class_code=part[5], subclass_code=part[6], protocol_code=part[7]
                    )
                )
        elif part[1] == _ENDPOINT and is_default:
            found[-1] = replace(found[-1], endpoints=(*found[-1].endpoints, _endpoint(part)))
    return tuple(found)


def _endpoint(part: bytes) -> EndpointSeen:
    address, attributes, packet = struct.unpack_from("<BBH", part, 2)
    return EndpointSeen(address=address, kind=_KINDS[attributes & 3], max_packet_bytes=packet & _PACKET_BITS)
