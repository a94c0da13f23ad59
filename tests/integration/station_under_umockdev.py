"""Many recorders at once at one station: is each served, whatever is wrong with the others, and in flat memory?

The agent is a process of its own on a machine whose USB umockdev makes up; cards lie behind a file system that fails
on demand. Not collected by itself: ``test_usb_real.py`` runs it under umockdev-wrapper. With ``-s`` it prints what it
took; the number of recorders and the size of a clip are set by two variables.
"""

from __future__ import annotations

import errno
import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.audit import Auditor
from tests.support.fault_fs import Fault, fault_fs_elsewhere
from tests.support.folder_mounter import FolderMounter
from tests.support.processes import AGENCY, STATION, CollectorHost, StationHost, call, wait_until
from tests.support.usb_recorders import HID_CLASS, Disk, Face, Recorder
from tests.support.usb_worlds import MockWorld, make_world

RECORDERS: Final = int(os.environ.get("ZHILU_RECORDERS", "32"))
CLIP_BYTES: Final = int(os.environ.get("ZHILU_CLIP_BYTES", "400000"))
PORTS_OF_A_HUB: Final = 4
CLIPS: Final = 3
BAD: Final = 1
"""The recorder of which only the marked clip can be read."""
_PATIENCE_S: Final = 900.0
_SETTINGS: Final = """
mounter = "mounter.sock"
reserve_mib = 16

[release]
enabled = true
"""


def _port(number: int) -> str:
    return f"1-{number // PORTS_OF_A_HUB + 1}.{number % PORTS_OF_A_HUB + 1}"


def _bay(number: int) -> str:
    return f"B{number + 1:02}"


class Rack:
    """One station with many bays, its collector, and what is plugged in."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        world = make_world()
        assert isinstance(world, MockWorld)
        self.world = world
        stack.callback(world.clear)
        self.station = StationHost(folder / "station")
        self.mounter = FolderMounter(folder / "station" / "mounter.sock")
        stack.enter_context(self.mounter.at_work())
        self._backing, self._cards = folder / "backing", folder / "cards"
        self._backing.mkdir()
        bad = Fault("read", f"{_bay(BAD)}/DCIM", errno.EIO, times=1 << 30)
        stack.enter_context(fault_fs_elsewhere(self._backing, self._cards, bad))
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.delenv("LD_PRELOAD")  # the collector is another machine
            self.collector = CollectorHost(folder / "collector")
            self.collector.start()
        stack.callback(self._end)
        bays = "".join(f'{_bay(number)} = "{_port(number)}"\n' for number in range(RECORDERS))
        (self.station.folder / "agent.toml").write_text(_SETTINGS)
        (self.station.folder / "bays.toml").write_text(f"[bays]\n{bays}")
        self.station.enrol(self.collector.enrolment_code(STATION, AGENCY))

    def _end(self) -> None:
        for child in (self.station.child, self.collector.child):
            child.make_sure_it_ended()
            print(f"--- {child.log.name}\n{child.last_words()}")

    def fill(self, number: int, chance: random.Random) -> int:
        """A card with a marked clip among others; the bytes on it."""
        name = f"ZFY{number:04}_{number:06}_202603041730"
        folder = self._backing / _bay(number)
        for place in range(CLIPS):
            path = folder / ("IMP" if place == 0 else "DCIM") / f"{name}{place:02}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(CLIP_BYTES))
        return CLIPS * CLIP_BYTES

    def plug(self, number: int, recorder: Recorder) -> None:
        port = _port(number)
        self.mounter.cards[port] = self._cards / _bay(number)
        self.world.plug(recorder, port)
        if isinstance(recorder, Disk):
            self.world.show_medium(port, lun=0, fs_type="vfat")

    def tiles(self) -> Mapping[str, Mapping[str, Any]]:
        self.station.child.check()
        self.collector.child.check()
        return {tile["bay"]: tile for tile in self.station.status().get("bays", [])}

    def left_on(self, number: int) -> set[str]:
        return {path.name for path in (self._backing / _bay(number)).rglob("*.mp4")}

    def peak_bytes(self) -> int:
        """The most memory that the agent ever had."""
        lines = Path(f"/proc/{self.station.child.pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    with ExitStack() as stack:
        yield Rack(tmp_path, stack)


def test_many_recorders_at_once_are_all_served_and_troubles_stay_where_they_are(rack: Rack) -> None:
    chance = random.Random(32)
    size_bytes = sum(rack.fill(number, chance) for number in range(RECORDERS - 1))
    keyboard = Recorder(faces=(Face(class_code=HID_CLASS, subclass_code=1, protocol_code=1),))
    token = rack.collector.token("measure", "clips:read")
    for number in range(RECORDERS - 1):
        rack.plug(number, Disk(serial="the same"))
    rack.plug(RECORDERS - 1, keyboard)
    began_s = time.monotonic()
    rack.station.start()  # they are all there: umockdev cannot tell of so many while nobody listens yet
    recorders = {_bay(number) for number in range(RECORDERS - 1)}

    def listed() -> bool:
        tiles = rack.tiles()
        return all(tiles.get(bay, {}).get("files") == CLIPS for bay in recorders)

    def marked_clip() -> bool:
        clips = rack.collector.get("/api/v1/clips?limit=200", token).json()["clips"]
        return any(clip["marked"] and clip["stored_index"] is not None for clip in clips)

    def all_ended() -> bool:
        tiles = rack.tiles()
        return all(tiles[bay]["state"] in {"released", "unreadable"} for bay in recorders)

    took_s = {}
    for what, question in (("marked clip", marked_clip), ("inventories", listed), ("all", all_ended)):
        wait_until(question, what, deadline_s=_PATIENCE_S)
        took_s[what] = round(time.monotonic() - began_s, 1)
    states = {bay: (tile["state"], tile["problem_code"]) for bay, tile in rack.tiles().items()}
    assert states.pop(_bay(RECORDERS - 1)) == ("refused", "device-not-allowed")
    assert states.pop(_bay(BAD)) == ("unreadable", "files-unreadable")
    assert set(states.values()) == {("released", None)}
    assert {number for number in range(RECORDERS - 1) if rack.left_on(number)} == {BAD}
    wait_until(lambda: rack.station.status().get("idle"), "nothing owed", deadline_s=_PATIENCE_S)
    audited = Auditor(rack.collector.config.log_dir, rack.collector.config.objects_dir)
    assert len(audited.manifests) == CLIPS * (RECORDERS - 1) - 2
    print(
        json.dumps(
            {
                "recorders": RECORDERS,
                "megabytes": round(size_bytes / 1e6, 1),
                "seconds": took_s,
                "megabytes a second": round(size_bytes / 1e6 / took_s["all"], 1),
                "peak MiB of the agent": round(rack.peak_bytes() / 2**20),
            }
        )
    )
    assert call("zhilu-collector", "audit", "--data", str(rack.collector.folder))["clean"] is True
