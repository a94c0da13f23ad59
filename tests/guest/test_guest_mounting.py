"""Does the mount helper keep its promises on a real kernel, with real USB storage and every file system?

Cards count at the device which blocks were written: what the mount table says proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from agent.mounting.wire import CROSSING
from agent.usb.errors import MountBusyError, MountRefusedError
from agent.usb.ports import Mounted, VolumeSeen
from agent.volumes.errors import VolumeDirtyError
from tests.support.guest import inside_mounting as inside
from tests.support.guest.boot import Guest
from tests.support.guest.card_images import CARD_BYTES, format_card, partitioned
from tests.support.guest.recorder import Card, Keyboard, Recorder
from tests.support.mounter_contract import BAY, NO_BAY, OTHER_BAY, CardKind, MounterContract

ROOT_ID: Final = 0
FILE_SYSTEMS: Final = ("vfat", "exfat", "ext4")


def _files() -> dict[str, bytes]:
    chance = random.Random(4)
    names = ("DCIM/100MEDIA/ZFY0001_031415_20260304173000.mp4", "DCIM/执法/视频一.MP4", "LOG.TXT")
    return {name: chance.randbytes(150_000) for name in names}


FILES: Final = _files()


class GuestMounter:
    """A ``Mounter``: the agent's own client, as the agent's user in the guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def mount_read_only(self, volume: VolumeSeen) -> Mounted:
        return _mounted(self._guest.call(inside.mount, volume.port_path, _shown(volume)))

    def remount_for_release(self, volume: VolumeSeen) -> Mounted:
        return _mounted(self._guest.call(inside.remount, volume.port_path, _shown(volume)))

    def unmount(self, port_path: str) -> None:
        _checked(self._guest.call(inside.unmount, port_path))


class GuestLab:
    """A ``MounterLab`` with real recorders at the guest's ports."""

    usual = "vfat"
    other = "exfat"
    digests: ClassVar[Mapping[str, str]] = {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }

    def __init__(self, guest: Guest, folder: Path, contents: Callable[[CardKind], bytes]) -> None:
        self.guest = guest
        self.mounter = GuestMounter(guest)
        self.recorders: dict[str, Recorder] = {}
        self._folder = folder
        self._contents = contents
        self._made = 0

    def plug(self, port_path: str, *cards: CardKind) -> list[VolumeSeen]:
        self.recorders[port_path] = Recorder(*(self._card(kind) for kind in cards))
        return self.plug_again(port_path)

    def plug_again(self, port_path: str) -> list[VolumeSeen]:
        recorder = self.recorders[port_path]
        recorder.plug(self.guest, int(port_path.removeprefix("1-")))
        found = self.guest.call(inside.volumes, port_path, len(recorder.cards))
        return [_volume(port_path, volume) for volume in found]

    def pull(self, port_path: str) -> None:
        self.recorders[port_path].pull()
        self.guest.call(inside.gone, port_path)

    def read(self, mounted: Mounted) -> Mapping[str, str]:
        read: dict[str, str] = self.guest.call(inside.read_all, mounted.directory.decode())
        return {} if read.get("code") == "volume-vanished" else read

    def erase_all(self, mounted: Mounted) -> None:
        erased = _checked(self.guest.call(inside.erase_all, mounted.directory.decode()))
        assert erased == {"erased": sorted(FILES)}

    def blocks_written(self, port_path: str) -> int:
        return self.recorders[port_path].blocks_written

    def close(self) -> None:
        for port_path in self.recorders:
            self.pull(port_path)
        for port_path in (BAY, OTHER_BAY):
            self.mounter.unmount(port_path)

    def _card(self, kind: CardKind) -> Card:
        self._made += 1
        image = self._folder / f"card{self._made}.img"
        image.write_bytes(self._contents(kind))
        return Card(image, write_protected=kind.write_protected)


@pytest.fixture(scope="module")
def helper(guest: Guest) -> Iterator[Guest]:
    guest.call(inside.start_helper, [BAY, OTHER_BAY])
    yield guest
    print(guest.call(inside.helper_log))


@pytest.fixture(scope="module")
def contents(helper: Guest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[CardKind], bytes]:
    """What lies on a card of a kind; made once for each file system."""
    made: dict[tuple[str, bool], bytes] = {}
    folder = tmp_path_factory.mktemp("cards")

    def content(kind: CardKind) -> bytes:
        if kind.fs_type is None:
            return bytes(CARD_BYTES)
        if (kind.fs_type, kind.dirty) not in made:
            clean, dirty = _as_a_recorder_leaves_them(helper, folder / "card.img", kind.fs_type)
            made[kind.fs_type, False], made[kind.fs_type, True] = clean, dirty
        found = made[kind.fs_type, kind.dirty]
        return partitioned(found, kind.fs_type) if kind.partitioned else found

    return content


