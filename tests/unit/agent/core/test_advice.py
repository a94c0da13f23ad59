"""Does everything that can go wrong at a bay come with a next step?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.core import devices, docking
from agent.core.advice import _ADVICE, advice_on
from agent.usb.conversation import End
from agent.usb.errors import UsbError
from agent.volumes.errors import VolumeDirtyError, VolumeReadOnlyError, VolumeReplacedError


def leaves(kind: type[UsbError]) -> Iterator[type[UsbError]]:
    for below in kind.__subclasses__():
        yield below
        yield from leaves(below)


CODES = {
    docking.NO_STORAGE,
    docking.NOT_SWITCHED,
    docking.RESTLESS,
    devices.DEVICE_NOT_ALLOWED,
    devices.DEVICE_UNKNOWN,
    devices.FAMILY_OFF,
    *End,
    VolumeDirtyError.code,
    VolumeReadOnlyError.code,
    VolumeReplacedError.code,
    *(kind.code for kind in leaves(UsbError)),
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_trouble_of_a_bay_says_what_to_do(code: str) -> None:
    assert code in _ADVICE


def test_a_code_of_tomorrow_sends_people_to_the_administrator() -> None:
    assert "管理员" in advice_on("something-new").zh


@pytest.mark.parametrize("code", sorted(_ADVICE))
def test_it_is_said_in_both_languages(code: str) -> None:
    advice = advice_on(code)
    assert advice.en.isascii()
    assert not advice.zh.isascii()
