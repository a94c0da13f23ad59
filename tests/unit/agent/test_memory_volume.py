"""Do the faults that the volume in memory is made for happen where they are set?"""

from __future__ import annotations

import errno

import pytest

from agent.volumes.errors import FileChangedError, FileUnreadableError, VolumeVanishedError
from tests.support.memory_volume import MemoryVolume


def test_it_vanishes_in_the_middle_of_a_file() -> None:
    volume = MemoryVolume({b"a.mp4": b"x" * 100})
    volume.vanish_after(30)
    with volume.open_file(b"a.mp4") as reader:
        assert reader.readinto(bytearray(64)) == 30
        with pytest.raises(VolumeVanishedError):
            reader.readinto(bytearray(64))
        with pytest.raises(VolumeVanishedError):
            reader.verify_unchanged()


def test_it_fails_at_an_offset_and_again_there() -> None:
    volume = MemoryVolume({b"a.mp4": b"x" * 100})
    volume.files[b"a.mp4"].fails_at[40] = errno.EIO
    with volume.open_file(b"a.mp4") as reader:
        assert reader.readinto(bytearray(64)) == 40
        for _ in range(2):
            with pytest.raises(FileUnreadableError) as caught:
                reader.readinto(bytearray(64))
            assert caught.value.errno == errno.EIO


def test_it_grows_while_it_is_read() -> None:
    volume = MemoryVolume({b"a.mp4": b"x" * 10}, max_read_bytes=4)
    volume.files[b"a.mp4"].grows_at[10] = b"yy"
    buffer = bytearray(64)
    with volume.open_file(b"a.mp4") as reader:
        assert [reader.readinto(buffer) for _ in range(5)] == [4, 4, 2, 2, 0]
        with pytest.raises(FileChangedError):
            reader.verify_unchanged()
