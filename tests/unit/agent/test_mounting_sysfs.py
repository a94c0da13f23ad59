"""Is the right block device found behind a port, and only that one, whatever the kernel's tree looks like?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from agent.mounting.sysfs import PORT_PATH, blocks_below, find_block, is_held
from agent.usb.errors import DeviceGoneError

_CONTROLLER: Final = "devices/pci0000:00/0000:00:03.0/usb1"


class SysTree:
    """As much of ``/sys`` as is looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "class/block").mkdir(parents=True)

    def disk(self, name: str, device: str, *, at: str, unit: str = "2:0:0:0", sequence: int = 7) -> Path:
        """``at``: the USB devices from the root hub to the disk's, such as ``1-2/1-2.4``."""
        interface = f"{at}/{at.rpartition('/')[2]}:1.0"
        host, target = unit.split(":")[0], unit.rpartition(":")[0]
        folder = self.root / _CONTROLLER / interface / f"host{host}/target{target}/{unit}/block/{name}"
        self._make(folder, device)
        (folder / "diskseq").write_text(f"{sequence}\n")
        return folder

    def partition(self, disk: Path, name: str, device: str, number: int) -> None:
        self._make(disk / name, device)
        (disk / name / "partition").write_text(f"{number}\n")

    def inner_disk(self, name: str, device: str) -> Path:
        folder = self.root / f"devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/{name}"
        self._make(folder, device)
        (folder / "diskseq").write_text("1\n")
        return folder

    def _make(self, folder: Path, device: str) -> None:
        folder.mkdir(parents=True)
        (folder / "dev").write_text(f"{device}\n")
        (folder / "holders").mkdir()
        (self.root / "class/block" / folder.name).symlink_to(folder)


@pytest.fixture
def tree(tmp_path: Path) -> SysTree:
    return SysTree(tmp_path)


def test_a_bare_medium_is_partition_zero(tree: SysTree) -> None:
    tree.disk("sda", "8:0", at="1-2", sequence=12)
    found = find_block(tree.root, port_path="1-2", lun=0, partition=0)
    assert (found.name, found.disk, found.generation) == ("sda", "sda", "12/8:0")


def test_a_partition_knows_its_disk_and_has_its_sequence(tree: SysTree) -> None:
    tree.partition(tree.disk("sdb", "8:16", at="1-2", sequence=9), "sdb1", "8:17", 1)
    found = find_block(tree.root, port_path="1-2", lun=0, partition=1)
    assert (found.name, found.disk, found.disk_device, found.generation) == ("sdb1", "sdb", "8:16", "9/8:17")


def test_logical_units_are_told_apart(tree: SysTree) -> None:
    tree.disk("sda", "8:0", at="1-2")
    tree.disk("sdb", "8:16", at="1-2", unit="2:0:0:1")
    assert find_block(tree.root, port_path="1-2", lun=1, partition=0).name == "sdb"


def test_what_hangs_at_a_hub_is_not_at_the_hubs_own_port(tree: SysTree) -> None:
    tree.disk("sda", "8:0", at="1-2/1-2.4")
    assert blocks_below(tree.root, "1-2") == []
    assert [block.name for block in blocks_below(tree.root, "1-2.4")] == ["sda"]


@pytest.mark.parametrize("port_path", ["1-1", "1-22", "1-2.4", "2-2"])
def test_nothing_is_found_at_any_other_port(tree: SysTree, port_path: str) -> None:
    tree.disk("sda", "8:0", at="1-2")
    with pytest.raises(DeviceGoneError):
        find_block(tree.root, port_path=port_path, lun=0, partition=0)


def test_the_machines_own_disk_is_behind_no_port(tree: SysTree) -> None:
    tree.inner_disk("sda", "8:0")
    tree.disk("sdb", "8:16", at="1-2")
    assert [block.name for block in blocks_below(tree.root, "1-2")] == ["sdb"]


@pytest.mark.parametrize("content", ["", "eight", "-", "9" * 5000])
def test_a_device_that_goes_away_meanwhile_is_passed_over(tree: SysTree, content: str) -> None:
    disk = tree.disk("sda", "8:0", at="1-2")
    (disk / "diskseq").write_text(content)
    assert blocks_below(tree.root, "1-2") == []


def test_a_link_to_nothing_is_passed_over(tree: SysTree) -> None:
    (tree.root / "class/block/sdz").symlink_to(tree.root / "nowhere")
    tree.disk("sda", "8:0", at="1-2")
    assert len(blocks_below(tree.root, "1-2")) == 1


def test_a_machine_without_block_devices_has_none(tmp_path: Path) -> None:
    assert blocks_below(tmp_path, "1-2") == []


def test_a_disk_that_another_device_is_built_upon_is_held(tree: SysTree) -> None:
    disk = tree.disk("sda", "8:0", at="1-2")
    assert not is_held(tree.root, "sda")
    (disk / "holders/dm-0").mkdir()
    assert is_held(tree.root, "sda")
    assert not is_held(tree.root, "sdq")


@pytest.mark.parametrize("text", ["1-2", "12-3.4.5.6.7.8", "1-14.1"])
def test_port_paths_of_the_kernel_are_port_paths(text: str) -> None:
    assert PORT_PATH.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["", "1", "usb1", "1-", "-1", "1-2.", "1-2:1.0", "1-2/..", "1-2\n", "1-1.1.1.1.1.1.1", "１-2"]
)
def test_anything_else_is_none(text: str) -> None:
    assert not PORT_PATH.fullmatch(text)
