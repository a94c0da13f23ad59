"""Plugged into a real USB port, is a recorder read, stored, cleared and ready again, with nobody doing anything?

The agent runs without privileges in the guest, beside the mount helper; the collector runs on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.guest.boot import Guest
from tests.support.guest.recorder import AmbarellaRecorder, Recorder
from tests.support.guest.station import GuestStation
from tests.support.processes import needs_site

pytestmark = needs_site

FILES: Final = {
    "DCIM/100MEDIA/MEDI0001.JPG": b"\xff\xd8\xff\xe0 no photograph" * 5000,
    "ZFY0001_031415_20260304173000.mp4": bytes(range(256)) * 1500,
    "LOG.TXT": b"switched on\r\n",
}


@pytest.fixture(scope="module")
def station(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestStation]:
    with GuestStation.running(guest, tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.mark.parametrize("fs_type", ["vfat", "exfat"])
def test_a_plain_recorder_is_read_stored_cleared_and_empty_when_it_comes_back(
    station: GuestStation, tmp_path: Path, fs_type: str
) -> None:
    card = station.card_with(tmp_path / "card.img", fs_type, FILES)
    before = station.intents()
    announced: list[bool] = []

    def look(first: int, count: int) -> None:
        if not announced:
            announced.append(station.intents() > before)

    card.on_write = look
    recorder = Recorder(card)
    with station.docked(recorder, "A01"):
        tile = station.wait_for("A01", {"released"})
        assert (tile["files_released"], tile["needs_person"]) == (len(FILES), False)
    station.wait_for("A01", {"empty"})
    assert announced == [True], "nothing is written to a card before its release is announced"
    with station.docked(recorder, "A01"):
        assert station.wait_for("A01", {"done", "released"})["files"] == 0
    station.wait_for("A01", {"empty"})
    assert station.audit()["clean"] is True


def test_a_recorder_of_the_ambarella_family_is_asked_switched_and_read(
    station: GuestStation, tmp_path: Path
) -> None:
    recorder = AmbarellaRecorder(station.card_with(tmp_path / "card.img", "vfat", FILES), ident="ZFY0042")
    with station.docked(recorder, "A02"):
        tile = station.wait_for("A02", {"released"})
        assert tile["profile"].startswith("ambarella@")
        assert recorder.face.heard == ["Ver", "Gdv", "ATH"]
    station.wait_for("A02", {"empty"})


@pytest.mark.parametrize(
    "fs_type",
    [
        "vfat",
        pytest.param("exfat", marks=pytest.mark.thorough),
        pytest.param("ext4", marks=pytest.mark.thorough),
    ],
)
def test_a_recorder_whose_battery_ended_is_read_and_never_written(
    station: GuestStation, tmp_path: Path, fs_type: str
) -> None:
    card = station.card_with(tmp_path / "card.img", fs_type, FILES, dirty=True)
    with station.docked(Recorder(card), "A01"):
        tile = station.wait_for("A01", {"not-released"})
        assert (tile["problem_code"], tile["files_receipted"]) == ("volume-dirty", tile["files"])
        assert tile["files"] >= len(FILES)
    station.wait_for("A01", {"empty"})
    assert card.blocks_written == 0
