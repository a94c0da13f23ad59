"""The twin of the mount helper keeps the contract; the helper itself does in ``tests/guest/test_guest_mounting.py``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import pytest

from agent.usb.errors import MounterAwayError
from agent.usb.ports import Mounted, VolumeSeen
from tests.support.memory_mounter import MemoryCard, MemoryMounter
from tests.support.mounter_contract import BAY, NO_BAY, OTHER_BAY, CardKind, MounterContract

_FILES: Final = {"DCIM/A.MP4": b"first", "DCIM/B.MP4": b"second"}


class MemoryLab:
    """A ``MounterLab`` over folders."""

    usual = "vfat"
    other = "exfat"
    digests: ClassVar[Mapping[str, str]] = {
        name: hashlib.sha256(data).hexdigest() for name, data in _FILES.items()
    }

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mounter = MemoryMounter(folder / "mounts", BAY, OTHER_BAY)
        self._cards: dict[str, list[MemoryCard]] = {BAY: [], OTHER_BAY: [], NO_BAY: []}
        self._made = 0

    def plug(self, port_path: str, *cards: CardKind) -> list[VolumeSeen]:
        self._cards[port_path] = [self._card(kind) for kind in cards]
        return self.plug_again(port_path)

    def plug_again(self, port_path: str) -> list[VolumeSeen]:
        return self.mounter.plug(port_path, *self._cards[port_path])

    def pull(self, port_path: str) -> None:
        self.mounter.pull(port_path)

    def read(self, mounted: Mounted) -> Mapping[str, str]:
        root = Path(mounted.directory.decode())
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.is_file()
        }

    def erase_all(self, mounted: Mounted) -> None:
        assert mounted.writable
        for path in list(Path(mounted.directory.decode()).rglob("*.MP4")):
            path.unlink()

    def blocks_written(self, port_path: str) -> int:
        """Files lost: there is no other way to write to a folder's card."""
        cards = [card for card in self._cards[port_path] if card.fs_type]
        return sum(len(_FILES) - len(list(self.mounter.where(card).rglob("*.MP4"))) for card in cards)

    def _card(self, kind: CardKind) -> MemoryCard:
        self._made += 1
        folder = self._folder / f"card{self._made}"
        folder.mkdir()
        for name, data in _FILES.items() if kind.fs_type else ():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return MemoryCard(
            folder=folder,
            fs_type=kind.fs_type,
            partition=1 if kind.partitioned else 0,
            dirty=kind.dirty,
            write_protected=kind.write_protected,
        )


@pytest.fixture
def lab(tmp_path: Path) -> MemoryLab:
    return MemoryLab(tmp_path)


class TestTheTwin(MounterContract):
    """In memory."""


def test_a_helper_that_does_not_run_is_an_error_that_passes(lab: MemoryLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="vfat"))
    lab.mounter.away = True
    with pytest.raises(MounterAwayError) as refused:
        lab.mounter.mount_read_only(volume)
    assert refused.value.retryable
