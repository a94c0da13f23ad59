"""Is a recorder let in at a bay, and everything else kept out, before anything is sent to it?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.devices import (
    DEVICE_NOT_ALLOWED,
    DEVICE_UNKNOWN,
    FAMILY_OFF,
    Candidates,
    judge_device,
)
from agent.core.docking import Trouble
from agent.usb.ports import DeviceSeen, EndpointSeen, InterfaceSeen, TransferKind
from firmware_profiles.load import load_registry

PROFILES = load_registry().profiles
BULK = TransferKind.BULK


def interface(
    class_code: int, subclass_code: int = 0, protocol_code: int = 0, *endpoints: int, number: int = 0
) -> InterfaceSeen:
    return InterfaceSeen(
        number=number,
        class_code=class_code,
        subclass_code=subclass_code,
        protocol_code=protocol_code,
        endpoints=tuple(EndpointSeen(address=at, kind=BULK, max_packet_bytes=512) for at in endpoints),
    )


DISK = interface(0x08, 0x06, 0x50, 0x81, 0x02)
KEYBOARD = interface(0x03, 0x01, 0x01, 0x81, number=1)
AMBA = interface(0xFF, 0, 0, 0x81, 0x01)


def device(*interfaces: InterfaceSeen, vendor_id: int = 0x1234, product_id: int = 1) -> DeviceSeen:
    return DeviceSeen(
        port_path="1-2",
        generation="boot:1:4",
        vendor_id=vendor_id,
        product_id=product_id,
        release_bcd=0x0100,
        device_class=0,
        manufacturer=None,
        product=None,
        serial=None,
        speed_mbit=480,
        interfaces=interfaces,
    )


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        ([KEYBOARD], DEVICE_NOT_ALLOWED),
        ([DISK, KEYBOARD], DEVICE_NOT_ALLOWED),
        ([interface(0x03, 0x01, 0x02)], DEVICE_NOT_ALLOWED),
        ([interface(0x02, 0x06), interface(0x0A)], DEVICE_NOT_ALLOWED),
        ([interface(0xE0, 0x01, 0x03)], DEVICE_NOT_ALLOWED),
        ([DISK, interface(0xEF, 0x04, 0x01)], DEVICE_NOT_ALLOWED),
        ([interface(0x01)], DEVICE_UNKNOWN),
        ([interface(0xFF)], DEVICE_UNKNOWN),
        ([], DEVICE_UNKNOWN),
    ],
    ids=[
        "keyboard",
        "disk with keyboard",
        "mouse",
        "modem",
        "rndis",
        "disk with rndis",
        "sound",
        "vendor",
        "nothing",
    ],
)
def test_what_is_no_recorder_is_kept_out(shown: list[InterfaceSeen], code: str) -> None:
    judged = judge_device(device(*shown), PROFILES, [])
    assert isinstance(judged, Trouble)
    assert (judged.code, judged.retry_after_s) == (code, None)


def test_a_plain_disk_needs_no_conversation() -> None:
    assert judge_device(device(DISK), PROFILES, []) == Candidates((), is_disk=True)


def test_a_family_nobody_tried_is_off_until_it_is_turned_on() -> None:
    camera = device(AMBA, vendor_id=0x4255)
    off = judge_device(camera, PROFILES, [])
    assert isinstance(off, Trouble)
    assert (off.code, "ambarella" in off.detail) == (FAMILY_OFF, True)
    on = judge_device(camera, PROFILES, ["ambarella"])
    assert isinstance(on, Candidates)
    assert [(profile.id, number) for profile, number in on.families] == [("ambarella", 0)]


def test_ids_alone_make_no_family() -> None:
    boot_loader = replace(device(interface(0xFF), vendor_id=0x4255))
    assert isinstance(judge_device(boot_loader, PROFILES, ["ambarella"]), Trouble)
