"""Is every mistake in the ``[usb]`` tables refused with the key at fault, and does a device fit only what it shows?"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import firmware_profiles
from agent.usb.ports import DeviceSeen, EndpointSeen, InterfaceSeen, TransferKind
from firmware_profiles.device import UsbProfile
from firmware_profiles.errors import NoProfileError, PasswordUnfitError, ProfileMalformedError
from firmware_profiles.load import load_registry
from firmware_profiles.registry import Registry
from firmware_profiles.schema import Profile
from firmware_profiles.templates import Template, shown_without
from tests.support.usb_talk import families

HOME = Path(firmware_profiles.__file__).parent
LOCAL = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - local time, as a template takes it

Change = Callable[[dict[str, Any]], object]


def table_of(family: str) -> dict[str, Any]:
    table = tomllib.loads((HOME / family / "profile.toml").read_text("utf-8"))
    del table["use"]  # rows of other files
    return table


def bulk(**more: Any) -> dict[str, Any]:
    return {"name": "n", "bulk": {"out": 1, "in": 0x81}, "send": "x", "expect": "y", **more}


MISTAKES: list[tuple[str, Change]] = [
    ("usb.colour", lambda u: u.update(colour="red")),
    ("usb.match", lambda u: u.pop("match")),
    ("usb.match", lambda u: u.update(match={})),
    ("usb.match.ids[0]", lambda u: u["match"].update(ids=["4255"])),
    ("usb.match.ids[0]", lambda u: u["match"].update(ids=["4255:00AB"])),
    ("usb.match.ids", lambda u: u["match"].update(ids=[])),
    ("usb.match.interface", lambda u: u["match"].pop("interface")),
    ("usb.match.interface.class", lambda u: u["match"].update(interface={"class": 256})),
    ("usb.match.product", lambda u: u["match"].update(product="(")),
    ("usb.match.product", lambda u: u["match"].update(product="(?P<recorder>x)")),
    ("usb.match.product", lambda u: u["match"].update(product="(?=x)")),
    ("usb.match.firmware.from", lambda u: u["match"].update(firmware={"from": "1"})),
    ("usb.probe", lambda u: u.pop("probe")),
    ("usb.probe", lambda u: u.update(probe=[])),
    ("usb.probe", lambda u: u.update(probe=[bulk()] * 17)),
    ("usb.probe[0]", lambda u: u.update(probe=[bulk(send="{password}")])),
    ("usb.probe[0]", lambda u: u.update(probe=[bulk(send="{now:%Y}")])),
    ("usb.probe[0].expect", lambda u: u.update(probe=[{"name": "n", "wait": {"ms": 5}}])),
    ("usb.probe[0].expect", lambda u: u.update(probe=[{"name": "n", "bulk": {"out": 1}, "send": "x"}])),
    ("usb.probe[0].name", lambda u: u["probe"][0].pop("name")),
    ("usb.probe[0]", lambda u: u["probe"][0].update(wait={"ms": 5})),
    ("usb.probe[0]", lambda u: u["probe"][0].pop("bulk")),
    ("usb.probe[0].bulk.in", lambda u: u["probe"][0]["bulk"].update({"in": 1})),
    ("usb.probe[0].bulk.out", lambda u: u["probe"][0]["bulk"].update(out=0x81)),
    ("usb.probe[0].send", lambda u: u["probe"][0].pop("send")),
    ("usb.probe[0].send", lambda u: u["probe"][0].update(send="{colour}")),
    ("usb.probe[0].send", lambda u: u["probe"][0].update(send="{now:%c}")),
    ("usb.probe[0].send", lambda u: u["probe"][0].update(send="toolong", pad_to_bytes=3)),
    ("usb.probe[0].send", lambda u: u["probe"][0].update(send="é")),
    ("usb.probe[0].send_hex", lambda u: u["probe"][0].update(send_hex="00")),
    ("usb.probe[0].expect", lambda u: u["probe"][0].pop("expect")),
    ("usb.probe[0].expect", lambda u: u["probe"][0].update(expect="(?P<colour>x)")),
    ("usb.probe[0].expect", lambda u: u["probe"][0].update(expect="(x{1000}){1000}")),
    ("usb.probe[0].clock_format", lambda u: u["probe"][0].update(expect="(?P<clock>x)")),
    ("usb.probe[0].clock_format", lambda u: u["probe"][0].update(clock_format="%Y")),
    ("usb.probe[0].refused", lambda u: u["probe"][0].update(refused="(?P<recorder>x)")),
    ("usb.probe[0].timeout_ms", lambda u: u["probe"][0].update(timeout_ms=60_000)),
    ("usb.probe[0].max_bytes", lambda u: u["probe"][0].update(max_bytes=1 << 20)),
    ("usb.switch[0].pad_to_bytes", lambda u: u["switch"].insert(0, scsi_step(pad_to_bytes=5))),
    ("usb.switch[0].scsi.cdb", lambda u: u["switch"].insert(0, scsi_step("00"))),
    ("usb.switch[0].scsi.cdb", lambda u: u["switch"].insert(0, scsi_step("000"))),
    ("usb.switch[0].scsi.cdb", lambda u: u["switch"].insert(0, scsi_step("2a" + "00" * 9))),
    ("usb.switch[0].scsi.cdb", lambda u: u["switch"].insert(0, scsi_step("04" + "00" * 5))),
    ("usb.switch[0]", lambda u: u["switch"].insert(0, scsi_step("f9" + "00" * 5))),
    ("usb.switch[0].wait.ms", lambda u: u["switch"].insert(0, {"name": "n", "wait": {"ms": 0}})),
    ("usb.switch[0].send", lambda u: u["switch"].insert(0, {"name": "n", "wait": {"ms": 5}, "send": "x"})),
    ("usb.switch[1].reenumerate", lambda u: u["switch"].append({"name": "n", "wait": {"ms": 5}})),
    (
        "usb.switch[0].control.request_type",
        lambda u: u["switch"].insert(0, {"name": "n", "control": {"request_type": 0, "request": 5}}),
    ),
    (
        "usb.switch[0].expect",
        lambda u: u["switch"].insert(0, {"name": "n", "control": {"request_type": 0xC0, "request": 5}}),
    ),
    ("usb.set_clock[0].hid_report.id", lambda u: u["set_clock"].insert(0, {"name": "n", "hid_report": {"id": 256}})),
]  # fmt: skip


def scsi_step(cdb: str = "f9" + "00" * 5, **more: Any) -> dict[str, Any]:
    return {"name": "n", "scsi": {"cdb": cdb}, **more}


@pytest.mark.parametrize(("key", "change"), MISTAKES)
def test_a_mistake_is_refused_with_the_key_at_fault(key: str, change: Change) -> None:
    table = copy.deepcopy(table_of("ambarella"))
    change(table["usb"])
    with pytest.raises(ProfileMalformedError) as caught:
        Profile.from_table(table)
    assert caught.value.key == key


def test_a_family_known_by_its_conversation_is_never_chosen_for_a_volume() -> None:
    talked_with = [profile for profile in load_registry().profiles if profile.id == "ambarella"]
    with pytest.raises(NoProfileError):
        Registry(tuple(talked_with)).choose(label="007", paths=["DCIM/100MEDIA/A0000001.MP4"])


@pytest.mark.parametrize("family", ["ambarella", "example_hid_unlock", "example_vendor_scsi"])
def test_what_was_never_tried_is_off_until_it_is_turned_on(family: str) -> None:
    profile = families()[family]
    assert profile.sends
    assert not profile.may_send(family, verified=False, turned_on=set())
    assert not profile.may_send(family, verified=False, turned_on={"other"})
    assert profile.may_send(family, verified=False, turned_on={family})
    assert profile.may_send(family, verified=True, turned_on=set())


AMBARELLA = DeviceSeen(
    port_path="1-1",
    generation="g",
    vendor_id=0x4255,
    product_id=0x0001,
    release_bcd=0x0100,
    device_class=0,
    manufacturer=None,
    product="Camera",
    serial=None,
    speed_mbit=480,
    interfaces=(
        InterfaceSeen(number=0, class_code=3, subclass_code=0, protocol_code=0),
        InterfaceSeen(
            number=1,
            class_code=0xFF,
            subclass_code=0,
            protocol_code=0,
            endpoints=(
                EndpointSeen(address=0x01, kind=TransferKind.BULK, max_packet_bytes=512),
                EndpointSeen(address=0x81, kind=TransferKind.BULK, max_packet_bytes=512),
            ),
        ),
    ),
)


def test_the_interface_with_the_endpoints_is_talked_with() -> None:
    assert families()["ambarella"].interface_of(AMBARELLA) == 1


@pytest.mark.parametrize(
    "changed",
    [
        replace(AMBARELLA, product_id=2),
        replace(AMBARELLA, interfaces=AMBARELLA.interfaces[:1]),
        replace(AMBARELLA, interfaces=(replace(AMBARELLA.interfaces[1], endpoints=()),)),
        replace(
            AMBARELLA,
            interfaces=(
                replace(
                    AMBARELLA.interfaces[1],
                    endpoints=tuple(
                        replace(point, kind=TransferKind.ISOCHRONOUS)
                        for point in AMBARELLA.interfaces[1].endpoints
                    ),
                ),
            ),
        ),
    ],
)
def test_a_device_that_shows_something_else_is_not_talked_with(changed: DeviceSeen) -> None:
    assert families()["ambarella"].interface_of(changed) is None


@dataclass(frozen=True)
class Case:
    criterion: dict[str, Any]
    device: DeviceSeen
    fits: bool


@pytest.mark.parametrize(
    "case",
    [
        Case({"product": "Cam.*"}, AMBARELLA, True),
        Case({"product": "cam.*"}, AMBARELLA, False),
        Case({"product": "Cam"}, AMBARELLA, False),
        Case({"manufacturer": ".*"}, AMBARELLA, False),
        Case({"device_class": 0}, AMBARELLA, True),
        Case({"device_class": 9}, AMBARELLA, False),
        Case({"firmware": {"from": "1.00"}}, AMBARELLA, True),
        Case({"firmware": {"below": "1.00"}}, AMBARELLA, False),
        Case({"firmware": {"from": "1.01", "below": "2.00"}}, AMBARELLA, False),
        Case({"interface": {"class": 255, "protocol": 1}}, AMBARELLA, False),
        Case({"ids": ["1234:5678", "4255:0001"]}, AMBARELLA, True),
    ],
)
def test_every_criterion_must_hold(case: Case) -> None:
    assert UsbProfile.from_table({"match": case.criterion}).match.fits(case.device) is case.fits


def template(source: str, *, is_hex: bool = False, pad: int | None = None, pad_with: int = 0) -> Template:
    return Template.parse(source, is_hex=is_hex, pad_to_bytes=pad, pad_with=pad_with, key="send")


@pytest.mark.parametrize(
    ("made", "data"),
    [
        (template("@Sdt;8;{now:%Y%m%d};#"), b"@Sdt;8;20260102;#"),
        (template("{{{password}}}"), b"{pw}"),
        (template("{password:4}|"), b"pw\0\0|"),
        (template("{password:4}", pad=6, pad_with=0x20), b"pw    "),
        (template("7e 09{password:3}0d0a", is_hex=True), b"\x7e\x09pw\0\r\n"),
        (template("{now:%H:%M:%S}", is_hex=True), b"03:04:05"),
        (template("x", pad=4, pad_with=0xFF), b"x\xff\xff\xff"),
    ],
)
def test_a_template_is_filled_in(made: Template, data: bytes) -> None:
    assert made.render(password=b"pw", local_time=LOCAL).data == data


@pytest.mark.parametrize("source", ["{password:1}", "abc{password}"])
def test_a_password_that_does_not_fit_is_not_cut(source: str) -> None:
    with pytest.raises(PasswordUnfitError) as caught:
        template(source, pad=4).render(password=b"geheim", local_time=LOCAL)
    assert "geheim" not in str(caught.value)


def test_a_payload_shows_everything_but_the_password() -> None:
    payload = template("a{password}b").render(password=b"geheim", local_time=LOCAL)
    assert payload.shown(8) == "61 ** ** ** ** ** ** 62"
    assert "geheim" not in repr(payload)
    assert shown_without(b"agehgeheimeheim", b"geheim", 12) == "61 67 65 68 ** ** ** ** ** ** 65 68"
    assert shown_without(b"ab", b"", 12) == "61 62"