def _as_a_recorder_leaves_them(guest: Guest, image: Path, fs_type: str) -> tuple[bytes, bytes]:
    """A card with the files on it, unmounted; and the same one pulled while the recorder went on writing."""
    port_path, port = NO_BAY, int(NO_BAY.removeprefix("1-"))
    format_card(image, fs_type)
    recorder = Recorder(Card(image))
    recorder.plug(guest, port)
    try:
        (volume,) = guest.call(inside.volumes, port_path)
        written = {name: data.hex() for name, data in FILES.items()}
        guest.call(inside.write_as_a_recorder, volume["node"], fs_type, written)
        clean = image.read_bytes()
        guest.call(inside.begin_to_record, volume["node"], fs_type)
    finally:
        recorder.pull()
    guest.call(inside.leave_the_card)
    guest.call(inside.gone, port_path)
    return clean, image.read_bytes()


@pytest.fixture
def lab(helper: Guest, tmp_path: Path, contents: Callable[[CardKind], bytes]) -> Iterator[GuestLab]:
    made = GuestLab(helper, tmp_path, contents)
    yield made
    made.close()


class TestTheHelper(MounterContract):
    """With privileges, on a real kernel."""


@pytest.mark.parametrize("fs_type", FILE_SYSTEMS)
@pytest.mark.parametrize("on_partition", [False, True], ids=["bare", "partition"])
@pytest.mark.parametrize("dirty", [False, True], ids=["clean", "pulled-while-written"])
def test_nothing_is_written_to_a_card_that_is_read(
    lab: GuestLab, fs_type: str, on_partition: bool, dirty: bool
) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type=fs_type, partitioned=on_partition, dirty=dirty))
    mounted = lab.mounter.mount_read_only(volume)
    assert (mounted.fs_type, mounted.writable, volume.partition) == (fs_type, False, int(on_partition))
    read = dict(lab.read(mounted))
    assert lab.guest.call(inside.try_to_write, mounted.directory.decode(), volume.device_node) == {
        "file": "Read-only file system",
        "device": "Operation not permitted",
    }
    if dirty:
        with pytest.raises(VolumeDirtyError):
            lab.mounter.remount_for_release(volume)
        # the last ones are on the card, or not: the recorder was pulled while it wrote
        read = {name: digest for name, digest in read.items() if not name.startswith("REC")}
    lab.mounter.unmount(BAY)
    assert lab.blocks_written(BAY) == 0
    assert read == lab.digests


@pytest.mark.parametrize("fs_type", FILE_SYSTEMS)
def test_a_release_erases_on_a_partition_and_nowhere_else(lab: GuestLab, fs_type: str) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type=fs_type, partitioned=True))
    lab.mounter.mount_read_only(volume)
    assert lab.blocks_written(BAY) == 0
    lab.erase_all(lab.mounter.remount_for_release(volume))
    after = lab.mounter.mount_read_only(volume)
    written = lab.blocks_written(BAY)
    assert lab.read(after) == {}
    assert (
        lab.guest.call(inside.try_to_write, after.directory.decode(), volume.device_node)["device"]
        != "written"
    )
    lab.mounter.unmount(BAY)
    assert lab.blocks_written(BAY) == written > 0
    # left in order: it may be opened for release once more
    assert lab.mounter.remount_for_release(volume).writable


def test_a_disk_that_the_machine_uses_is_left_alone(lab: GuestLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="vfat", partitioned=True))
    lab.guest.call(inside.mount_elsewhere, volume.device_node, "vfat")
    try:
        for ask in (lab.mounter.mount_read_only, lab.mounter.remount_for_release):
            with pytest.raises(MountRefusedError):
                ask(volume)
    finally:
        lab.guest.call(inside.unmount_elsewhere)
    assert not lab.mounter.mount_read_only(volume).writable


@pytest.mark.parametrize("user_id", [ROOT_ID, inside.OTHER_ID])
def test_nobody_but_the_agent_is_answered(lab: GuestLab, user_id: int) -> None:
    answer = lab.guest.call(inside.unmount, BAY, user_id)
    assert answer["code"] == ("mount-refused" if user_id == ROOT_ID else "mounter-away")


