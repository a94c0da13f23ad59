"""Pulled out, or the station's power cut, at any block: is every file stored exactly once, and nothing erased early?

A moment is a number of blocks moved to and from the card since it was docked, chosen by a seed between the first and
the last one of an undisturbed stay. How many are tried is set by two variables; a few are in every run.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.audit import Auditor
from tests.support.guest.boot import Guest
from tests.support.guest.recorder import Card, Recorder
from tests.support.guest.station import BAYS, GuestStation
from tests.support.processes import needs_site

pytestmark = needs_site

PULLS: Final = int(os.environ.get("ZHILU_GUEST_PULLS", "1"))
POWER_CUTS: Final = int(os.environ.get("ZHILU_GUEST_POWER_CUTS", "1"))
FILE_SYSTEMS: Final = ("vfat", "exfat", "ext4")
_STAY_S: Final = 120.0
_LEFT: Final = frozenset({"empty", "lost-contact", "release-interrupted"})


class Moment:
    """Does something once, when so many blocks were moved."""

    def __init__(self, card: Card, at_block: int, act: Callable[[], None]) -> None:
        self.blocks = 0
        self.come = threading.Event()
        self._at_block = at_block
        self._act = act
        card.on_read = card.on_write = self._count

    def _count(self, first: int, count: int) -> None:
        self.blocks += count
        if self.blocks >= self._at_block and not self.come.is_set():
            self.come.set()
            self._act()


class Trial:
    """Recorders one after the other at one station, and the truth about all of them."""

    def __init__(self, station: GuestStation, folder: Path) -> None:
        self.station = station
        self.docked: Counter[tuple[str, str]] = Counter()
        self._folder = folder
        self._chance = random.Random(20)
        self._blocks: dict[str, int] = {}

    def pull(self, number: int) -> None:
        """Pulled at a moment, and docked again somewhere."""
        self._interrupt(number, power_cut=False)

    def cut_power(self, number: int) -> None:
        """The station's power fails at a moment; the recorder stays where it was, or is docked elsewhere."""
        self._interrupt(number, power_cut=True)

    def settle(self) -> Auditor:
        """Once the station owes nothing any more."""
        self.station.wait_until_idle()
        config = self.station.collector.config
        return Auditor(config.log_dir, config.objects_dir)

    def _interrupt(self, number: int, *, power_cut: bool) -> None:
        station = self.station
        fs_type = FILE_SYSTEMS[number % len(FILE_SYSTEMS)]
        at_block = self._chance.randint(1, self._blocks_of_a_stay(fs_type))
        again_at = self._chance.choice(list(BAYS))
        card, before = self._card(fs_type), station.intents()
        recorder = Recorder(card)
        moment = Moment(card, at_block, station.guest.cut_power if power_cut else recorder.pull)
        station.plug(recorder, "A01")
        if not moment.come.wait(_STAY_S):
            (station.guest.cut_power if power_cut else recorder.pull)()
        if power_cut:
            recorder.pull()
            station.power_on()
        else:
            station.wait_for("A01", _LEFT)
        assert card.blocks_written == 0 or station.intents() > before, "erased before it was announced"
        with station.docked(recorder, again_at):
            tile = station.wait_for(again_at, {"released", "not-released", "done"})
            if tile["state"] == "done" and tile["files"]:
                tile = station.wait_for(again_at, {"released", "not-released"})
            self._check(tile, card, before)
        station.wait_for(again_at, _LEFT)

    def _check(self, tile: Mapping[str, Any], card: Card, intents_before: int) -> None:
        """Cleared, now or before the interruption; or everything stored, and kept because that left the card in
        disorder."""
        if tile["state"] == "not-released":
            assert tile["problem_code"] == "volume-dirty"
            assert tile["files_receipted"] == tile["files"]
            assert card.blocks_written > 0, "only what was being cleared can be in disorder"
        assert card.blocks_written == 0 or self.station.intents() > intents_before

    def _blocks_of_a_stay(self, fs_type: str) -> int:
        """From docking to the last block of the release, undisturbed."""
        if fs_type not in self._blocks:
            card = self._card(fs_type)
            never = Moment(card, 1 << 60, lambda: None)
            with self.station.docked(Recorder(card), "A01"):
                self.station.wait_for("A01", {"released"})
            self.station.wait_for("A01", _LEFT)
            self._blocks[fs_type] = never.blocks
        return self._blocks[fs_type]

    def _card(self, fs_type: str) -> Card:
        number = len(self.docked)
        files = {
            f"DCIM/100MEDIA/ZFY0001_031415_20260304{each // 3600:02}{each // 60 % 60:02}{each % 60:02}.mp4":
            self._chance.randbytes(150_000)
            for each in range(number, number + 3)
        }  # fmt: skip
        self.docked.update((name, hashlib.sha256(data).hexdigest()) for name, data in files.items())
        return self.station.card_with(self._folder / f"card{number}.img", fs_type, files)


@pytest.fixture(scope="module")
def trial(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("trial")
    with GuestStation.running(guest, folder) as station:
        yield Trial(station, folder)


@pytest.mark.parametrize("number", range(PULLS))
def test_a_recorder_pulled_at_any_moment_goes_on_wherever_it_is_docked_again(
    trial: Trial, number: int
) -> None:
    trial.pull(number)


@pytest.mark.parametrize("number", range(POWER_CUTS))
def test_a_power_cut_at_any_moment_loses_nothing(trial: Trial, number: int) -> None:
    trial.cut_power(number)


def test_in_the_end_every_file_is_stored_exactly_once(trial: Trial) -> None:
    trial.settle().check_each_file_once(trial.docked)
