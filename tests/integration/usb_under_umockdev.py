"""What only the real bus can show: a kernel's driver, transfers that are pending, a process of its own.

Not collected by itself: ``test_usb_real.py`` runs it under umockdev-wrapper.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from agent.usb.bus import SystemUsbBus
from agent.usb.conversation import End, Ended, StationTime, Talked
from agent.usb.errors import DeviceGoneError, DeviceSilentError
from agent.usb.ports import DeviceSeen, UsbBus
from firmware_profiles.device import UsbProfile
from tests.support.usb_recorders import (
    BULK,
    STORAGE_CLASS,
    Ambarella,
    Disk,
    Face,
    HidUnlock,
    Recorder,
    VendorScsi,
)
from tests.support.usb_talk import families, talk_with
from tests.support.usb_worlds import MockWorld, device_at, make_world

PORT = "1-2.4"
TIME = StationTime(
    now=lambda: datetime.now(UTC),
    monotonic_s=time.monotonic,
    sleep_s=time.sleep,
    zone=ZoneInfo("Asia/Shanghai"),
)


@pytest.fixture
def world() -> Iterator[MockWorld]:
    world = make_world()
    assert isinstance(world, MockWorld)
    yield world
    world.clear()


async def comes_back(bus: UsbBus, hints: AsyncIterator[str], before: DeviceSeen) -> DeviceSeen:
    """What is at the same port when it is of another generation."""
    async with asyncio.timeout(20):
        while True:
            here = [device for device in bus.devices() if device.port_path == before.port_path]
            if here and here[0].generation != before.generation:
                return here[0]
            await anext(hints)


def talk(world: MockWorld, profile: UsbProfile, password: bytes | None = None) -> Talked | Ended:
    return talk_with(world.bus, device_at(world.bus, PORT), profile, password, TIME)


@pytest.mark.parametrize(
    ("recorder", "family", "password"),
    [
        (Ambarella(), "ambarella", None),
        (HidUnlock(kernel_driver="usbhid"), "example_hid_unlock", b"000000"),
        (VendorScsi(), "example_vendor_scsi", b"000000"),
    ],
)
async def test_a_recorder_is_asked_and_comes_back_as_a_disk_at_its_port(
    world: MockWorld, recorder: Recorder, family: str, password: bytes | None
) -> None:
    async with world.bus.hints() as hints:
        world.plug(recorder, PORT)
        before = device_at(world.bus, PORT)
        outcome = await asyncio.to_thread(talk, world, families()[family], password)
        assert isinstance(outcome, Talked), outcome
        assert outcome.facts.recorder is not None
        disk = await comes_back(world.bus, hints, before)
        assert disk.interfaces[0].class_code == STORAGE_CLASS


def test_a_wrong_password_leaves_the_recorder_with_the_kernel(world: MockWorld) -> None:
    recorder = HidUnlock(kernel_driver="usbhid")
    world.plug(recorder, PORT)
    outcome = talk(world, families()["example_hid_unlock"], b"999999")
    assert isinstance(outcome, Ended)
    assert outcome.end == End.WRONG_PASSWORD
    assert recorder.kernel_driver == "usbhid"


def test_a_recorder_pulled_while_it_is_being_asked_is_gone(world: MockWorld) -> None:
    asked = threading.Event()

    class Mute(Recorder):
        def bulk_in(self, endpoint: int, length: int) -> bytes | None:
            asked.set()
            return None

    world.plug(Mute(faces=(Face(endpoints=((0x81, BULK, 512),)),)), PORT)

    def pull() -> None:
        asked.wait()
        world.unplug(PORT)

    puller = threading.Thread(target=pull)
    puller.start()
    with (
        world.bus.open(device_at(world.bus, PORT), interface=0) as channel,
        pytest.raises(DeviceGoneError),
    ):
        channel.read(0x81, 64, timeout_ms=60_000)
    puller.join()


def test_a_mute_recorder_does_not_stop_another_one(world: MockWorld) -> None:
    world.plug(Ambarella(answers={"Ver": None}), "1-1")
    world.plug(Ambarella(ident="OTHER"), PORT)
    mute = world.bus.open(device_at(world.bus, "1-1"), interface=0)
    waiting = threading.Event()
    ends: list[type[Exception]] = []

    def wait() -> None:
        waiting.set()
        try:
            mute.read(0x81, 64, timeout_ms=60_000)
        except (DeviceSilentError, DeviceGoneError) as error:
            ends.append(type(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiting.wait()
    outcome = talk(world, families()["ambarella"])
    assert outcome.facts.recorder == "OTHER"
    assert ends == []
    world.unplug("1-1")
    waiter.join()
    assert ends == [DeviceGoneError]
    mute.close()


def test_a_process_of_its_own_sees_the_same_machine(world: MockWorld) -> None:
    world.plug(Ambarella(ident="CHILD"), PORT)
    code = (
        "from agent.usb.bus import SystemUsbBus\n"
        "bus = SystemUsbBus()\n"
        "[seen] = bus.devices()\n"
        "with bus.open(seen, interface=0) as channel:\n"
        "    channel.write(1, b'@Gdv;8;12345678;#', timeout_ms=5000)\n"
        "    print(seen.port_path, channel.read(0x81, 64, timeout_ms=5000).decode())\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == [PORT, "@Gdv;5;CHILD#"]


def test_a_medium_the_kernel_is_still_looking_at_shows_nothing_yet(world: MockWorld) -> None:
    world.plug(Disk(), PORT)
    world.mock.show_block(PORT, lun=0, ID_PART_TABLE_TYPE="dos")
    world.mock.show_block(PORT, lun=1, size="0")
    assert world.bus.volumes(PORT) == ()
    world.mock.show_block(PORT, lun=0, partition=1, ID_FS_TYPE="vfat")
    world.mock.show_block(PORT, lun=0, partition=2, ID_PART_ENTRY_TYPE="0xf")
    assert [(each.lun, each.partition) for each in world.bus.volumes(PORT)] == [(0, 1)]


def test_a_bus_without_libusb_still_sees(world: MockWorld) -> None:
    world.plug(Recorder(), PORT)

    def no_backend() -> None:
        raise AssertionError("seeing does not need it")

    assert device_at(SystemUsbBus(no_backend), PORT).port_path == PORT