def test_whatever_is_said_to_it_the_helper_refuses_and_goes_on(lab: GuestLab) -> None:
    for said in (
        b"",
        b"\xff\xfe" * 40 + b"\n",
        b"x" * 100_000,
        b'{"version":2,"request":"unmount","port_path":"1-1"}\n',
        b'{"version":1,"request":"unmount","port_path":"../../etc"}\n',
        b'{"version":1,"request":"unmount","port_path":"1-1","options":"suid"}\n',
    ):
        answer = lab.guest.call(inside.say, said.hex())["answer"]
        assert not answer or json.loads(answer)["error"]["code"] == "mount-refused"
    lab.mounter.unmount(BAY)


def test_a_bay_whose_device_hangs_holds_up_no_other(lab: GuestLab) -> None:
    (slow,) = lab.plug(BAY, CardKind(fs_type="vfat"))
    (swift,) = lab.plug(OTHER_BAY, CardKind(fs_type="vfat"))
    go_on = threading.Event()
    (card,) = lab.recorders[BAY].cards
    card.on_read = lambda first, count: (None, go_on.wait(200))[0]
    lab.guest.call(inside.begin_to_mount, BAY, _shown(slow))
    try:
        mounted = lab.mounter.mount_read_only(swift)
        assert lab.read(mounted) == lab.digests
        assert not go_on.is_set()
    finally:
        go_on.set()
    assert not _mounted(lab.guest.call(inside.finish_mounting)).writable


def test_a_file_that_is_still_open_keeps_its_mount(lab: GuestLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="vfat"))
    mounted = lab.mounter.mount_read_only(volume)
    lab.guest.call(inside.hold_open, f"{mounted.directory.decode()}/LOG.TXT")
    try:
        with pytest.raises(MountBusyError):
            lab.mounter.remount_for_release(volume)
        assert lab.read(mounted) == lab.digests
    finally:
        lab.guest.call(inside.let_go)
    assert lab.mounter.remount_for_release(volume).writable


def test_a_helper_that_was_killed_is_started_again_and_mounts_anew(lab: GuestLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="vfat"))
    before = lab.mounter.mount_read_only(volume)
    lab.guest.call(inside.restart_helper, [BAY, OTHER_BAY])
    assert lab.guest.call(inside.mounts_below, "/run/zhilu/bays/") == []
    after = lab.mounter.mount_read_only(volume)
    assert after.mount_id > before.mount_id
    assert lab.read(after) == lab.digests
    assert lab.blocks_written(BAY) == 0


def test_the_helper_keeps_one_privilege_and_its_mounts_are_closed_to_others(lab: GuestLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="ext4"))
    mounted = lab.mounter.mount_read_only(volume)
    status = lab.guest.call(inside.helper_status)
    sys_admin = f"{1 << 21:016x}"
    assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == (sys_admin, sys_admin, "1")
    seen = lab.guest.call(inside.look_at, mounted.directory.decode())
    assert {"ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"} <= set(seen["options"])
    assert seen["above"] == [["0o750", 0, inside.AGENT_ID]] * 2


def test_udev_keeps_automounters_off_and_devices_closed(lab: GuestLab) -> None:
    (volume,) = lab.plug(BAY, CardKind(fs_type="vfat", partitioned=True))
    noted = lab.guest.call(inside.udev_says, volume.device_node)
    assert (noted["UDISKS_IGNORE"], noted["ZHILU_BAY"]) == ("1", BAY)
    assert lab.guest.call(inside.node_of, volume.device_node) == {"mode": "0o600", "uid": 0, "gid": 0}
    assert lab.guest.call(inside.usb_node_of, BAY) == {"mode": "0o660", "uid": 0, "gid": inside.AGENT_ID}


def test_a_keyboard_at_a_bay_is_not_let_in(lab: GuestLab) -> None:
    keyboard = Keyboard()
    keyboard.plug(lab.guest, int(BAY.removeprefix("1-")))
    try:
        assert not lab.guest.call(inside.is_authorised, BAY)
    finally:
        keyboard.pull()


def _shown(volume: VolumeSeen) -> dict[str, Any]:
    return {
        "generation": volume.generation,
        "lun": volume.lun,
        "partition": volume.partition,
        "node": volume.device_node,
    }


def _volume(port_path: str, shown: Mapping[str, Any]) -> VolumeSeen:
    """``device_node`` is the bare name here."""
    return VolumeSeen(
        port_path=port_path,
        generation=shown["generation"],
        device_node=shown["node"],
        lun=shown["lun"],
        partition=shown["partition"],
        size_bytes=CARD_BYTES,
        fs_type=None,
        label=None,
    )


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "code" in answer:
        raise CROSSING[answer["code"]](answer["message"])
    assert "failed" not in answer, answer
    return answer


def _mounted(answer: dict[str, Any]) -> Mounted:
    fields = _checked(answer)
    return Mounted(**{**fields, "directory": fields["directory"].encode()})
