"""Are descriptors, labels and paths of sysfs read right, whatever they hold?"""

from __future__ import annotations

import pytest

from agent.usb.descriptors import MAX_INTERFACES, interfaces_of
from agent.usb.ports import TransferKind
from agent.usb.sighting import label_of, port_of
from tests.support.usb_recorders import BULK, INTERRUPT, Face, Recorder

CONFIGURATION = bytes.fromhex("090220000101008032")


def test_interfaces_come_with_their_endpoints() -> None:
    faces = (
        Face(class_code=3, endpoints=((0x81, INTERRUPT, 64),)),
        Face(
            class_code=8,
            subclass_code=6,
            protocol_code=0x50,
            endpoints=((0x82, BULK, 512), (0x02, BULK, 512)),
        ),
    )
    first, second = interfaces_of(Recorder(faces=faces).descriptors(), 1)
    assert [(point.address, point.kind) for point in first.endpoints] == [(0x81, TransferKind.INTERRUPT)]
    assert (second.number, second.class_code, second.subclass_code, second.protocol_code) == (1, 8, 6, 0x50)
    assert [point.max_packet_bytes for point in second.endpoints] == [512, 512]


def test_other_settings_of_an_interface_do_not_count() -> None:
    setting_1 = bytes.fromhex("09040001 01ff000000 07058102 000200".replace(" ", ""))
    descriptors = Recorder().descriptors() + setting_1
    [interface] = interfaces_of(descriptors, 1)
    assert interface.endpoints == ()


def test_the_active_configuration_counts_and_else_the_first() -> None:
    second = bytes.fromhex("0902120001020080 3209040000 0003000000".replace(" ", ""))
    descriptors = Recorder().descriptors() + second
    assert [face.class_code for face in interfaces_of(descriptors, 2)] == [3]
    assert [face.class_code for face in interfaces_of(descriptors, 1)] == [0xFF]
    assert [face.class_code for face in interfaces_of(descriptors, None)] == [0xFF]
    assert interfaces_of(b"", 1) == ()


@pytest.mark.parametrize("junk", [b"\0", b"\0\4", b"\1", b"\2\4", b"\xff\4", b"\x03\x05\x81"])
def test_lengths_that_lead_nowhere_end_the_reading(junk: bytes) -> None:
    whole = Recorder().descriptors()
    assert interfaces_of(whole + junk, 1) == interfaces_of(whole, 1)


def test_no_device_has_endless_interfaces() -> None:
    many = CONFIGURATION + bytes.fromhex("090400000000000000") * 200
    assert len(interfaces_of(many, 1)) == MAX_INTERFACES


@pytest.mark.parametrize(
    ("path", "port"),
    [
        ("/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.4", "1-2.4"),
        ("/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.4/1-2.4:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda1", "1-2.4"),
        ("/devices/pci0000:00/0000:00:14.0/usb12/12-10/12-10.1.3/12-10.1.3:1.0", "12-10.1.3"),
        ("/devices/pci0000:00/0000:00:14.0/usb1", None),
        ("/devices/virtual/block/loop0", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_port_is_the_last_one_on_the_way(path: str, port: str | None) -> None:
    assert port_of(path) == port


@pytest.mark.parametrize(
    ("encoded", "label"),
    [
        (None, None),
        ("", None),
        ("BWC_007", "BWC_007"),
        ("BWC\\x20007", "BWC 007"),
        ("\\xe6\\x89\\xa7", "执"),
        ("执", "执"),
        ("\\xff", "\ufffd"),
        ("\\x5cx20", "\\x20"),
        ("\\x2", "\\x2"),
        ("A\\x20\\x20", "A"),
    ],
)
def test_a_label_is_what_is_written_on_the_medium(encoded: str | None, label: str | None) -> None:
    assert label_of(encoded) == label
