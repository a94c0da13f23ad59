"""What every ``Files`` promises, asked of the real file system and of its lossy twin alike."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import random
from pathlib import Path

import pytest

from collector.files import BLOCK_BYTES, Block, Files, PosixFiles
from tests.support.lossy_files import Fault, LossyFiles


@pytest.fixture(params=["posix", "lossy"])
def files(request: pytest.FixtureRequest) -> Files:
    return PosixFiles() if request.param == "posix" else LossyFiles()


@pytest.fixture
def folder(files: Files, tmp_path: Path) -> Path:
    files.make_folder(tmp_path / "a" / "b")
    return tmp_path / "a" / "b"


def write(files: Files, path: Path, data: bytes) -> None:
    appender = files.create(path)
    append_all(appender.write, data)
    appender.sync()
    appender.close()


def append_all(write_some: object, data: bytes) -> None:
    assert callable(write_some)
    rest = memoryview(data)
    while rest:
        rest = rest[write_some(rest) :]


def shown_past_the_cache(files: Files, path: Path) -> bytes:
    blocks: list[bytes] = []

    def keep(block: Block) -> None:
        blocks.append(bytes(block))

    assert files.reread(path, keep) == sum(map(len, blocks))
    return b"".join(blocks)


def test_a_file_made_read_only_says_so(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"x")
    assert files.mode(folder / "x") & 0o200
    files.make_read_only(folder / "x")
    assert files.mode(folder / "x") == 0o440


@pytest.mark.parametrize(
    "size", [0, 1, 4095, 4096, 4097, BLOCK_BYTES, 2 * BLOCK_BYTES + 4096, 3 * BLOCK_BYTES + 7]
)
def test_what_is_written_is_what_is_reread_past_the_cache(files: Files, folder: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    write(files, folder / "x", data)
    assert shown_past_the_cache(files, folder / "x") == data
    assert files.size_bytes(folder / "x") == size


def test_blocks_of_any_size_and_alignment_append_in_order(files: Files, folder: Path) -> None:
    rng, expected = random.Random(7), hashlib.sha256()
    aligned = mmap.mmap(-1, BLOCK_BYTES)
    appender = files.create(folder / "x")
    for size in (10, 4086, 8192, 5000, BLOCK_BYTES, 1, 4095, BLOCK_BYTES):
        aligned[:size] = rng.randbytes(size)
        expected.update(aligned[:size])
        with memoryview(aligned) as view:
            rest = view[:size]
            while rest:
                rest = rest[appender.write(rest) :]
            rest.release()
    appender.sync()
    appender.close()
    assert hashlib.sha256(shown_past_the_cache(files, folder / "x")).digest() == expected.digest()


def test_appending_goes_on_where_the_file_ends(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"first ")
    appender = files.append(folder / "x")
    assert appender.size_bytes == 6
    append_all(appender.write, b"second")
    assert appender.size_bytes == 12
    appender.sync()
    appender.close()
    assert files.read(folder / "x", 0, 100) == b"first second"


def test_a_closed_appender_writes_no_more(files: Files, folder: Path) -> None:
    appender = files.create(folder / "x")
    appender.close()
    appender.close()
    with pytest.raises(OSError, match="lost or closed"):
        appender.write(b"late")


def test_creating_never_replaces(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"old")
    with pytest.raises(FileExistsError):
        files.create(folder / "x")
    assert files.read(folder / "x", 0, 3) == b"old"


def test_linking_never_replaces_and_gives_a_second_name(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"bytes")
    files.link(folder / "x", folder / "y")
    with pytest.raises(FileExistsError):
        files.link(folder / "x", folder / "y")
    files.remove(folder / "x")
    assert files.names(folder) == ["y"]
    assert files.read(folder / "y", 0, 100) == b"bytes"


def test_replacing_takes_the_place_of_the_old_file(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"new")
    write(files, folder / "y", b"old")
    files.replace(folder / "x", folder / "y")
    assert files.names(folder) == ["y"]
    assert files.read(folder / "y", 0, 100) == b"new"


def test_truncating_cuts_the_end_off(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"0123456789" * 1000)
    files.truncate(folder / "x", 5001)
    assert files.size_bytes(folder / "x") == 5001
    assert shown_past_the_cache(files, folder / "x") == (b"0123456789" * 501)[:5001]


def test_ranges_are_read_and_end_with_the_file(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"0123456789")
    assert files.read(folder / "x", 3, 4) == b"3456"
    assert files.read(folder / "x", 8, 4) == b"89"
    assert files.read(folder / "x", 20, 4) == b""


def test_what_is_not_there_is_reported_so(files: Files, folder: Path) -> None:
    missing = folder / "missing"
    for call in (
        files.append,
        files.remove,
        files.size_bytes,
        files.mode,
        files.make_read_only,
        files.sync_file,
    ):
        with pytest.raises(FileNotFoundError):
            call(missing)
    with pytest.raises(FileNotFoundError):
        files.read(missing, 0, 1)
    with pytest.raises(FileNotFoundError):
        files.reread(missing, len)
    with pytest.raises(FileNotFoundError):
        files.link(missing, folder / "x")
    assert files.names(missing) == []


def test_making_a_folder_twice_is_fine(files: Files, folder: Path) -> None:
    files.make_folder(folder)
    files.make_folder(folder / "deep" / "er")
    assert files.names(folder / "deep") == ["er"]


def test_a_read_only_file_can_still_be_synced_and_removed(files: Files, folder: Path) -> None:
    write(files, folder / "x", b"1")
    files.make_read_only(folder / "x")
    files.sync_file(folder / "x")
    files.sync_folder(folder)
    files.remove(folder / "x")
    assert files.names(folder) == []


def test_the_umask_does_not_decide_who_may_read_what_is_read_only(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        PosixFiles().create(tmp_path / "x", read_only=True).close()
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "x").st_mode & 0o777 == 0o440


def test_read_only_means_no_write_bit_for_anybody(tmp_path: Path) -> None:
    files = PosixFiles()
    write(files, tmp_path / "x", b"1")
    files.make_read_only(tmp_path / "x")
    assert os.stat(tmp_path / "x").st_mode & 0o777 == 0o440


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    files = PosixFiles()
    write(files, tmp_path / "x", b"1")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for call in (files.append, files.sync_file):
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            call(tmp_path / "link")


def test_a_file_system_without_direct_access_is_served_through_the_cache() -> None:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK):
        pytest.skip("no memory file system here")
    path = shared_memory / f"zhilu-files-{os.getpid()}"
    files = PosixFiles()
    try:
        write(files, path, b"x" * (BLOCK_BYTES + 5))
        assert shown_past_the_cache(files, path) == b"x" * (BLOCK_BYTES + 5)
    finally:
        path.unlink(missing_ok=True)


def test_the_twin_loses_bytes_and_names_that_were_not_synced(tmp_path: Path) -> None:
    files = LossyFiles()
    files.make_folder(tmp_path)
    write(files, tmp_path / "kept", b"kept")
    files.sync_folder(tmp_path)
    appender = files.append(tmp_path / "kept")
    appender.write(b" lost")
    write(files, tmp_path / "nameless", b"synced bytes under a name that was not")
    files.crash()
    assert files.names(tmp_path) == ["kept"]
    assert files.read(tmp_path / "kept", 0, 100) == b"kept"
    with pytest.raises(OSError, match="lost or closed"):
        appender.write(b"after the crash")


def test_a_folder_is_added_and_removed(files: Files, folder: Path) -> None:
    files.add_folder(folder / "new")
    files.add_folder(folder / "new")
    write(files, folder / "new" / "x", b"1")
    with pytest.raises(OSError, match=r"not empty|" + os.strerror(errno.ENOTEMPTY)):
        files.remove_folder(folder / "new")
    files.remove(folder / "new" / "x")
    files.remove_folder(folder / "new")
    assert files.names(folder) == []
    for call in (files.remove_folder, files.sync_all):
        with pytest.raises(FileNotFoundError):
            call(folder / "new")


def test_a_file_may_be_read_only_from_the_beginning(files: Files, folder: Path) -> None:
    appender = files.create(folder / "x", read_only=True)
    append_all(appender.write, b"1" * 5000)
    appender.close()
    files.sync_all(folder)
    assert shown_past_the_cache(files, folder / "x") == b"1" * 5000
    if isinstance(files, PosixFiles):
        assert os.stat(folder / "x").st_mode & 0o777 == 0o440


def test_many_files_are_synced_together(files: Files, folder: Path) -> None:
    for number in range(5):
        appender = files.create(folder / str(number))
        append_all(appender.write, b"%d" % number * 5000)
        appender.close()
    files.sync_all(folder)
    files.sync_all(folder)
    for number in range(5):
        assert shown_past_the_cache(files, folder / str(number)) == b"%d" % number * 5000


def test_the_twin_keeps_everything_that_was_synced_together(tmp_path: Path) -> None:
    files = LossyFiles()
    files.make_folder(tmp_path)
    files.add_folder(tmp_path / "lost")
    files.crash()
    assert files.names(tmp_path) == []
    files.add_folder(tmp_path / "kept")
    appender = files.create(tmp_path / "kept" / "x", read_only=True)
    appender.write(b"kept")
    files.sync_all(tmp_path)
    appender.write(b"lost")
    files.create(tmp_path / "kept" / "nameless").close()
    files.crash()
    assert files.names(tmp_path / "kept") == ["x"]
    assert files.read(tmp_path / "kept" / "x", 0, 100) == b"kept"
    assert files.node(tmp_path / "kept" / "x").mode == 0o440


def test_the_twin_forgets_all_bytes_whose_common_sync_failed(tmp_path: Path) -> None:
    files = LossyFiles()
    files.make_folder(tmp_path)
    for name in ("x", "y"):
        files.create(tmp_path / name).write(b"unlucky")
    files.fault = Fault(at=len(files.calls), error=OSError(errno.EIO, "disk"))
    with pytest.raises(OSError, match="disk"):
        files.sync_all(tmp_path)
    files.sync_all(tmp_path)
    for name in ("x", "y"):
        assert files.read(tmp_path / name, 0, 7) == b"unlucky"
        assert shown_past_the_cache(files, tmp_path / name) == bytes(7)


def test_the_twin_forgets_bytes_whose_sync_failed_even_if_a_later_sync_succeeds(tmp_path: Path) -> None:
    files = LossyFiles()
    files.make_folder(tmp_path)
    appender = files.create(tmp_path / "x")
    files.sync_folder(tmp_path)
    appender.write(b"unlucky")
    files.fault = Fault(at=len(files.calls), error=OSError(errno.EIO, "disk"))
    with pytest.raises(OSError, match="disk"):
        appender.sync()
    with pytest.raises(OSError, match="lost or closed"):
        appender.sync()
    files.sync_file(tmp_path / "x")
    assert files.read(tmp_path / "x", 0, 7) == b"unlucky"
    assert shown_past_the_cache(files, tmp_path / "x") == bytes(7)


def test_space_is_told_of_the_folder_s_file_system(files: Files, folder: Path) -> None:
    before = files.space(folder)
    assert 0 <= before.free_bytes <= before.total_bytes
    with pytest.raises(FileNotFoundError):
        files.space(folder / "missing")
