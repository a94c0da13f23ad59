"""Does a conversation say only what it may, learn what it can, and end in the right way whatever is answered?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.usb.conversation import End, Ended, Talked
from firmware_profiles.device import UsbProfile
from tests.support.memory_usb import MemoryUsbBus
from tests.support.usb_recorders import BULK, Ambarella, Disk, Face, HidUnlock, Recorder, Stall, VendorScsi
from tests.support.usb_talk import PORT, Watch, families, talk, tell_time, usb_profile

BULK_FACE = Face(endpoints=((0x81, BULK, 512), (0x01, BULK, 512)))


class Scripted(Recorder):
    """Answers by what was said last; what is not in the script it says nothing to."""

    def __init__(self, script: dict[bytes, bytes | type[Exception]]) -> None:
        super().__init__(faces=(BULK_FACE,))
        self.script = script

    def bulk_out(self, endpoint: int, data: bytes) -> None:
        self.heard.append(data)

    def bulk_in(self, endpoint: int, length: int) -> bytes | None:
        answer = self.script.get(self.heard[-1]) if self.heard else None
        if isinstance(answer, type):
            if answer is ConnectionError:
                self.leave(None)
            raise Stall
        return None if answer is None else answer[:length]


def ask(name: str, send: str, expect: str, **more: object) -> dict[str, object]:
    return {"name": name, "bulk": {"out": 1, "in": 0x81}, "send": send, "expect": expect, **more}


def end_of(outcome: Talked | Ended) -> End:
    assert isinstance(outcome, Ended), outcome
    return outcome.end


def test_an_ambarella_recorder_tells_its_number_and_becomes_a_disk() -> None:
    bus = MemoryUsbBus()
    recorder = Ambarella(ident="007")
    outcome = talk(recorder, families()["ambarella"], bus=bus)
    assert isinstance(outcome, Talked)
    assert outcome.facts.recorder == "007"
    assert outcome.then is not None
    assert outcome.then.becomes == "mass-storage"
    assert recorder.heard == [b"@Ver;8;00000000;#", b"@Gdv;8;12345678;#", b"@ATH;8;12345678;#"]
    [disk] = bus.devices()
    assert (disk.port_path, disk.interfaces[0].class_code) == (PORT, 0x08)


@pytest.mark.parametrize("answer", [b"@Ver;ERROR;#", b"", b"\xff" * 512, b"@Ver;OK;#" * 50])
def test_a_camera_that_answers_the_probe_wrongly_hears_nothing_else(answer: bytes) -> None:
    camera = Ambarella(answers={"Ver": answer})
    assert end_of(talk(camera, families()["ambarella"])) == End.NOT_THIS_FAMILY
    assert camera.heard == [b"@Ver;8;00000000;#"]


def test_a_camera_that_refuses_the_probe_is_of_another_family() -> None:
    camera = Scripted({b"hello": Stall})
    assert end_of(talk(camera, usb_profile())) == End.NOT_THIS_FAMILY


def test_a_camera_that_says_nothing_is_silent() -> None:
    outcome = talk(Ambarella(answers={"Ver": None}), families()["ambarella"])
    assert isinstance(outcome, Ended)
    assert (outcome.end, outcome.section, outcome.step) == (End.SILENT, "probe", "version")


def test_an_hid_recorder_tells_everything_and_is_unlocked() -> None:
    recorder = HidUnlock(clock="20260102110407")
    outcome = talk(recorder, families()["example_hid_unlock"], b"000000")
    assert isinstance(outcome, Talked)
    facts = outcome.facts
    assert (facts.recorder, facts.officer, facts.battery_percent) == ("ZFY0001", "A00123", 87)
    assert facts.firmware == "1.2.3"
    assert recorder.heard[-1].rstrip(b"\0") == b"UNLOCK 000000"
    assert {len(data) for data in recorder.heard} == {64}


def test_the_clock_is_measured_against_the_middle_of_the_round_trip() -> None:
    recorder = HidUnlock(clock="20260102110407")  # in China 2 s ahead of 03:04:05 UTC
    outcome = talk(recorder, families()["example_hid_unlock"], b"000000", watch=Watch(tick_s=0.5))
    assert outcome.clock is not None
    assert (outcome.clock.offset_ms, outcome.clock.uncertainty_ms) == (1750, 1250)
    assert outcome.clock.method


def test_a_scsi_recorder_is_talked_with_through_the_kernels_driver() -> None:
    recorder = VendorScsi()
    outcome = talk(recorder, families()["example_vendor_scsi"], b"000000")
    assert isinstance(outcome, Talked)
    assert (outcome.facts.recorder, outcome.facts.battery_percent) == ("ZFY0002", 55)
    assert recorder.heard[-1][16:] == b"000000".ljust(16, b"\0")


@pytest.mark.parametrize("recorder", [HidUnlock(), VendorScsi()])
def test_a_wrong_password_is_told_and_not_tried_again(recorder: HidUnlock | VendorScsi) -> None:
    family = "example_hid_unlock" if isinstance(recorder, HidUnlock) else "example_vendor_scsi"
    outcome = talk(recorder, families()[family], b"999999")
    assert end_of(outcome) == End.WRONG_PASSWORD
    assert outcome.facts.recorder is not None
    assert sum(b"999999" in data for data in recorder.heard) == 1


def test_without_a_password_the_recorder_is_asked_but_not_switched() -> None:
    recorder = HidUnlock()
    outcome = talk(recorder, families()["example_hid_unlock"])
    assert end_of(outcome) == End.PASSWORD_MISSING
    assert outcome.facts.recorder == "ZFY0001"
    assert not any(data.startswith(b"UNLOCK") for data in recorder.heard)


def test_a_password_that_is_too_long_is_not_sent() -> None:
    recorder = VendorScsi()
    assert end_of(talk(recorder, families()["example_vendor_scsi"], b"x" * 17)) == End.PASSWORD_UNFIT
    assert not any(b"xx" in data for data in recorder.heard)


def test_the_password_shows_nowhere_even_if_the_device_repeats_it() -> None:
    profile = usb_profile(
        switch=[ask("unlock", "unlock {password}", ".*ok", refused=".*no")],
    )
    for answer in (b"secret1 secret1 no", b"secret1 ok", b"what is secret1"):
        outcome = talk(Scripted({b"hello": b"yes", b"unlock secret1": answer}), profile, b"secret1")
        shown = repr(outcome)
        assert "secret1" not in shown
        assert b"secret1".hex(" ") not in shown
        assert "** ** **" in shown


def test_a_fact_that_is_not_answered_as_expected_is_not_known() -> None:
    profile = usb_profile(
        ask=[
            ask("number", "number", "(?P<recorder>[0-9]+)"),
            ask("battery", "battery", "(?P<battery_percent>[0-9]+)"),
            ask("firmware", "firmware", "(?P<firmware>[0-9.]+)"),
        ],
    )
    script: dict[bytes, bytes | type[Exception]] = {b"hello": b"yes", b"number": b"none", b"battery": b"250"}
    outcome = talk(Scripted({**script, b"firmware": Stall}), profile)
    assert isinstance(outcome, Talked)
    facts = outcome.facts
    assert (facts.recorder, facts.battery_percent, facts.firmware) == (None, None, None)


def test_what_is_said_first_stands() -> None:
    profile = usb_profile(
        ask=[
            ask("one", "one", "(?P<recorder>[0-9]+)"),
            ask("two", "two", "(?P<recorder>[0-9]+),(?P<officer>.+)", encoding="gbk"),
        ],
    )
    outcome = talk(Scripted({b"hello": b"yes", b"one": b"1", b"two": "2,张三".encode("gbk")}), profile)
    assert (outcome.facts.recorder, outcome.facts.officer) == ("1", "张三")


def test_a_recorder_that_is_pulled_is_gone() -> None:
    profile = usb_profile(ask=[ask("number", "number", "(?P<recorder>[0-9]+)")])
    outcome = talk(Scripted({b"hello": b"yes", b"number": ConnectionError}), profile)
    assert end_of(outcome) == End.GONE


@pytest.mark.parametrize(
    ("steps", "ends"),
    [
        ([], False),
        ([{"name": "back", "reenumerate": {"within_s": 5, "becomes": "mtp"}}], True),
    ],
)
def test_leaving_at_the_last_step_is_expected_only_where_the_family_comes_back(
    steps: list[dict[str, object]], ends: bool
) -> None:
    profile = usb_profile(switch=[ask("go", "go", "gone"), *steps])
    recorder = Scripted({b"hello": b"yes", b"go": ConnectionError})
    outcome = talk(recorder, profile)
    assert isinstance(outcome, Talked) is ends


def test_a_switch_that_is_refused_is_not_taken_for_done() -> None:
    profile = usb_profile(switch=[ask("go", "go", "ok", refused="no")])
    for answer in (b"no", b"perhaps", Stall):
        assert end_of(talk(Scripted({b"hello": b"yes", b"go": answer}), profile)) == End.REFUSED


def test_waiting_takes_the_time_it_is_told() -> None:
    watch = Watch()
    profile = usb_profile(switch=[{"name": "settle", "wait": {"ms": 1500}}])
    talk(Scripted({b"hello": b"yes"}), profile, watch=watch)
    assert timedelta(seconds=watch.seconds) == timedelta(seconds=1.5)


def test_what_is_left_of_a_broken_conversation_is_not_taken_for_an_answer() -> None:
    recorder = Ambarella(ident="007")
    recorder.waiting += [b"@Gdv;3;999#", b"@ATH;OK;#"]
    assert talk(recorder, families()["ambarella"]).facts.recorder == "007"


def test_a_device_that_never_stops_talking_is_left_alone() -> None:
    class Endless(Ambarella):
        def bulk_in(self, endpoint: int, length: int) -> bytes | None:
            return b"@Ver;OK;#".ljust(length, b"\0")

    camera = Endless()
    assert end_of(talk(camera, families()["ambarella"])) == End.NOT_THIS_FAMILY
    assert camera.heard == []


def test_the_clock_is_set_to_the_stations_local_time() -> None:
    recorder = Ambarella()
    assert isinstance(tell_time(recorder, families()["ambarella"]), Talked)
    assert recorder.heard[1:] == [b"@Sdt;8;20260102;#", b"@Stm;6;11040500;#"]


def test_control_requests_carry_a_family_that_uses_them() -> None:
    class Framed(Recorder):
        def control(
            self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
        ) -> bytes:
            self.heard.append(bytes([request_type, request, value]) + data)
            return b"\x7e\x00ok" if request == 0x59 else b""

    steps = [
        {
            "name": "question",
            "control": {"request_type": 0x40, "request": 0x5A, "value": 0xAA},
            "send_hex": "7e 01",
        },
        {
            "name": "answer",
            "control": {"request_type": 0xC0, "request": 0x59, "value": 0xAA},
            "expect": r"\x7e\x00ok",
        },
    ]
    recorder = Framed()
    assert isinstance(talk(recorder, usb_profile(probe=steps)), Talked)
    assert recorder.heard == [b"\x40\x5a\xaa\x7e\x01", b"\xc0\x59\xaa"]


def test_hid_reports_without_endpoints_go_through_the_control_endpoint() -> None:
    class Reports(Recorder):
        def control(
            self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
        ) -> bytes:
            self.heard.append(bytes([request_type, request, value >> 8, value & 0xFF, index]) + data)
            return b"\x05yes"

    recorder = Reports(faces=(Face(class_code=3),))
    profile = UsbProfile.from_table(
        {
            "match": {"interface": {"class": 3}},
            "probe": [
                {
                    "name": "hello",
                    "hid_report": {"id": 5, "type": "feature"},
                    "send": "hi",
                    "expect": r"\x05yes",
                }
            ],
        }
    )
    assert isinstance(talk(recorder, profile), Talked)
    assert recorder.heard == [b"\x21\x09\x03\x05\x00\x05hi", b"\xa1\x01\x03\x05\x00"]


def test_a_disk_is_of_no_family_that_is_talked_with() -> None:
    seen = MemoryUsbBus().plug(Disk(), PORT)
    fitting = [family for family, profile in families().items() if profile.interface_of(seen) is not None]
    assert fitting == []
