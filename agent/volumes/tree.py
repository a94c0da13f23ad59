"""A recorder's volume as a directory of this machine, read without trusting anything in it.

Guarantees: no symbolic link is ever followed, also one put in place between listing and opening (every name is opened
relative to the opened folder above it); nothing but regular files is opened, so no FIFO blocks and no device file
reacts; every entry is accounted for by a row; the root is compared at each access, so that a volume replaced by
another is noticed. Nothing stays open between calls: an open descriptor would keep the volume from being unmounted.

All functions block; call them in threads.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from agent.ports import Obstacle, ScannedEntry, VolumeIdentity
from agent.volumes.erasing import ErasableTree
from agent.volumes.errors import (
    FileChangedError,
    TooManyFilesError,
    VolumeError,
    VolumeReadOnlyError,
    VolumeUnreadableError,
    VolumeVanishedError,
)
from agent.volumes.mounts import boot_id, fs_type
from agent.volumes.opening import FOLDER_FLAGS, GONE, file_errors, identity_of, open_regular, split_path
from protocol.limits import MAX_LISTING_ROWS, MAX_PATH_BYTES

MAX_DEPTH: Final = 64
"""Folders within folders. Recorders use 4; deeper trees are made to exhaust whoever walks them."""

MAX_FOLDERS: Final = 200_000
"""Folders of one volume. A camera makes one for 1000 to 10,000 files; a damaged FAT can contain itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeVolume:
    """A directory as a ``RecorderVolume``. Make it with ``at``; it is bound to the directory found then. ``medium``
    names the medium below it, where its dock knows that: mounted anew it is the same volume."""

    root: bytes
    dock: str
    bay: str
    label: str | None
    root_key: tuple[int, int]
    medium: str | None = None

    @classmethod
    def at(cls, root: bytes, *, dock: str, bay: str, label: str | None, medium: str | None = None) -> Self:
        """The volume at ``root`` now. Raises VolumeVanishedError when that is no directory."""
        try:
            found = os.stat(root, follow_symlinks=False)
        except OSError as error:
            raise VolumeVanishedError(f"no volume at bay {bay}") from error
        if not stat.S_ISDIR(found.st_mode):
            raise VolumeVanishedError(f"no directory at bay {bay}")
        return cls(
            root=root, dock=dock, bay=bay, label=label, root_key=(found.st_dev, found.st_ino), medium=medium
        )

    @property
    def generation(self) -> str:
        """Boot and medium; or boot, device and inode of the root: device numbers alone are reused at the next plug-in,
        and after the next boot numbers of media are."""
        device, inode = self.root_key
        return f"{boot_id()}:{self.medium or f'{device}:{inode}'}"

    def identify(self) -> VolumeIdentity:
        """See ``RecorderVolume``."""
        with self._folder(()) as root:
            try:
                space: os.statvfs_result | None = os.fstatvfs(root)
            except OSError:
                space = None
        return VolumeIdentity(
            dock=self.dock,
            bay=self.bay,
            label=self.label,
            generation=self.generation,
            fs_type=fs_type(self.root_key[0]),
            total_bytes=None if space is None else space.f_blocks * space.f_frsize,
            free_bytes=None if space is None else space.f_bavail * space.f_frsize,
        )

    def scan(self) -> Iterator[ScannedEntry]:
        """See ``RecorderVolume``. What one folder of too great depth or length holds is one row of its own."""
        pending: list[bytes] = [b""]
        rows = folders = 0
        while pending:
            folders += 1
            for entry in self._scan_folder(pending.pop(), pending):
                rows += 1
                if rows > MAX_LISTING_ROWS:
                    raise TooManyFilesError(f"bay {self.bay}: more than {MAX_LISTING_ROWS} files")
                yield entry
            if folders + len(pending) > MAX_FOLDERS:
                raise TooManyFilesError(f"bay {self.bay}: more than {MAX_FOLDERS} folders")
        os.close(self._open_root())  # a volume removed meanwhile looks like empty folders

    def open_file(self, raw_path: bytes, *, offset_bytes: int = 0) -> TreeFileReader:
        """See ``RecorderVolume``."""
        folders, name = split_path(raw_path)
        with file_errors(raw_path), self._folder(folders) as folder:
            return TreeFileReader(open_regular(folder, name, raw_path), raw_path, offset_bytes)

    @contextmanager
    def open_for_release(self) -> Iterator[ErasableTree]:
        """See ``RecorderVolume``. A directory is writable or not by its mount; whether its file system was left in
        order only the kernel that mounted it knows."""
        with self._folder(()) as root:
            if os.fstatvfs(root).f_flag & os.ST_RDONLY:
                raise VolumeReadOnlyError(f"the volume at bay {self.bay} is mounted read-only")
            opened = ErasableTree(self, self._folder)
            try:
                yield opened
            except BaseException:
                with suppress(VolumeError):
                    opened.make_durable(root)
                raise
            opened.make_durable(root)

    @contextmanager
    def _folder(self, names: Sequence[bytes]) -> Iterator[int]:
        """Descriptor of a folder, opened name by name from the root. Raises OSError for what lies below the root."""
        descriptor = self._open_root()
        try:
            for name in names:
                below = os.open(name, FOLDER_FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        try:
            root = os.open(self.root, FOLDER_FLAGS)
        except PermissionError as error:
            raise VolumeUnreadableError(f"the volume at bay {self.bay} may not be listed") from error
        except OSError as error:
            raise VolumeVanishedError(f"the volume at bay {self.bay} is gone") from error
        found = os.fstat(root)
        if (found.st_dev, found.st_ino) != self.root_key:
            os.close(root)
            raise VolumeVanishedError(f"another volume is at bay {self.bay}")
        return root

    def _scan_folder(self, path: bytes, pending: list[bytes]) -> Iterator[ScannedEntry]:
        """The entries of one folder; folders in it are put on ``pending``."""
        names = path.split(b"/") if path else []
        if len(names) > MAX_DEPTH:
            yield _obstructed(path, Obstacle.TOO_DEEP)
            return
        try:
            with self._folder(names) as folder, os.scandir(folder) as entries:
                yield from _scan_entries(path, entries, pending)
        except FileNotFoundError:
            return  # removed since its parent was listed; not there any more is not unreadable
        except OSError as error:
            if error.errno in GONE:
                raise VolumeVanishedError(f"the volume at bay {self.bay} is gone") from error
            if not path:
                raise VolumeUnreadableError(f"the volume at bay {self.bay} cannot be listed") from error
            yield _obstructed(path, Obstacle.UNREADABLE_FOLDER)


def _scan_entries(
    folder: bytes, entries: Iterator[os.DirEntry[str]], pending: list[bytes]
) -> Iterator[ScannedEntry]:
    prefix = folder + b"/" if folder else b""
    too_long = False
    for entry in entries:
        path = prefix + os.fsencode(entry.name)
        if len(path) > MAX_PATH_BYTES:
            too_long = True
            continue
        scanned = _scan_entry(path, entry, pending)
        if scanned is not None:
            yield scanned
        if len(pending) > MAX_FOLDERS:
            return  # refused by the caller; this bounds its memory
    if too_long:
        yield _obstructed(folder, Obstacle.PATH_TOO_LONG)


def _scan_entry(path: bytes, entry: os.DirEntry[str], pending: list[bytes]) -> ScannedEntry | None:
    """None for a folder, which is put on ``pending``, and for an entry removed since it was listed."""
    try:
        if entry.is_dir(follow_symlinks=False):
            pending.append(path)
            return None
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in GONE:
            raise
        return _obstructed(path, Obstacle.UNREADABLE_ENTRY)
    obstacle = None
    if stat.S_ISLNK(found.st_mode):
        obstacle = Obstacle.SYMBOLIC_LINK
    elif not stat.S_ISREG(found.st_mode):
        obstacle = Obstacle.NOT_A_REGULAR_FILE
    return ScannedEntry(
        raw_path=path,
        size_bytes=0 if obstacle else found.st_size,
        modified_ns=found.st_mtime_ns,
        obstacle=obstacle,
    )


def _obstructed(path: bytes, obstacle: Obstacle) -> ScannedEntry:
    return ScannedEntry(raw_path=path, size_bytes=0, modified_ns=None, obstacle=obstacle)


class TreeFileReader:
    """A regular file of a ``TreeVolume``, opened for one sequential read."""

    def __init__(self, descriptor: int, raw_path: bytes, offset_bytes: int) -> None:
        self._descriptor = descriptor
        self._raw_path = raw_path
        try:
            self.opened_as = identity_of(descriptor)
            os.lseek(descriptor, offset_bytes, os.SEEK_SET)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            self.close()
            raise

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """See ``FileReader``."""
        with file_errors(self._raw_path):
            return os.readv(self._descriptor, [buffer])

    def verify_unchanged(self) -> None:
        """See ``FileReader``."""
        with file_errors(self._raw_path):
            now = identity_of(self._descriptor)
        if now != self.opened_as:
            raise FileChangedError(f"{self._raw_path[:80]!r} was {self.opened_as} and is {now}")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
