"""Does the mount helper's server answer only whom it should, always, and in bounded time? No device is needed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.mounting.bay import Machine
from agent.mounting.client import SocketMounter
from agent.mounting.service import MAX_CONNECTIONS, MounterService, MountIds
from agent.mounting.settings import MounterSettings
from agent.mounting.wire import MAX_LINE_BYTES
from agent.usb.errors import DeviceGoneError, MountBusyError, MounterAwayError, MountRefusedError
from agent.usb.ports import VolumeSeen

VOLUME = VolumeSeen(
    port_path="1-1",
    generation="7/8:1",
    device_node="/dev/sda1",
    lun=0,
    partition=1,
    size_bytes=1,
    fs_type="vfat",
    label=None,
)


def settings_in(folder: Path) -> MounterSettings:
    return MounterSettings(
        user_id=os.getuid(),
        group_id=os.getgid(),
        bays=frozenset({"1-1", "1-2"}),
        base=folder / "bays",
        socket=folder / "mounter.sock",
    )


def serving(settings: MounterSettings, sys: Path, *, request_s: float = 60.0) -> Iterator[Path]:
    machine = Machine(sys=sys, next_mount_id=MountIds())
    service = MounterService(settings, machine, request_s=request_s)
    service.open()
    listener = threading.Thread(target=service.serve)
    listener.start()
    try:
        yield settings.socket
    finally:
        service.close()
        listener.join(10)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Path]:
    yield from serving(settings_in(tmp_path), tmp_path / "sys")


def test_a_bay_without_a_device_says_so(address: Path) -> None:
    with pytest.raises(DeviceGoneError):
        SocketMounter(address).mount_read_only(VOLUME)
    with pytest.raises(DeviceGoneError):
        SocketMounter(address).remount_for_release(VOLUME)
    SocketMounter(address).unmount("1-1")


def test_a_port_that_is_no_bay_is_refused(address: Path) -> None:
    with pytest.raises(MountRefusedError):
        SocketMounter(address).mount_read_only(replace(VOLUME, port_path="1-3"))
    with pytest.raises(MountRefusedError):
        SocketMounter(address).unmount("1-3")


def test_another_user_is_refused(tmp_path: Path) -> None:
    settings = replace(settings_in(tmp_path), user_id=os.getuid() + 1)
    for address in serving(settings, tmp_path / "sys"):
        with pytest.raises(MountRefusedError, match="may not ask"):
            SocketMounter(address).unmount("1-1")


def test_without_a_helper_it_is_away(tmp_path: Path) -> None:
    with pytest.raises(MounterAwayError):
        SocketMounter(tmp_path / "mounter.sock").unmount("1-1")


def test_a_helper_that_hangs_up_is_away(tmp_path: Path) -> None:
    path = tmp_path / "mounter.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up() -> None:
            line, _ = listener.accept()
            line.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(MounterAwayError):
            SocketMounter(path).unmount("1-1")
        thread.join(10)


def test_an_endless_line_is_cut_and_refused(address: Path) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(address))
        line.sendall(b"x" * (MAX_LINE_BYTES + 1))
        assert b"mount-refused" in line.recv(MAX_LINE_BYTES)


def test_who_connects_and_says_nothing_takes_no_room_from_others(address: Path) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS - 1)]
    try:
        for line in silent:
            line.connect(str(address))
        SocketMounter(address).unmount("1-1")
    finally:
        for line in silent:
            line.close()


def test_a_device_that_hangs_is_reported_at_the_deadline_and_keeps_its_own_bay_alone(
    tmp_path: Path,
) -> None:
    device = tmp_path / "sys/devices/usb1/1-1/1-1:1.0/host2/target2:0:0/2:0:0:0/block/sda"
    device.mkdir(parents=True)
    os.mkfifo(device / "dev")  # whoever asks for it waits
    (tmp_path / "sys/class/block").mkdir(parents=True)
    (tmp_path / "sys/class/block/sda").symlink_to(device)
    for address in serving(settings_in(tmp_path), tmp_path / "sys", request_s=0.2):
        for _ in range(2):
            with pytest.raises(MountBusyError):
                SocketMounter(address).unmount("1-1")
        SocketMounter(address).unmount("1-2")
        with (device / "dev").open("w") as answer:
            (tmp_path / "sys/class/block/sda").unlink()
            answer.write("8:0\n")


def test_numbers_of_mounts_grow(tmp_path: Path) -> None:
    numbers = MountIds()
    given = [numbers() for _ in range(1000)]
    assert given == sorted(set(given))
    assert MountIds()() > given[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to give up")
def test_of_all_privileges_one_is_kept() -> None:
    code = (
        "from agent.mounting import privileges\n"
        "privileges.join_group(1500)\n"
        "privileges.keep_only_mounting()\n"
        "print(open('/proc/self/status').read())"
    )
    text = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    sys_admin = f"{1 << 21:016x}"
    assert (status["CapEff"], status["CapPrm"], status["CapInh"]) == (sys_admin, sys_admin, f"{0:016x}")
    assert status["NoNewPrivs"] == "1"
    assert status["Gid"].split() == ["1500"] * 4
    assert status["Groups"].strip() == ""
