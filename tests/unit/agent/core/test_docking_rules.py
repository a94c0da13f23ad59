"""Does a USB bay always find its way from plugging in to storage, and out again?"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.docking import (
    MAX_RETURNS,
    NO_STORAGE,
    NOT_SWITCHED,
    QUIET_S,
    RESTLESS,
    STORAGE_WAIT_S,
    Action,
    Docking,
    Leave,
    Mount,
    Ready,
    Stage,
    Switched,
    Talk,
    Trouble,
    Withdraw,
    answered,
    look,
    mounted,
)
from agent.ports import DeviceFacts
from agent.usb.ports import DeviceSeen, VolumeSeen

RECORDER: Final = DeviceSeen(
    port_path="1-2",
    generation="boot:1:4",
    vendor_id=0x4255,
    product_id=1,
    release_bcd=0x0100,
    device_class=0,
    manufacturer=None,
    product=None,
    serial="same on every unit",
    speed_mbit=480,
    interfaces=(),
)
AS_STORAGE: Final = replace(RECORDER, generation="boot:1:5", product_id=2)
CARD: Final = VolumeSeen(
    port_path="1-2",
    generation="seq 7",
    device_node="/dev/sda1",
    lun=0,
    partition=1,
    size_bytes=2**20,
    fs_type="vfat",
    label=None,
)
SECOND: Final = replace(CARD, generation="seq 8", device_node="/dev/sdb1", lun=1)
FACTS: Final = DeviceFacts(family="ambarella", battery_percent=80)


class Bay:
    """One bay and its clock."""

    def __init__(self) -> None:
        self.state = Docking()
        self.now_s = 100.0
        self.actions: list[Action] = []

    def look(self, device: DeviceSeen | None, *volumes: VolumeSeen, after_s: float = 0.0) -> Bay:
        self.now_s += after_s
        return self._took(look(self.state, device, volumes, self.now_s))

    def answer(self, answer: Ready | Switched | Trouble, generation: str = RECORDER.generation) -> Bay:
        return self._took(answered(self.state, generation, answer, self.now_s))

    def mount(self, *volumes: VolumeSeen, troubles: dict[VolumeSeen, Trouble] | None = None) -> Bay:
        generation = self.state.generation or ""
        return self._took(mounted(self.state, generation, volumes, troubles or {}, self.now_s))

    def _took(self, step: tuple[Docking, tuple[Action, ...]]) -> Bay:
        self.state, actions = step
        self.actions.extend(actions)
        return self

    def due_s(self) -> float | None:
        return self.state.due_s

    def asked(self) -> list[Action]:
        asked, self.actions = self.actions, []
        return asked


def with_card() -> Bay:
    bay = Bay().look(RECORDER).answer(Ready(FACTS)).look(RECORDER, CARD).look(RECORDER, CARD, after_s=QUIET_S)
    bay.mount(CARD).asked()
    return bay


def test_a_plain_disk_is_asked_then_mounted_when_its_volumes_are_quiet() -> None:
    bay = Bay().look(RECORDER)
    assert bay.asked() == [Talk(RECORDER)]
    bay.answer(Ready(FACTS)).look(RECORDER, CARD)
    assert bay.asked() == []
    assert bay.due_s() == bay.now_s + QUIET_S
    bay.look(RECORDER, CARD, SECOND, after_s=QUIET_S)
    assert bay.asked() == []  # one more appeared: not quiet yet
    bay.look(RECORDER, CARD, SECOND, after_s=QUIET_S)
    assert bay.asked() == [Mount((CARD, SECOND))]
    bay.mount(CARD, SECOND)
    assert (bay.state.stage, bay.state.facts) == (Stage.MOUNTED, FACTS)
    assert bay.due_s() is None


def test_a_recorder_that_comes_back_as_a_disk_is_still_the_same_visit() -> None:
    bay = Bay().look(RECORDER).answer(Switched(FACTS, within_s=20.0))
    bay.asked()
    bay.look(None, after_s=1.0).look(AS_STORAGE, after_s=4.0).look(AS_STORAGE, CARD)
    bay.look(AS_STORAGE, CARD, after_s=QUIET_S)
    assert bay.asked() == [Mount((CARD,))]
    assert bay.state.facts == FACTS


@pytest.mark.parametrize("while_waiting", [None, RECORDER], ids=["never came back", "stayed as it was"])
def test_a_switch_that_comes_to_nothing_needs_a_person(while_waiting: DeviceSeen | None) -> None:
    bay = Bay().look(RECORDER).answer(Switched(FACTS, within_s=20.0)).look(while_waiting, after_s=19.0)
    assert bay.state.trouble is None
    bay.look(while_waiting, after_s=1.0)
    assert bay.state.trouble is not None
    assert bay.state.trouble.code == NOT_SWITCHED
    bay.asked()
    bay.look(None).look(replace(RECORDER, generation="boot:1:9"))
    assert bay.asked()[-1] == Talk(replace(RECORDER, generation="boot:1:9"))


def test_without_storage_somebody_is_told() -> None:
    bay = Bay().look(RECORDER).answer(Ready(FACTS)).look(RECORDER, after_s=STORAGE_WAIT_S)
    assert bay.state.trouble is not None
    assert bay.state.trouble.code == NO_STORAGE


def test_pulled_out_it_is_told_once_from_wherever_it_was() -> None:
    bay = with_card().look(None)
    assert bay.asked() == [Leave()]
    assert bay.look(None).asked() == []


def test_another_recorder_at_the_same_port_is_another_visit() -> None:
    other = replace(RECORDER, generation="boot:1:6")
    bay = with_card().look(other)
    assert bay.asked() == [Leave(), Talk(other)]
    assert bay.state.facts == DeviceFacts()


def test_a_card_pulled_from_a_reader_that_stays_is_withdrawn_and_a_new_one_mounted() -> None:
    bay = with_card().look(RECORDER)
    assert bay.asked() == [Withdraw((CARD,))]
    bay.look(RECORDER, SECOND).look(RECORDER, SECOND, after_s=QUIET_S)
    assert bay.asked() == [Mount((SECOND,))]


def test_a_card_that_is_only_read_differently_stays_where_it_is() -> None:
    bay = with_card()
    bay.look(RECORDER, replace(CARD, fs_type=None, label="CLEARED"), after_s=STORAGE_WAIT_S)
    assert bay.asked() == []
    assert bay.state.mounted == (CARD,)


def test_what_is_mounted_is_what_was_seen_last() -> None:
    bay = Bay().look(RECORDER).answer(Ready(FACTS)).look(RECORDER, CARD)
    bay.look(RECORDER, replace(CARD, label="ZFY0001"), after_s=QUIET_S)
    (mount,) = (each for each in bay.asked() if isinstance(each, Mount))
    assert [volume.label for volume in mount.volumes] == ["ZFY0001"]


def test_a_second_card_is_mounted_beside_the_first() -> None:
    bay = with_card().look(RECORDER, CARD, SECOND).look(RECORDER, CARD, SECOND, after_s=QUIET_S)
    assert bay.asked() == [Mount((SECOND,))]
    assert bay.mount(SECOND).state.mounted == (CARD, SECOND)


def test_a_volume_that_cannot_be_mounted_is_not_tried_over_and_over() -> None:
    broken = Trouble(code="mount-failed", detail="bad superblock")
    bay = Bay().look(RECORDER).answer(Ready(FACTS)).look(RECORDER, CARD, SECOND)
    bay.look(RECORDER, CARD, SECOND, after_s=QUIET_S).asked()
    bay.mount(CARD, troubles={SECOND: broken})
    assert bay.state.stage is Stage.MOUNTED
    assert bay.look(RECORDER, CARD, SECOND, after_s=1000.0).asked() == []


def test_when_nothing_can_be_mounted_the_trouble_is_the_bays() -> None:
    away = Trouble(code="mounter-away", detail="no socket", retry_after_s=30.0)
    bay = Bay().look(RECORDER).answer(Ready(FACTS)).look(RECORDER, CARD).look(RECORDER, CARD, after_s=QUIET_S)
    bay.asked()
    bay.mount(troubles={CARD: away})
    assert (bay.state.stage, bay.state.trouble) == (Stage.TROUBLED, away)
    bay.look(RECORDER, CARD, after_s=29.0)
    assert bay.asked() == []
    bay.look(RECORDER, CARD, after_s=1.0)
    assert bay.asked() == [Talk(RECORDER)]
    bay.answer(Ready(FACTS)).look(RECORDER, CARD, after_s=QUIET_S)
    assert bay.asked() == [Mount((CARD,))]


def test_a_refused_recorder_stays_refused_until_it_is_pulled() -> None:
    refused = Trouble(code="wrong-password", detail="refused")
    bay = Bay().look(RECORDER).answer(refused)
    bay.asked()
    assert bay.look(RECORDER, CARD, after_s=10_000.0).asked() == []
    assert bay.state.trouble == refused


def test_an_answer_of_a_device_that_has_left_says_nothing() -> None:
    bay = Bay().look(RECORDER).look(replace(RECORDER, generation="boot:1:6"))
    bay.asked()
    bay.answer(Ready(FACTS), generation=RECORDER.generation)
    assert bay.state.stage is Stage.TALKING


def test_a_bad_plug_is_not_asked_again_and_again() -> None:
    bay = Bay()
    for number in range(MAX_RETURNS + 1):
        bay.look(replace(RECORDER, generation=f"boot:1:{number}"), after_s=1.0).look(None)
    assert sum(isinstance(action, Talk) for action in bay.asked()) == MAX_RETURNS
    bay.look(replace(RECORDER, generation="boot:1:99"))
    assert bay.state.trouble is not None
    assert bay.state.trouble.code == RESTLESS
    bay.look(replace(RECORDER, generation="boot:1:99"), after_s=60.0)
    assert isinstance(bay.asked()[-1], Talk)


_DEVICES = st.none() | st.sampled_from([RECORDER, AS_STORAGE, replace(RECORDER, generation="boot:1:6")])
_VOLUMES = st.lists(st.sampled_from([CARD, SECOND]), unique=True, max_size=2)
_ANSWERS = st.sampled_from([Ready(FACTS), Switched(FACTS, within_s=20.0), Trouble(code="no", detail="no")])


@given(
    st.lists(
        st.tuples(_DEVICES, _VOLUMES, _ANSWERS, st.booleans(), st.floats(min_value=0.0, max_value=50.0)),
        max_size=40,
    )
)
def test_whatever_happens_only_what_was_mounted_is_withdrawn_and_an_empty_port_holds_nothing(
    happenings: list[tuple[DeviceSeen | None, list[VolumeSeen], Ready | Switched | Trouble, bool, float]],
) -> None:
    bay, held = Bay(), set[VolumeSeen]()
    for device, volumes, answer, mounts, after_s in happenings:
        bay.look(device, *volumes, after_s=after_s)
        for action in bay.asked():
            match action:
                case Talk(found):
                    assert found == device
                    bay.answer(answer, found.generation)
                case Mount(wanted):
                    assert held.isdisjoint(wanted)
                    failure = {} if mounts else dict.fromkeys(wanted, Trouble(code="no", detail="no"))
                    bay.mount(*(wanted if mounts else ()), troubles=failure)
                    held.update(wanted if mounts else ())
                case Withdraw(gone):
                    held.difference_update(gone)
                case Leave():
                    held.clear()
        assert set(bay.state.mounted) == held
        assert bay.state.due_s is not None or bay.state.stage not in (Stage.SWITCHING, Stage.AWAITING_STORAGE)
    bay.look(None, after_s=100.0).look(None, after_s=100.0)
    assert bay.state.mounted == ()
