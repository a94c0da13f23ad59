"""Does the mount helper keep its contract on this machine's own kernel, with loop devices in the place of cards?

Everything is real but the way from a port to its device, which is a folder like ``/sys``. With USB, and for file
systems this kernel may lack, ``tests/guest`` asks the same. Needs root and loop devices.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

import pytest

from agent.mounting.bay import Machine
from agent.mounting.client import SocketMounter
from agent.mounting.service import MounterService, MountIds
from agent.mounting.settings import MounterSettings
from agent.usb.errors import MountBusyError, MountRefusedError
from agent.usb.ports import Mounted, VolumeSeen, volume_generation
from agent.volumes.errors import VolumeVanishedError
from agent.volumes.tree import TreeVolume
from tests.support.mounter_contract import BAY, OTHER_BAY, CardKind, MounterContract

_FILES: Final = {"DCIM/A.MP4": b"first" * 5_000, "DCIM/执法.MP4": b"second" * 5_000}
_CARD_BYTES: Final = 8 * 1024 * 1024
_BLOCK_BYTES: Final = 512


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def _attached(image: Path, *options: str) -> str:
    """A loop device over an image. Whoever had its number before may have protected it, and the number remembers."""
    device = _run("losetup", "--show", "-f", *options, str(image))
    if "-r" not in options:
        _run("blockdev", "--setrw", device)
    return device


class Contents:
    """What lies on a card of a kind; made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str | None, bool], bytes] = {(None, False): bytes(_CARD_BYTES)}

    def of(self, kind: CardKind) -> bytes:
        if (kind.fs_type, kind.dirty) not in self._made:
            image = self._formatted()
            self._made[kind.fs_type, False] = image.read_bytes()
            self._made[kind.fs_type, True] = self._pulled(image)
        return self._made[kind.fs_type, kind.dirty]

    def _formatted(self) -> Path:
        files, image = self._folder / "files", self._folder / "card.img"
        for name, data in _FILES.items():
            (files / name).parent.mkdir(parents=True, exist_ok=True)
            (files / name).write_bytes(data)
        with image.open("wb") as file:
            file.truncate(_CARD_BYTES)
        _run(
            "mkfs.ext4",
            "-q",
            "-F",
            "-d",
            str(files),
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
            str(image),
        )
        return image

    def _pulled(self, image: Path) -> bytes:
        """A copy taken while it was mounted and written to."""
        place = self._folder / "recording"
        place.mkdir()
        device = _attached(image)
        try:
            _run("mount", device, str(place))
            try:
                (place / "REC.TMP").write_bytes(bytes(10_000))
                os.sync()
                return image.read_bytes()
            finally:
                _run("umount", str(place))
        finally:
            _run("losetup", "-d", device)


class LoopLab:
    """A ``MounterLab`` over loop devices."""

    usual = other = "ext4"
    digests: ClassVar[Mapping[str, str]] = {
        name: hashlib.sha256(data).hexdigest() for name, data in _FILES.items()
    }

    def __init__(self, folder: Path, contents: Contents, socket: Path) -> None:
        self.mounter = SocketMounter(socket)
        self._folder = folder
        self._contents = contents
        self._cards: dict[str, list[tuple[Path, CardKind]]] = {}
        self._loops: dict[str, list[str]] = {}
        (folder / "sys/class/block").mkdir(parents=True)

    def plug(self, port_path: str, *cards: CardKind) -> list[VolumeSeen]:
        images = []
        for kind in cards:
            image = self._folder / f"{len(list(self._folder.iterdir()))}.img"
            image.write_bytes(self._contents.of(kind))
            images.append((image, kind))
        self._cards[port_path] = images
        return self.plug_again(port_path)

    def plug_again(self, port_path: str) -> list[VolumeSeen]:
        return [
            self._plugged(port_path, lun, image, kind)
            for lun, (image, kind) in enumerate(self._cards[port_path])
        ]

    def pull(self, port_path: str) -> None:
        """What is still mounted keeps its loop device until it is let go, as it keeps a pulled disk."""
        for name in self._loops.pop(port_path, []):
            (self._folder / "sys/class/block" / name).unlink()
            _run("losetup", "-d", f"/dev/{name}")

    def read(self, mounted: Mounted) -> Mapping[str, str]:
        try:
            tree = TreeVolume.at(mounted.directory, dock="usb", bay="bay-1", label=None)
            return {os.fsdecode(entry.raw_path): _digest(tree, entry.raw_path) for entry in list(tree.scan())}
        except VolumeVanishedError:
            return {}

    def erase_all(self, mounted: Mounted) -> None:
        tree = TreeVolume.at(mounted.directory, dock="usb", bay="bay-1", label=None)
        with tree.open_for_release() as opened:
            for entry in list(tree.scan()):
                with tree.open_file(entry.raw_path) as reader:
                    expected = reader.opened_as
                opened.erase(entry.raw_path, expected)

    def blocks_written(self, port_path: str) -> int:
        """Blocks that are not as they were made."""
        written = 0
        for image, kind in self._cards[port_path]:
            before, now = self._contents.of(kind), image.read_bytes()
            starts = range(0, _CARD_BYTES, _BLOCK_BYTES)
            written += sum(before[at : at + _BLOCK_BYTES] != now[at : at + _BLOCK_BYTES] for at in starts)
        return written

    def node(self, port_path: str) -> str:
        return f"/dev/{self._loops[port_path][0]}"

    def close(self) -> None:
        for port_path in list(self._loops):
            self.pull(port_path)

    def _plugged(self, port_path: str, lun: int, image: Path, kind: CardKind) -> VolumeSeen:
        options = ["-r"] if kind.write_protected else []
        name = _attached(image, *options).removeprefix("/dev/")
        self._loops.setdefault(port_path, []).append(name)
        real = Path("/sys/block") / name
        device, sequence = (real / "dev").read_text().strip(), int((real / "diskseq").read_text())
        unit = f"2:0:0:{lun}"
        shown = self._folder / f"sys/devices/usb1/{port_path}/{port_path}:1.0/host2/{unit}/block/{name}"
        shown.mkdir(parents=True, exist_ok=True)
        (shown / "dev").write_text(device)
        (shown / "diskseq").write_text(str(sequence))
        (self._folder / "sys/class/block" / name).symlink_to(shown)
        return VolumeSeen(
            port_path=port_path,
            generation=volume_generation(disk_sequence=sequence, device=device),
            device_node=f"/dev/{name}",
            lun=lun,
            partition=0,
            size_bytes=_CARD_BYTES,
            fs_type=kind.fs_type,
            label=None,
        )


