"""Does the station get to know recorders of each family, and let strangers be?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from agent.core.docking import Answer, Ready, Switched, Trouble
from agent.keys.secrets import Password
from agent.ports import DeviceFacts
from agent.usb.conversation import StationTime
from agent.usb.introductions import FamilyIntroductions
from firmware_profiles.load import load_registry
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import Ambarella, Disk, HidUnlock, Recorder, VendorScsi

NOW = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
FAMILIES = ["ambarella", "example_hid_unlock", "example_vendor_scsi"]


@dataclass
class MemorySecrets:
    passwords: dict[str, bytes] = field(default_factory=dict)

    def password(self, family: str) -> Password | None:
        value = self.passwords.get(family)
        return None if value is None else Password(value)


def introduce(
    recorder: Recorder, *, password: bytes | None = b"000000", turned_on: list[str] | None = None
) -> Answer:
    bus = MemoryUsbBus()
    introductions = FamilyIntroductions(
        bus=bus,
        profiles=load_registry().profiles,
        secrets=MemorySecrets({} if password is None else dict.fromkeys(FAMILIES, password)),
        time=StationTime(now=lambda: NOW, monotonic_s=lambda: 0.0, sleep_s=lambda _: None, zone=UTC),
        turned_on=FAMILIES if turned_on is None else turned_on,
    )
    return introductions.talk(bus.plug(recorder, "1-2"))


def test_an_ambarella_recorder_says_who_it_is_and_switches() -> None:
    answer = introduce(Ambarella(ident="ZFY0007"))
    assert isinstance(answer, Switched)
    assert answer.facts == DeviceFacts(family="ambarella", recorder="ZFY0007")
    assert answer.within_s == 30


@pytest.mark.parametrize("recorder", [HidUnlock(), VendorScsi()], ids=["hid", "scsi"])
def test_a_locked_recorder_opens_with_the_password_and_tells_its_clock(recorder: Recorder) -> None:
    answer = introduce(recorder)
    assert isinstance(answer, Switched)
    assert answer.facts.battery_percent is not None
    assert answer.facts.clock is not None


@pytest.mark.parametrize(
    ("password", "code"),
    [(b"123456", "wrong-password"), (None, "password-missing")],
)
def test_without_the_right_password_a_person_is_needed_and_it_is_not_tried_again(
    password: bytes | None, code: str
) -> None:
    answer = introduce(HidUnlock(), password=password)
    assert isinstance(answer, Trouble)
    assert (answer.code, answer.retry_after_s) == (code, None)
    assert "123456" not in repr(answer)


def test_a_consumer_camera_of_the_same_ids_is_sent_the_probe_alone() -> None:
    camera = Ambarella(answers={"Ver": b"@Ver;ERROR;#"})
    answer = introduce(camera)
    assert isinstance(answer, Trouble)
    assert answer.code == "not-this-family"
    assert camera.heard == [b"@Ver;8;00000000;#"]


def test_a_silent_recorder_is_asked_again_later() -> None:
    answer = introduce(Ambarella(answers={"Ver": None}))
    assert isinstance(answer, Trouble)
    assert answer.code == "device-silent"
    assert answer.retry_after_s is not None


def test_what_is_off_is_sent_nothing() -> None:
    recorder = Ambarella()
    answer = introduce(recorder, turned_on=[])
    assert isinstance(answer, Trouble)
    assert (answer.code, recorder.heard) == ("family-off", [])


def test_a_disk_that_is_of_no_family_is_read_as_it_is() -> None:
    assert introduce(Disk()) == Ready(DeviceFacts())
    locked = VendorScsi()
    assert introduce(locked, turned_on=[]) == Ready(DeviceFacts())
    assert locked.heard == []
