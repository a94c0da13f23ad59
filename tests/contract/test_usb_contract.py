"""Do the bus in memory and the real one see, hear and say the same?

Run as it is, this tests the twin in memory; ``tests/integration/test_usb_real.py`` runs it under umockdev, to test
pyudev, pyusb and libusb over a made-up sysfs and usbfs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.usb.errors import DeviceBusyError, DeviceGoneError, DeviceSilentError, TransferRefusedError
from agent.usb.ports import TransferKind
from tests.support.usb_recorders import BULK, Ambarella, Disk, Face, Recorder, Stall, VendorScsi
from tests.support.usb_worlds import UsbWorld, device_at, make_world

PORT = "1-2.4"
OUT, IN = 0x01, 0x81


class Parrot(Recorder):
    """Says what it was told, byte for byte; refuses what begins with ``!``; has nothing to say to ``?``."""

    def control(
        self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes:
        if request == 0xEE:
            raise Stall
        self.heard.append(data)
        return bytes([request, value & 0xFF, index & 0xFF])[:length]

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        if data.startswith(b"!"):
            raise Stall
        self.heard.append(data)

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        last = self.heard[-1] if self.heard else b"?"
        return None if last == b"?" else last[:length]


def parrot() -> Parrot:
    return Parrot(faces=(Face(endpoints=((IN, BULK, 512), (OUT, BULK, 512))),))


@pytest.fixture
def world() -> Iterator[UsbWorld]:
    world = make_world()
    yield world
    world.clear()


def test_a_device_is_seen_as_its_descriptors_show_it(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    [seen] = world.bus.devices()
    assert (seen.port_path, seen.vendor_id, seen.product_id, seen.release_bcd) == (PORT, 0x1209, 1, 0x100)
    assert (seen.manufacturer, seen.product, seen.serial) == ("ZHILU EXAMPLE", "Recorder", "000000000000")
    assert (seen.device_class, seen.speed_mbit) == (0, 480)
    [interface] = seen.interfaces
    assert (interface.number, interface.class_code) == (0, 0xFF)
    assert [(point.address, point.kind, point.max_packet_bytes) for point in interface.endpoints] == [
        (IN, TransferKind.BULK, 512),
        (OUT, TransferKind.BULK, 512),
    ]


def test_a_string_that_is_not_there_is_none(world: UsbWorld) -> None:
    world.plug(Recorder(serial=None, manufacturer=None), PORT)
    seen = device_at(world.bus, PORT)
    assert (seen.manufacturer, seen.product, seen.serial) == (None, "Recorder", None)


def test_devices_come_in_order_of_their_ports(world: UsbWorld) -> None:
    for port in ("1-2.4", "1-1", "1-2.2"):
        world.plug(Recorder(), port)
    assert [seen.port_path for seen in world.bus.devices()] == ["1-1", "1-2.2", "1-2.4"]


def test_the_same_recorder_plugged_anew_is_another_generation(world: UsbWorld) -> None:
    recorder = parrot()
    world.plug(recorder, PORT)
    first = device_at(world.bus, PORT)
    world.unplug(PORT)
    assert world.bus.devices() == ()
    world.plug(recorder, PORT)
    assert device_at(world.bus, PORT).generation != first.generation
    with pytest.raises(DeviceGoneError):
        world.bus.open(first, interface=0)


def test_what_is_not_there_cannot_be_opened(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    seen = device_at(world.bus, PORT)
    world.unplug(PORT)
    with pytest.raises(DeviceGoneError):
        world.bus.open(seen, interface=0)


def test_bytes_go_out_and_come_in(world: UsbWorld) -> None:
    recorder = parrot()
    world.plug(recorder, PORT)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as channel:
        channel.write(OUT, b"hello", timeout_ms=1000)
        assert channel.read(IN, 64, timeout_ms=1000) == b"hello"
        answer = channel.control_in(
            request_type=0xC0, request=7, value=8, index=9, length=64, timeout_ms=1000
        )
        assert answer == b"\7\10\11"
        channel.control_out(request_type=0x40, request=1, value=0, index=0, data=b"abc", timeout_ms=1000)
    assert recorder.heard[-1] == b"abc"


def test_a_stall_is_a_refusal_and_the_conversation_goes_on(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as channel:
        with pytest.raises(TransferRefusedError):
            channel.control_in(request_type=0xC0, request=0xEE, value=0, index=0, length=8, timeout_ms=1000)
        with pytest.raises(TransferRefusedError):
            channel.write(OUT, b"!", timeout_ms=1000)
        channel.write(OUT, b"again", timeout_ms=1000)
        assert channel.read(IN, 64, timeout_ms=1000) == b"again"


def test_silence_ends_with_the_timeout(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as channel:
        channel.write(OUT, b"?", timeout_ms=1000)
        with pytest.raises(DeviceSilentError):
            channel.read(IN, 64, timeout_ms=50)


def test_more_than_was_asked_for_is_refused(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as channel:
        channel.write(OUT, b"x" * 100, timeout_ms=1000)
        with pytest.raises(TransferRefusedError):
            channel.read(IN, 64, timeout_ms=1000)


def test_a_recorder_that_was_pulled_is_gone(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as channel:
        channel.write(OUT, b"hello", timeout_ms=1000)
        world.unplug(PORT)
        with pytest.raises(DeviceGoneError):
            channel.write(OUT, b"hello", timeout_ms=1000)
        with pytest.raises(DeviceGoneError):
            channel.read(IN, 64, timeout_ms=1000)


def test_closing_twice_is_harmless_and_ends_the_conversation(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    channel = world.bus.open(device_at(world.bus, PORT), interface=0)
    channel.close()
    channel.close()
    with pytest.raises(DeviceGoneError):
        channel.write(OUT, b"hello", timeout_ms=1000)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as again:
        again.write(OUT, b"hello", timeout_ms=1000)


def test_an_interface_is_held_by_one_conversation(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    seen = device_at(world.bus, PORT)
    with world.bus.open(seen, interface=0), pytest.raises(DeviceBusyError):
        world.bus.open(seen, interface=0)


def test_two_devices_with_one_serial_are_two_devices(world: UsbWorld) -> None:
    idents = {"1-1": "AAA", "1-2.4": "BBB"}
    for port, ident in idents.items():
        world.plug(Ambarella(ident=ident, serial="Linux File-Stor Gadget"), port)
    for port, ident in idents.items():
        with world.bus.open(device_at(world.bus, port), interface=0) as channel:
            channel.write(OUT, b"@Gdv;8;12345678;#", timeout_ms=1000)
            assert channel.read(IN, 64, timeout_ms=1000) == f"@Gdv;3;{ident}#".encode()


def test_thirty_two_recorders_are_talked_with_at_once(world: UsbWorld) -> None:
    ports = [f"1-{hub}.{port}" for hub in range(1, 5) for port in range(1, 9)]
    for port in ports:
        world.plug(Ambarella(ident=port.replace(".", "_")), port)
    seen = {device.port_path: device for device in world.bus.devices()}

    def ask(port: str) -> bytes:
        with world.bus.open(seen[port], interface=0) as channel:
            channel.write(OUT, b"@Gdv;8;12345678;#", timeout_ms=10_000)
            return channel.read(IN, 64, timeout_ms=10_000)

    with ThreadPoolExecutor(len(ports)) as threads:
        answers = list(threads.map(ask, ports))
    assert answers == [f"@Gdv;{len(port)};{port.replace('.', '_')}#".encode() for port in ports]


def test_scsi_commands_go_to_mass_storage_alone(world: UsbWorld) -> None:
    world.plug(VendorScsi(), PORT)
    with world.bus.open(device_at(world.bus, PORT), interface=0) as channel:
        inquiry = channel.scsi(bytes.fromhex("120000002400"), length_in=36, timeout_ms=1000)
        assert inquiry[8:32] == b"ZHILU   EXAMPLE RECORDER"
        channel.scsi(b"\xfa\x02" + bytes(14), data_out=b"20260101000000", timeout_ms=1000)
        with pytest.raises(TransferRefusedError):
            channel.scsi(b"\xfa\x01" + bytes(14), data_out=b"wrong", timeout_ms=1000)
        with pytest.raises(TransferRefusedError):
            channel.write(0x02, b"USBC", timeout_ms=1000)


def test_no_scsi_through_other_interfaces(world: UsbWorld) -> None:
    world.plug(parrot(), PORT)
    with (
        world.bus.open(device_at(world.bus, PORT), interface=0) as channel,
        pytest.raises(TransferRefusedError),
    ):
        channel.scsi(bytes(6), timeout_ms=1000)


def test_volumes_come_by_unit_and_partition(world: UsbWorld) -> None:
    world.plug(Disk(), PORT)
    assert world.bus.volumes(PORT) == ()
    world.show_medium(PORT, lun=1, fs_type="exfat")
    world.show_partition(PORT, 1, lun=0, fs_type="vfat", label="BWC 007")
    world.show_partition(PORT, 2, lun=0, fs_type="ext4", label="DATA")
    volumes = world.bus.volumes(PORT)
    assert [(each.lun, each.partition, each.fs_type, each.label) for each in volumes] == [
        (0, 1, "vfat", "BWC 007"),
        (0, 2, "ext4", "DATA"),
        (1, 0, "exfat", None),
    ]
    assert all(each.size_bytes == 1 << 20 and each.port_path == PORT for each in volumes)
    assert len({each.generation for each in volumes}) == 3
    assert world.bus.volumes("1-1") == ()


def test_another_medium_at_the_same_place_is_another_generation(world: UsbWorld) -> None:
    generations = []
    for _ in range(2):
        world.plug(Disk(), PORT)
        world.show_medium(PORT, lun=0, fs_type="vfat")
        generations += [volume.generation for volume in world.bus.volumes(PORT)]
        world.unplug(PORT)
        assert world.bus.volumes(PORT) == ()
    assert len(set(generations)) == 2


def test_a_medium_that_may_not_be_written_any_more_is_still_the_same(world: UsbWorld) -> None:
    world.plug(Disk(), PORT)
    world.show_medium(PORT, lun=0, fs_type="vfat")
    (before,) = world.bus.volumes(PORT)
    world.protect_medium(PORT, lun=0)
    (after,) = world.bus.volumes(PORT)
    assert (after, after.label) == (before, "READ AGAIN")


async def test_plugging_and_pulling_give_hints(world: UsbWorld) -> None:
    async with world.bus.hints() as hints, asyncio.timeout(10):
        await asyncio.to_thread(world.plug, Recorder(), PORT)
        assert await anext(hints) == PORT
        await asyncio.to_thread(world.unplug, PORT)
        assert await anext(hints) == PORT


async def test_a_volume_gives_a_hint_for_its_port(world: UsbWorld) -> None:
    world.plug(Disk(), PORT)
    async with world.bus.hints() as hints, asyncio.timeout(10):
        await asyncio.to_thread(world.show_medium, PORT, lun=0, fs_type="vfat")
        assert await anext(hints) == PORT


def test_what_nobody_was_told_of_is_found_by_looking(world: UsbWorld) -> None:
    world.plug(Recorder(), PORT)
    assert [seen.port_path for seen in world.bus.devices()] == [PORT]
