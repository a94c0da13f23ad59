"""What every ``Mounter`` promises, as tests: run on the twin in memory and, in a guest with real USB, on the helper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

import pytest

from agent.usb.errors import DeviceGoneError, MountFailedError, MountRefusedError
from agent.usb.ports import Mounted, Mounter, VolumeSeen
from agent.volumes.errors import VolumeDirtyError, VolumeReadOnlyError

BAY: Final = "1-1"
OTHER_BAY: Final = "1-2"
NO_BAY: Final = "1-5"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardKind:
    """A card as a recorder leaves it, with the laboratory's files on it. ``fs_type`` None: never formatted."""

    fs_type: str | None
    partitioned: bool = False
    dirty: bool = False
    write_protected: bool = False


class MounterLab(Protocol):
    """A station with two bays and a port that is none. ``usual`` and ``other`` are file systems it can mount."""

    @property
    def usual(self) -> str: ...

    @property
    def other(self) -> str: ...

    @property
    def mounter(self) -> Mounter: ...

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 by path of the files on every card."""

    def plug(self, port_path: str, *cards: CardKind) -> list[VolumeSeen]:
        """A recorder with these cards, and what is seen of it; one volume each."""

    def plug_again(self, port_path: str) -> list[VolumeSeen]:
        """The recorder that was pulled last."""

    def pull(self, port_path: str) -> None: ...

    def read(self, mounted: Mounted) -> Mapping[str, str]:
        """SHA-256 by path of what the agent reads there; empty when there is nothing any more."""

    def erase_all(self, mounted: Mounted) -> None:
        """Every file, as the agent does it in a release."""

    def blocks_written(self, port_path: str) -> int:
        """What reached the recorder's cards since they were made, counted there."""


class MounterContract:
    """Subclass it and give the fixture ``lab``."""

    def test_what_is_mounted_is_read_and_not_changed(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        mounted = lab.mounter.mount_read_only(volume)
        assert (mounted.fs_type, mounted.writable) == (lab.usual, False)
        assert lab.read(mounted) == lab.digests
        lab.mounter.unmount(BAY)
        assert lab.read(mounted) == {}
        assert lab.blocks_written(BAY) == 0

    def test_mounted_twice_it_stays_the_mount_it_is(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        assert lab.mounter.mount_read_only(volume) == lab.mounter.mount_read_only(volume)

    def test_every_mount_has_a_number_of_its_own(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        first = lab.mounter.mount_read_only(volume)
        lab.mounter.unmount(BAY)
        second = lab.mounter.mount_read_only(volume)
        assert second.mount_id > first.mount_id

    def test_a_release_erases_and_the_mount_after_it_shows_what_is_left(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        lab.mounter.mount_read_only(volume)
        assert lab.blocks_written(BAY) == 0
        opened = lab.mounter.remount_for_release(volume)
        assert opened.writable
        lab.erase_all(opened)
        after = lab.mounter.mount_read_only(volume)
        assert not after.writable
        assert after.mount_id != opened.mount_id
        assert lab.read(after) == {}
        assert lab.blocks_written(BAY) > 0
        lab.pull(BAY)
        (volume,) = lab.plug_again(BAY)
        assert lab.read(lab.mounter.mount_read_only(volume)) == {}

    def test_a_card_that_was_not_left_in_order_is_not_opened_for_release(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual, dirty=True))
        mounted = lab.mounter.mount_read_only(volume)
        with pytest.raises(VolumeDirtyError):
            lab.mounter.remount_for_release(volume)
        assert lab.mounter.mount_read_only(volume) == mounted
        assert lab.blocks_written(BAY) == 0

    def test_a_write_protected_card_is_not_opened_for_release_and_goes_on_being_read(
        self, lab: MounterLab
    ) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual, write_protected=True))
        lab.mounter.mount_read_only(volume)
        with pytest.raises(VolumeReadOnlyError):
            lab.mounter.remount_for_release(volume)
        mounted = lab.mounter.mount_read_only(volume)
        assert not mounted.writable
        assert lab.read(mounted) == lab.digests

    def test_another_card_at_the_same_port_is_never_taken_for_the_one_that_was_read(
        self, lab: MounterLab
    ) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        lab.mounter.mount_read_only(volume)
        lab.pull(BAY)
        lab.plug(BAY, CardKind(fs_type=lab.usual))
        with pytest.raises(DeviceGoneError):
            lab.mounter.remount_for_release(volume)
        with pytest.raises(DeviceGoneError):
            lab.mounter.mount_read_only(volume)
        assert lab.blocks_written(BAY) == 0

    @pytest.mark.parametrize("for_release", [False, True])
    def test_pulled_while_mounted_the_port_works_again(self, lab: MounterLab, for_release: bool) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        mounted = lab.mounter.mount_read_only(volume)
        if for_release:
            mounted = lab.mounter.remount_for_release(volume)
        lab.pull(BAY)
        lab.mounter.unmount(BAY)
        assert lab.read(mounted) == {}
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        again = lab.mounter.mount_read_only(volume)
        assert again.directory != mounted.directory
        assert lab.read(again) == lab.digests

    def test_two_cards_of_a_recorder_are_mounted_apart(self, lab: MounterLab) -> None:
        volumes = lab.plug(BAY, CardKind(fs_type=lab.usual), CardKind(fs_type=lab.other))
        first, second = (lab.mounter.mount_read_only(volume) for volume in volumes)
        assert first.directory != second.directory
        lab.erase_all(lab.mounter.remount_for_release(volumes[0]))
        assert lab.mounter.mount_read_only(volumes[1]) == second
        assert lab.read(second) == lab.digests

    def test_two_bays_do_not_touch_each_other(self, lab: MounterLab) -> None:
        (here,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        (there,) = lab.plug(OTHER_BAY, CardKind(fs_type=lab.usual))
        lab.mounter.mount_read_only(here)
        mounted = lab.mounter.mount_read_only(there)
        lab.mounter.unmount(BAY)
        assert lab.read(mounted) == lab.digests

    def test_a_card_without_a_file_system_is_not_mounted(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=None))
        with pytest.raises(MountFailedError):
            lab.mounter.mount_read_only(volume)
        assert lab.blocks_written(BAY) == 0

    def test_a_port_that_is_no_bay_is_refused(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(NO_BAY, CardKind(fs_type=lab.usual))
        for ask in (lab.mounter.mount_read_only, lab.mounter.remount_for_release):
            with pytest.raises(MountRefusedError):
                ask(volume)
        with pytest.raises(MountRefusedError):
            lab.mounter.unmount(NO_BAY)
        assert lab.blocks_written(NO_BAY) == 0

    def test_what_never_was_there_is_gone(self, lab: MounterLab) -> None:
        (volume,) = lab.plug(BAY, CardKind(fs_type=lab.usual))
        with pytest.raises(DeviceGoneError):
            lab.mounter.mount_read_only(replace(volume, lun=7))
        with pytest.raises(DeviceGoneError):
            lab.mounter.mount_read_only(replace(volume, port_path=OTHER_BAY))

    def test_nothing_mounted_is_no_error(self, lab: MounterLab) -> None:
        lab.mounter.unmount(BAY)
