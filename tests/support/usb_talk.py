"""Conversations with recorders in memory, at a time that is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from agent.keys.secrets import Password
from agent.usb.conversation import Ended, StationTime, Talked, converse, set_clock
from agent.usb.ports import DeviceSeen, UsbBus
from firmware_profiles.device import UsbProfile
from firmware_profiles.load import load_registry
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import Recorder

PORT: Final = "1-2.4"
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ZONE: Final = ZoneInfo("Asia/Shanghai")


@cache
def families() -> Mapping[str, UsbProfile]:
    """The families that come with the program and are talked with."""
    return {profile.id: profile.usb for profile in load_registry().profiles if profile.usb is not None}


class Watch:
    """A clock that moves when somebody sleeps, and by ``tick_s`` each time it is read."""

    def __init__(self, tick_s: float = 0.0) -> None:
        self.seconds = 0.0
        self.tick_s = tick_s

    def time(self) -> StationTime:
        return StationTime(now=lambda: NOW, monotonic_s=self._read, sleep_s=self._sleep, zone=ZONE)

    def _read(self) -> float:
        self.seconds += self.tick_s
        return self.seconds

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


def usb_profile(**sections: Any) -> UsbProfile:
    """A family over bulk endpoints, with what is given in place of its probe."""
    table: dict[str, Any] = {
        "match": {"interface": {"class": 0xFF}},
        "probe": [{"name": "hello", "bulk": {"out": 1, "in": 0x81}, "send": "hello", "expect": "yes"}],
    }
    return UsbProfile.from_table({**table, **sections})


def talk(
    recorder: Recorder,
    profile: UsbProfile,
    password: bytes | None = None,
    *,
    bus: MemoryUsbBus | None = None,
    watch: Watch | None = None,
) -> Talked | Ended:
    """Plugs the recorder in and holds the whole conversation."""
    bus = bus or MemoryUsbBus()
    seen = bus.plug(recorder, PORT)
    return talk_with(bus, seen, profile, password, (watch or Watch()).time())


def talk_with(
    bus: UsbBus, seen: DeviceSeen, profile: UsbProfile, password: bytes | None, time: StationTime
) -> Talked | Ended:
    interface = profile.interface_of(seen)
    assert interface is not None, "the device is not of this family"
    secret = None if password is None else Password(password)
    with bus.open(seen, interface=interface) as channel:
        return converse(channel, profile, interface=interface, password=secret, time=time)


def tell_time(recorder: Recorder, profile: UsbProfile) -> Talked | Ended:
    """Plugs the recorder in and sets its clock."""
    bus = MemoryUsbBus()
    seen = bus.plug(recorder, PORT)
    interface = profile.interface_of(seen)
    assert interface is not None
    with bus.open(seen, interface=interface) as channel:
        return set_clock(channel, profile, interface=interface, password=None, time=Watch().time())
