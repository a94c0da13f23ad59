"""Whatever is wrong with a recorder or its card, does the bay say so in the right words, and is nothing lost?

The kernel's own drivers and file systems meet the trouble; the recorders are made to have it.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.audit import Auditor
from tests.support.guest.boot import Guest
from tests.support.guest.card_images import MIB
from tests.support.guest.recorder import BLOCK_BYTES, AmbarellaRecorder, Card, Keyboard, Recorder
from tests.support.guest.station import GuestStation
from tests.support.processes import needs_site

pytestmark = needs_site

_CHANCE: Final = random.Random(7)


def _files(recorder: str, sizes: tuple[int, ...] = (100_000, 150_000)) -> Mapping[str, bytes]:
    return {
        f"DCIM/100MEDIA/{recorder}_031415_2026030417300{number}.mp4": _CHANCE.randbytes(size)
        for number, size in enumerate(sizes)
    }


@pytest.fixture(scope="module")
def station(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestStation]:
    with GuestStation.running(guest, tmp_path_factory.mktemp("site")) as running:
        yield running


def _stored(station: GuestStation) -> Counter[str]:
    """By digest, how many manifests say that these bytes were read."""
    config = station.collector.config
    return Counter(
        manifest.digest.hex for _, manifest in Auditor(config.log_dir, config.objects_dir).manifests
    )


def _digests(files: Mapping[str, bytes]) -> Counter[str]:
    return Counter(hashlib.sha256(data).hexdigest() for data in files.values())


def test_bad_sectors_keep_the_whole_recorder_and_everything_else_is_stored(
    station: GuestStation, tmp_path: Path
) -> None:
    files = _files("ZFY0101")
    card = station.card_with(tmp_path / "card.img", "vfat", files)
    (bad, good) = files.values()
    first = (tmp_path / "card.img").read_bytes().find(bad[:BLOCK_BYTES]) // BLOCK_BYTES
    card.bad_blocks.update(range(first + 60, first + 64))
    with station.docked(Recorder(card), "A01"):
        tile = station.wait_for("A01", {"unreadable"})
        assert (tile["problem_code"], tile["files_unreadable"]) == ("files-unreadable", 1)
        assert "切勿格式化" in tile["advice_zh"]
        station.wait_until_idle()
    station.wait_for("A01", {"empty"})
    assert card.blocks_written == 0
    assert _digests({"good": good}) <= _stored(station)


@pytest.mark.thorough
def test_a_full_card_is_cleared_like_any_other(station: GuestStation, tmp_path: Path) -> None:
    files = _files("ZFY0102")
    card = station.card_with(tmp_path / "card.img", "exfat", files, size_bytes=4 * MIB)
    last = station.fill(card, "exfat", "ZFY0102_031415_20260304180000.mp4")
    with station.docked(Recorder(card), "A01"):
        assert station.wait_for("A01", {"released"})["files_released"] == len(files) + 1
    station.wait_for("A01", {"empty"})
    assert _digests(files) + Counter([last]) <= _stored(station)


def test_a_card_that_refuses_to_be_written_is_kept_and_everything_is_stored(
    station: GuestStation, tmp_path: Path
) -> None:
    files = _files("ZFY0103")
    card = station.card_with(tmp_path / "card.img", "vfat", files)
    card.worn_out = True
    with station.docked(Recorder(card), "A01"):
        tile = station.wait_for("A01", {"not-released"})
        assert tile["files_receipted"] == len(files)
        assert tile["needs_person"]
        assert tile["advice_zh"]
    station.wait_for("A01", {"empty"})
    assert card.blocks_written == 0
    assert _digests(files) <= _stored(station)


def test_a_card_put_in_while_another_is_cleared_is_never_taken_for_it(
    station: GuestStation, tmp_path: Path
) -> None:
    first_files, second_files = _files("ZFY0104"), _files("ZFY0105")
    first = station.card_with(tmp_path / "first.img", "vfat", first_files)
    second = station.card_with(tmp_path / "second.img", "vfat", second_files)
    recorder, other = Recorder(first), Recorder(second)
    stored_before_writing: list[Counter[str]] = []

    def swap() -> None:
        recorder.pull()
        station.plug(other, "A01")

    def begin_to_swap(number: int, count: int) -> None:
        first.on_write = lambda number, count: None
        swapping.start()

    def look(number: int, count: int) -> None:
        if not stored_before_writing:
            stored_before_writing.append(_stored(station))

    swapping = threading.Thread(target=swap)
    first.on_write, second.on_write = begin_to_swap, look
    try:
        with station.docked(recorder, "A01"):
            station.wait_for("A01", {"released"})
            swapping.join()
            assert station.wait_for("A01", {"released"})["recorder"] == "ZFY0105"
    finally:
        other.pull()
    station.wait_for("A01", {"empty"})
    assert _digests(second_files) <= stored_before_writing[0]
    assert _digests(first_files) + _digests(second_files) <= _stored(station)


@pytest.mark.thorough
def test_two_recorders_with_the_same_serial_number_are_two(station: GuestStation, tmp_path: Path) -> None:
    names = {"A01": "ZFY0106", "A02": "ZFY0107"}
    files = {bay: _files(name) for bay, name in names.items()}
    cards = {bay: station.card_with(tmp_path / bay, "exfat", files[bay]) for bay in names}
    with ExitStack() as stays:
        for bay, card in cards.items():
            stays.enter_context(station.docked(Recorder(card, serial="0123456789"), bay))
        for bay, name in names.items():
            assert station.wait_for(bay, {"released"})["recorder"] == name
    for bay in names:
        station.wait_for(bay, {"empty"})
        assert _digests(files[bay]) <= _stored(station)


@pytest.mark.thorough
def test_a_recorder_that_answers_wrongly_is_told_nothing_else(station: GuestStation, tmp_path: Path) -> None:
    recorder = AmbarellaRecorder(_blank(tmp_path), ident="ZFY0108")
    recorder.face.version = b"@Ver;ERROR;#"
    with station.docked(recorder, "A02"):
        tile = station.wait_for("A02", {"refused"})
        assert tile["problem_code"] == "not-this-family"
        assert recorder.face.heard == ["Ver"]
    station.wait_for("A02", {"empty"})


@pytest.mark.thorough
def test_a_recorder_that_does_not_come_back_is_for_a_person(station: GuestStation, tmp_path: Path) -> None:
    recorder = AmbarellaRecorder(_blank(tmp_path), ident="ZFY0109", lost=True)
    with station.docked(recorder, "A02"):
        tile = station.wait_for("A02", {"refused", "lost-contact"})
        assert (tile["problem_code"], tile["needs_person"]) == ("switch-failed", True)


def test_a_keyboard_at_a_bay_is_refused(station: GuestStation) -> None:
    with station.docked(Keyboard(), "A01"):
        assert station.wait_for("A01", {"refused"})["problem_code"] == "device-not-allowed"
    station.wait_for("A01", {"empty"})


def test_in_the_end_the_audit_finds_nothing_unexplained(station: GuestStation) -> None:
    station.wait_until_idle()
    sections = station.audit()["sections"]
    codes = {problem["code"] for section in sections for problem in section["problems"]}
    assert codes <= {"release-unconfirmed"}, "the card that was swapped is in somebody's hands"


def _blank(folder: Path) -> Card:
    image = folder / "blank.img"
    image.write_bytes(bytes(MIB))
    return Card(image)
