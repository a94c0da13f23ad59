"""Do the parts that meet the machine say clearly what is missing there?"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.usb.errors import DeviceGoneError, LibusbMissingError, TransferRefusedError
from agent.usb.libusb import load_backend
from agent.usb.scsi import MAX_TRANSFER_BYTES, ScsiChannel


def test_a_machine_without_libusb_is_told_what_to_install() -> None:
    with pytest.raises(LibusbMissingError, match=r"libusb-1\.0\.so\.0"):
        load_backend(("no-such-library.so",))


def test_the_libusb_that_is_used_can_be_loaded() -> None:
    assert load_backend() is load_backend()


def test_a_node_that_is_not_there_is_a_device_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DeviceGoneError):
        ScsiChannel(str(tmp_path / "sg0"), is_there=lambda: True)


def test_what_takes_no_scsi_commands_refuses_them(tmp_path: Path) -> None:
    node = tmp_path / "sg0"
    node.touch()
    with ScsiChannel(str(node), is_there=lambda: True) as channel, pytest.raises(TransferRefusedError):
        channel.scsi(bytes(6), timeout_ms=10)


@pytest.mark.parametrize(
    ("data_out", "length_in"), [(bytes(MAX_TRANSFER_BYTES + 1), 0), (b"", MAX_TRANSFER_BYTES + 1), (b"x", 1)]
)
def test_a_command_that_moves_too_much_is_not_sent(tmp_path: Path, data_out: bytes, length_in: int) -> None:
    node = tmp_path / "sg0"
    node.touch()
    with ScsiChannel(str(node), is_there=lambda: True) as channel, pytest.raises(TransferRefusedError):
        channel.scsi(bytes(6), data_out=data_out, length_in=length_in, timeout_ms=10)


def test_a_closed_conversation_sends_nothing(tmp_path: Path) -> None:
    node = tmp_path / "sg0"
    node.touch()
    channel = ScsiChannel(str(node), is_there=lambda: True)
    channel.close()
    channel.close()
    with pytest.raises(DeviceGoneError):
        channel.scsi(bytes(6), timeout_ms=10)
