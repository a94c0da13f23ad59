"""Does the mount helper keep its promises on a real kernel, with real USB storage and every file system?

Cards count at the device which blocks were written: what the mount table says proves nothing.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.guest import inside_mounting as inside
from tests.support.guest.boot import Guest
from tests.support.guest.card_images import format_card
from tests.support.guest.recorder import Card, Recorder

BAYS: Final = ["1-1", "1-2", "1-3", "1-4"]
NO_BAY: Final = 5
FILE_SYSTEMS: Final = ("vfat", "exfat", "ext4")
LAYOUTS: Final = tuple((fs_type, partitioned) for fs_type in FILE_SYSTEMS for partitioned in (False, True))


def _files() -> dict[str, bytes]:
    chance = random.Random(4)
    names = ("DCIM/100MEDIA/ZFY0001_031415_20260304173000.mp4", "DCIM/执法/视频一.MP4", "LOG.TXT")
    return {name: chance.randbytes(150_000) for name in names}


FILES: Final = _files()
DIGESTS: Final = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


@pytest.fixture(scope="module")
def helper(guest: Guest) -> Iterator[Guest]:
    guest.call(inside.start_helper, BAYS)
    yield guest
    print(guest.call(inside.helper_log))


@pytest.fixture(scope="module")
def filled_card(helper: Guest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """A card as a recorder leaves it: formatted, files on it, unmounted or pulled. Made once for each kind."""
    made: dict[tuple[str, bool, bool], bytes] = {}
    folder = tmp_path_factory.mktemp("made")

    def make(fs_type: str, partitioned: bool, dirty: bool) -> bytes:
        kind = (fs_type, partitioned, dirty)
        if kind not in made:
            made[kind] = _as_a_recorder_leaves_it(helper, folder / "card.img", *kind)
        return made[kind]

    return make


def _as_a_recorder_leaves_it(
    guest: Guest, image: Path, fs_type: str, partitioned: bool, dirty: bool
) -> bytes:
    format_card(image, fs_type, partitioned=partitioned)
    recorder = Recorder(Card(image))
    recorder.plug(guest, NO_BAY)
    try:
        (volume,) = guest.call(inside.volumes, f"1-{NO_BAY}")
        contents = {name: data.hex() for name, data in FILES.items()}
        guest.call(inside.write_as_a_recorder, volume["node"], fs_type, contents, dirty)
    finally:
        recorder.pull()
    if dirty:
        guest.call(inside.leave_the_card)
    guest.call(inside.gone, f"1-{NO_BAY}")
    return image.read_bytes()


class Bay:
    """A bay of the guest, with a recorder in it or not."""

    def __init__(self, guest: Guest, port: int, folder: Path) -> None:
        self.guest = guest
        self.port = port
        self.port_path = f"1-{port}"
        self.recorder = Recorder()
        self._folder = folder

    def plug(self, *contents: bytes, write_protected: bool = False) -> dict[str, Any]:
        """A recorder with these cards; its first volume."""
        cards = []
        for number, content in enumerate(contents):
            image = self._folder / f"{self.port}-{number}-{len(list(self._folder.iterdir()))}.img"
            image.write_bytes(content)
            cards.append(Card(image, write_protected=write_protected))
        self.recorder = Recorder(*cards)
        return self.plug_again()

    def plug_again(self) -> dict[str, Any]:
        self.recorder.plug(self.guest, self.port)
        volume: dict[str, Any] = self.guest.call(inside.volumes, self.port_path, len(self.recorder.cards))[0]
        return volume

    def pull(self) -> None:
        self.recorder.pull()
        self.guest.call(inside.gone, self.port_path)

    def mount(self, volume: dict[str, Any]) -> Any:
        return self.guest.call(inside.mount, self.port_path, volume)

    def remount(self, volume: dict[str, Any]) -> Any:
        return self.guest.call(inside.remount, self.port_path, volume)

    def unmount(self) -> Any:
        return self.guest.call(inside.unmount, self.port_path)


@pytest.fixture
def bay(helper: Guest, tmp_path: Path) -> Iterator[Bay]:
    made = Bay(helper, 1, tmp_path)
    yield made
    made.pull()
    made.unmount()


@pytest.mark.parametrize(("fs_type", "partitioned"), LAYOUTS)
@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "pulled-while-mounted"])
def test_nothing_is_written_to_a_card_that_is_read(
    filled_card: Callable[..., bytes], bay: Bay, fs_type: str, partitioned: bool, dirty: bool
) -> None:
    volume = bay.plug(filled_card(fs_type, partitioned, dirty))
    mounted = bay.mount(volume)
    assert (mounted["fs_type"], mounted["writable"]) == (fs_type, False)
    read = bay.guest.call(inside.read_all, mounted["directory"])
    assert bay.guest.call(inside.try_to_write, mounted["directory"], volume["node"]) == {
        "file": "Read-only file system",
        "device": "Operation not permitted",
    }
    assert bay.unmount() == {}
    assert bay.recorder.blocks_written == 0
    if not dirty or fs_type != "ext4":  # without its journal the last files of a pulled ext4 may be missing
        assert read == DIGESTS
