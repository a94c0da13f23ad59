"""Plugged into a real USB port, is a recorder read, stored, cleared and ready again, with nobody doing anything?

The agent runs without privileges in the guest, beside the mount helper; the collector runs on the host.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.guest import inside_mounting, inside_station
from tests.support.guest.boot import Guest
from tests.support.guest.card_images import format_card
from tests.support.guest.recorder import AmbarellaRecorder, Card, Recorder
from tests.support.processes import AGENCY, STATION, CollectorHost, call, needs_site

BAYS: Final = {"A01": "1-1", "A02": "1-2"}
SETTINGS: Final = """
reserve_mib = 16
families_on = ["ambarella"]
[release]
enabled = true
"""
FILES: Final = {
    "DCIM/100MEDIA/MEDI0001.JPG": b"\xff\xd8\xff\xe0 no photograph" * 5000,
    "ZFY0001_031415_20260304173000.mp4": bytes(range(256)) * 1500,
    "LOG.TXT": b"switched on\r\n",
}
_STEP_S: Final = 240.0
"""A recorder's whole stay, on an emulated processor that others use too."""


class Station:
    """What a person at the dock can do and see."""

    def __init__(self, guest: Guest, collector: CollectorHost) -> None:
        self.guest = guest
        self.collector = collector

    def wait_for(self, bay: str, states: Collection[str]) -> Mapping[str, Any]:
        deadline = time.monotonic() + _STEP_S
        while True:
            tile: Mapping[str, Any] = self.guest.call(inside_station.bay, bay)
            if tile.get("state") in states:
                return tile
            if time.monotonic() > deadline:
                pytest.fail(f"bay {bay} shows {tile}, not {states}: {self.guest.call(inside_station.log)}")
            time.sleep(0.5)

    @contextmanager
    def docked(self, recorder: Recorder, port: int) -> Iterator[None]:
        """For a while. What the station logged is shown when something goes wrong meanwhile."""
        recorder.plug(self.guest, port)
        try:
            yield
        except BaseException:
            print(self.guest.call(inside_station.log))
            raise
        finally:
            recorder.pull()

    def audit(self) -> Mapping[str, Any]:
        return call("zhilu-collector", "audit", "--data", str(self.collector.folder))

    def release_is_announced(self) -> bool:
        """Whether the log holds a release intent."""
        entries = self.collector.config.log_dir.rglob("tile/entries/**/*")
        return any(b"release-intent" in path.read_bytes() for path in entries if path.is_file())


@pytest.fixture(scope="module")
def station(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    collector = CollectorHost(tmp_path_factory.mktemp("site") / "collector", known_as=[inside_station.HOST])
    try:
        collector.start()
        guest.call(inside_mounting.start_helper, list(BAYS.values()))
        guest.call(inside_station.join_network)
        bays = "[bays]\n" + "".join(f'{name} = "{port}"\n' for name, port in BAYS.items())
        code = collector.enrolment_code(STATION, AGENCY)
        guest.call(inside_station.enrol, code, {"agent.toml": SETTINGS, "bays.toml": bays})
        guest.call(inside_station.start)
        yield Station(guest, collector)
        assert guest.call(inside_station.end) == 0
    finally:
        collector.child.make_sure_it_ended()
        print(collector.child.last_words())


@pytest.fixture
def card(station: Station, tmp_path: Path, request: pytest.FixtureRequest) -> Card:
    """With the files on it, as a recorder leaves it."""
    fs_type, image = request.param, tmp_path / "card.img"
    format_card(image, fs_type)
    maker = Recorder(Card(image))
    maker.plug(station.guest, 3)
    (volume,) = station.guest.call(inside_mounting.volumes, "1-3")
    shown = {name: data.hex() for name, data in FILES.items()}
    station.guest.call(inside_mounting.write_as_a_recorder, volume["node"], fs_type, shown)
    maker.pull()
    station.guest.call(inside_mounting.gone, "1-3")
    return Card(image)


@needs_site
@pytest.mark.parametrize("card", ["vfat", "exfat"], indirect=True)
def test_a_plain_recorder_is_read_stored_cleared_and_empty_when_it_comes_back(
    station: Station, card: Card
) -> None:
    announced: list[bool] = []
    card.on_write = lambda first, count: announced.append(station.release_is_announced())
    recorder = Recorder(card)
    with station.docked(recorder, 1):
        tile = station.wait_for("A01", {"released"})
        assert (tile["files_released"], tile["needs_person"]) == (len(FILES), False)
    station.wait_for("A01", {"empty"})
    assert announced, "the recorder was to be cleared"
    assert all(announced), "something was written to the card before its release was announced"
    with station.docked(recorder, 1):
        assert station.wait_for("A01", {"done", "released"})["files"] == 0
    station.wait_for("A01", {"empty"})
    assert station.audit()["clean"] is True


@needs_site
@pytest.mark.parametrize("card", ["vfat"], indirect=True)
def test_a_recorder_of_the_ambarella_family_is_asked_switched_and_read(station: Station, card: Card) -> None:
    recorder = AmbarellaRecorder(card, ident="ZFY0042")
    with station.docked(recorder, 2):
        tile = station.wait_for("A02", {"released"})
        assert tile["profile"].startswith("ambarella@")
        assert recorder.face.heard == ["Ver", "Gdv", "ATH"]
    station.wait_for("A02", {"empty"})
