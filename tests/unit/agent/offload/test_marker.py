"""Is the file by which a recorder names itself read, however it is spelled and whatever becomes of it?"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from agent.offload.marker import read_marker
from agent.offload.stocktake import take_stock
from agent.ports import Obstacle
from agent.volumes.errors import VolumeVanishedError
from firmware_profiles.identity import DeviceSays, IdentityClaims
from firmware_profiles.load import load_registry
from firmware_profiles.names import MAX_MARKER_BYTES
from protocol.claims import Claim
from tests.support.memory_volume import MemoryVolume

SHANGHAI = ZoneInfo("Asia/Shanghai")
REGISTRY = load_registry()
DROP = next(profile for profile in REGISTRY.profiles if profile.id == "network_drop")
CLIP = b"20260131/ZFY0042_012345_20260131081530.mp4"


def recorder_of(volume: MemoryVolume) -> Claim | None:
    return read_marker(volume, DROP, [entry.raw_path for entry in volume.scan()]).recorder


@pytest.mark.parametrize("name", [b"zhilu-recorder.txt", b"ZHILU-Recorder.TXT"])
def test_it_is_read_in_any_letter_case(name: bytes) -> None:
    volume = MemoryVolume({CLIP: b"x", name: b"# hall 1\r\nrecorder = ZFY0042\r\n"})
    assert recorder_of(volume) == Claim("ZFY0042", "marker file")


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"\xff\xfe\x00", b"x" * (MAX_MARKER_BYTES + 10) + b"\nrecorder = A1\n"]
)
def test_what_does_not_say_it_claims_nothing(content: bytes) -> None:
    assert recorder_of(MemoryVolume({b"zhilu-recorder.txt": content})) is None


def test_a_marker_that_is_no_file_claims_nothing() -> None:
    volume = MemoryVolume({CLIP: b"x"}, obstacles={b"zhilu-recorder.txt": Obstacle.SYMBOLIC_LINK})
    assert recorder_of(volume) is None


def test_a_family_without_a_marker_reads_none() -> None:
    generic = next(profile for profile in REGISTRY.profiles if profile.id == "generic")
    assert (
        read_marker(MemoryVolume({b"zhilu-recorder.txt": b"recorder = A1"}), generic, []) == IdentityClaims()
    )


def test_a_volume_that_vanishes_meanwhile_is_said_so() -> None:
    volume = MemoryVolume({b"zhilu-recorder.txt": b"recorder = A1"})
    volume.vanish()
    with pytest.raises(VolumeVanishedError):
        read_marker(volume, DROP, [b"zhilu-recorder.txt"])


@pytest.mark.parametrize(
    ("marker", "says", "recorder", "conflicts"),
    [
        (b"recorder = ZFY0042", DeviceSays(), Claim("ZFY0042", "marker file"), 0),
        (b"recorder = ZFY0043", DeviceSays(), None, 1),
        (b"", DeviceSays(), Claim("ZFY0042", "name"), 0),
    ],
)
def test_the_inventory_asks_when_marker_and_names_disagree(
    marker: bytes, says: DeviceSays, recorder: Claim | None, conflicts: int
) -> None:
    volume = MemoryVolume({CLIP: b"x", b"zhilu-recorder.txt": marker})
    with take_stock(volume, REGISTRY, SHANGHAI, says=says) as stock:
        assert stock.found.profile is DROP
        assert stock.found.recorder == recorder
        assert len(stock.found.conflicts) == conflicts
