"""Makes a finished rendition durable and visible, in that order: digest, fsync, read-only, rename, fsync of the folder.

What lies in a work folder was written by a program that read hostile input, so it is opened without following links
and must be a regular file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import RenditionFailedError

WORK_PREFIX: Final = ".rendering-"
_MODE: Final = 0o440


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a rendition is, and what it is."""

    path: Path
    size_bytes: int
    sha256: str


@contextmanager
def work_folder(output_folder: Path) -> Iterator[Path]:
    """A private folder beside the results, removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=output_folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(output_folder: Path) -> None:
    """Remove what an earlier, killed process left: unfinished, or finished and never taken over. Only while nothing
    is being rendered there. Raises OSError."""
    for left in output_folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def require_output(file: Path) -> None:
    """Raise RenditionFailedError unless the file is there, regular and not empty."""
    try:
        status = file.lstat()
    except FileNotFoundError as error:
        raise RenditionFailedError("ffmpeg ended well but wrote nothing") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        raise RenditionFailedError("what ffmpeg wrote is not a regular file with content")


def publish(file: Path, output_folder: Path) -> Published:
    """Move a finished file to ``<sha256><suffix>`` in the output folder. The same bytes published twice are one file.

    Raises RenditionFailedError when it is not a regular file, OSError when the disk fails.
    """
    require_output(file)
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        size_bytes = os.fstat(descriptor).st_size
        os.fchmod(descriptor, _MODE)
        os.fsync(descriptor)
    target = output_folder / f"{sha256}{file.suffix}"
    file.rename(target)
    _sync_folder(output_folder)
    return Published(path=target, size_bytes=size_bytes, sha256=sha256)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
