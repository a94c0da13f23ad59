"""A real directory seen through a file system that fails on demand (FUSE): real errno values on real system calls.

``FaultFs(backing, mount)`` shows ``backing`` at ``mount``. Every call arrives here, in threads of the test's own
process, and is passed on unless a ``Fault`` stands for it. Whoever works on the mount, in other processes too, cannot
tell it from a disk that fails.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import mfusepy
import pytest

Call = Literal["read", "write", "fsync", "create", "open", "rename", "link", "unlink", "list", "stat"]

_MOUNT_S: Final = 10.0
_START_S: Final = 60.0
_ROOT: Final = Path(__file__).parents[2]
_STAT: Final = ("st_mode", "st_size", "st_uid", "st_gid", "st_nlink", "st_ino")
_SPACE: Final = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_namemax")


def needs_fuse() -> pytest.MarkDecorator:
    """Skips, with what is missing, where FUSE cannot be had."""
    missing = [name for name in ("fusermount3",) if shutil.which(name) is None]
    missing += [device for device in ("/dev/fuse",) if not os.access(device, os.R_OK | os.W_OK)]
    return pytest.mark.skipif(
        bool(missing), reason=f"faults of a file system need {missing} (apt-get install fuse3; modprobe fuse)"
    )


@dataclass(slots=True)
class Fault:
    """Calls on paths that contain ``where`` fail with ``error`` from the ``after``-th on, ``times`` times. With
    ``short`` reads and writes are cut to that many bytes instead. ``hits`` counts what it did."""

    call: Call
    where: str
    error: int = errno.EIO
    short: int | None = None
    after: int = 0
    times: int = 1
    hits: int = 0
    seen: int = 0

    def strikes(self, call: str, path: str) -> bool:
        """Whether it stands for this call; counts it."""
        if call != self.call or self.where not in path:
            return False
        self.seen += 1
        if self.seen <= self.after or self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass
class FaultFs:
    """The mounted file system. ``gone`` is part of the paths of which every call fails."""

    backing: Path
    mount: Path
    faults: list[Fault] = field(default_factory=list)
    gone: str | None = None
    failed_calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strike(self, fault: Fault) -> Fault:
        """From now on."""
        with self._lock:
            self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """No fault any more."""
        with self._lock:
            self.faults.clear()
            self.gone = None

    def judge(self, call: str, *paths: str) -> int | None:
        """For a short transfer, how long; None for a call that is passed on. Raises OSError."""
        with self._lock:
            if self.gone is not None and any(self.gone in path for path in paths):
                self.failed_calls += 1
                raise mfusepy.FuseOSError(errno.EIO)
            for fault in self.faults:
                if any(fault.strikes(call, path) for path in paths):
                    if fault.short is not None:
                        return fault.short
                    raise mfusepy.FuseOSError(fault.error)
        return None


class _Calls(mfusepy.Operations):  # type: ignore[misc]
    use_ns = True

    def __init__(self, fs: FaultFs) -> None:
        self._fs = fs
        self._root = str(fs.backing)

    def _at(self, path: str) -> str:
        return self._root + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._fs.judge("stat", path)
        found = os.lstat(self._at(path)) if fh is None else os.fstat(fh)
        times = {"st_mtime": found.st_mtime_ns, "st_atime": found.st_atime_ns, "st_ctime": found.st_ctime_ns}
        return {name: getattr(found, name) for name in _STAT} | times

    def readdir(self, path: str, _fh: int) -> list[str]:
        self._fs.judge("list", path)
        return [".", "..", *os.listdir(self._at(path))]

    def open(self, path: str, flags: int) -> int:
        self._fs.judge("open", path)
        return os.open(self._at(path), flags & ~os.O_DIRECT)  # our buffers are not aligned

    def create(self, path: str, mode: int, _fi: object = None) -> int:
        self._fs.judge("create", path)
        return os.open(self._at(path), os.O_CREAT | os.O_RDWR, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        short = self._fs.judge("read", path)
        return os.pread(fh, size if short is None else min(size, short), offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        short = self._fs.judge("write", path)
        return os.pwrite(fh, data if short is None else data[:short], offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._fs.judge("fsync", path)
        os.fdatasync(fh) if datasync else os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, _datasync: int, _fh: int) -> int:
        self._fs.judge("fsync", path)
        return 0

    def release(self, _path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._fs.judge("write", path)
        os.truncate(self._at(path) if fh is None else fh, length)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._fs.judge("rename", old, new)
        os.rename(self._at(old), self._at(new))
        return 0

    def link(self, target: str, source: str) -> int:
        self._fs.judge("link", target, source)
        os.link(self._at(source), self._at(target))
        return 0

    def unlink(self, path: str) -> int:
        self._fs.judge("unlink", path)
        os.unlink(self._at(path))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._fs.judge("create", path)
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path), mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._at(path), ns=times or (time.time_ns(), time.time_ns()))
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        return {name: getattr(found, name) for name in _SPACE}


@contextmanager
def fault_fs_elsewhere(backing: Path, mount: Path, *faults: Fault) -> Iterator[None]:
    """As ``fault_fs``, served by a process of its own, with these faults from the beginning: for processes whose calls
    are diverted on the way to the kernel, and would wait for themselves."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    orders = json.dumps([asdict(fault) for fault in faults])
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fault_fs", str(backing), str(mount), orders],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.PIPE,
    )
    try:
        ends_at = time.monotonic() + _START_S
        mount.mkdir(parents=True, exist_ok=True)
        while not os.path.ismount(mount):
            assert server.poll() is None, "the file system could not be mounted"
            assert time.monotonic() < ends_at, "the mount did not appear"
            time.sleep(0.02)
        yield
    finally:
        server.communicate()  # it ends when its input does
    assert server.returncode == 0


@contextmanager
def fault_fs(backing: Path, mount: Path) -> Iterator[FaultFs]:
    """Mounted while the body runs."""
    backing.mkdir(parents=True, exist_ok=True)
    mount.mkdir(parents=True, exist_ok=True)
    fs = FaultFs(backing, mount)
    options: dict[str, Any] = {"foreground": True, "fsname": "faultfs", "attr_timeout": 0, "entry_timeout": 0}
    server = threading.Thread(
        target=lambda: mfusepy.FUSE(_Calls(fs), str(mount), **options), name="faultfs", daemon=True
    )
    server.start()
    ends_at = time.monotonic() + _MOUNT_S
    while not os.path.ismount(mount):
        assert server.is_alive(), "the file system could not be mounted"
        assert time.monotonic() < ends_at, "the mount did not appear"
        time.sleep(0.005)
    try:
        yield fs
    finally:
        fs.heal()
        subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=True)
        server.join(_MOUNT_S)


if __name__ == "__main__":
    with fault_fs(Path(sys.argv[1]), Path(sys.argv[2])) as served:
        for order in json.loads(sys.argv[3]):
            served.strike(Fault(**order))
        sys.stdin.read()