def _digest(tree: TreeVolume, raw_path: bytes) -> str:
    buffer = bytearray(65_536)
    digest = hashlib.sha256()
    with tree.open_file(raw_path) as reader:
        while length := reader.readinto(buffer):
            digest.update(memoryview(buffer)[:length])
    return digest.hexdigest()


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    tools = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [tool for tool in ("losetup", "mkfs.ext4") if shutil.which(tool, path=tools) is None]
    if os.getuid() != 0 or missing or not Path("/dev/loop-control").exists():
        pytest.skip(f"needs root and loop devices{missing or ''}; the guest asks the same")
    return Contents(tmp_path_factory.mktemp("cards"))


@pytest.fixture
def lab(tmp_path: Path, contents: Contents) -> Iterator[LoopLab]:
    settings = MounterSettings(
        user_id=os.getuid(),
        group_id=os.getgid(),
        bays=frozenset({BAY, OTHER_BAY}),
        base=tmp_path / "bays",
        socket=tmp_path / "mounter.sock",
    )
    made = LoopLab(tmp_path, contents, settings.socket)
    service = MounterService(settings, Machine(sys=tmp_path / "sys", next_mount_id=MountIds()))
    service.open()
    listener = threading.Thread(target=service.serve)
    listener.start()
    try:
        yield made
    finally:
        service.close()
        listener.join(10)
        made.close()


class TestTheHelperOverLoopDevices(MounterContract):
    """On this machine's kernel."""


def test_a_disk_that_the_machine_uses_is_left_alone(lab: LoopLab, tmp_path: Path) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="ext4"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _run("mount", "-o", "ro", lab.node(BAY), str(elsewhere))
    try:
        for ask in (lab.mounter.mount_read_only, lab.mounter.remount_for_release):
            with pytest.raises(MountRefusedError):
                ask(volume)
    finally:
        _run("umount", str(elsewhere))
    assert not lab.mounter.mount_read_only(volume).writable


def test_a_device_that_somebody_has_claimed_is_left_alone(lab: LoopLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="ext4"))
    claim = os.open(lab.node(BAY), os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(MountBusyError):
            lab.mounter.mount_read_only(volume)
    finally:
        os.close(claim)
    assert not lab.mounter.mount_read_only(volume).writable


def test_a_file_that_is_still_open_keeps_its_mount(lab: LoopLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="ext4"))
    mounted = lab.mounter.mount_read_only(volume)
    with (Path(os.fsdecode(mounted.directory)) / "DCIM/A.MP4").open("rb"), pytest.raises(MountBusyError):
        lab.mounter.remount_for_release(volume)
    assert lab.mounter.mount_read_only(volume) == mounted
    assert lab.mounter.remount_for_release(volume).writable


def test_the_medium_stays_write_protected_against_everybody_after_a_release(lab: LoopLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="ext4"))
    lab.erase_all(lab.mounter.remount_for_release(volume))
    lab.mounter.unmount(BAY)
    with open(lab.node(BAY), "r+b", buffering=0) as device, pytest.raises(PermissionError):
        device.write(bytes(512))


def test_somebody_who_unmounts_a_card_behind_the_helpers_back_does_not_confuse_it(lab: LoopLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="ext4"))
    before = lab.mounter.mount_read_only(volume)
    _run("umount", os.fsdecode(before.directory))
    after = lab.mounter.mount_read_only(volume)
    assert after.mount_id > before.mount_id
    assert lab.read(after) == lab.digests
