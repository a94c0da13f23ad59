"""Copies that are worth their name: hashed on the way, durable, and read back past the page cache."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from collector.errors import ObjectCorruptError
from collector.files import Block, Files
from collector.part_writer import write_all
from protocol.digest import Digest

if TYPE_CHECKING:
    from hashlib import _Hash

_MAX_KNOWN_FOLDERS: Final = 8192


class Copier:
    """Copies into one file system. ``scratch`` is a folder there for files on their way; it is emptied first.

    Methods raise OSError for what the file systems refuse.
    """

    def __init__(self, files: Files, scratch: Path) -> None:
        self._files = files
        self._scratch = scratch
        self._folders: set[Path] = set()
        self.copied_files = 0
        self.copied_bytes = 0
        files.make_folder(scratch)
        for name in files.names(scratch):
            files.remove(scratch / name)

    def copy(
        self, source: Path, target: Path, expected: Digest | None = None, *, read_only: bool = False
    ) -> Digest:
        """Copy a file; its name appears when its bytes are durable and have been read back equal.

        Raises ObjectCorruptError when the source is not ``expected``, or when the copy, read back, is not the source:
        then there is no copy.
        """
        temporary = self._scratch / secrets.token_hex(16)
        try:
            digest, size = self._write(source, temporary)
            if expected is not None and digest != expected:
                raise _altered(source, expected, digest)
            if (held := self.digest_of(temporary)) != digest:
                raise _altered(target, digest, held)
            if read_only:
                self._files.make_read_only(temporary)
                self._files.sync_file(temporary)
            self._place(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.remove(temporary)
            raise
        self.copied_files += 1
        self.copied_bytes += size
        return digest

    def digest_of(self, path: Path) -> Digest:
        """What the device holds."""
        hasher = hashlib.sha256()
        self._files.reread(path, hasher.update)
        return Digest.sha256(hasher.hexdigest())

    def _write(self, source: Path, temporary: Path) -> tuple[Digest, int]:
        hasher: _Hash = hashlib.sha256()
        appender = self._files.create(temporary)

        def take(block: Block) -> None:
            hasher.update(block)
            write_all(appender, block)

        try:
            size = self._files.reread(source, take)
            appender.sync()
        finally:
            appender.close()
        return Digest.sha256(hasher.hexdigest()), size

    def _place(self, temporary: Path, target: Path) -> None:
        folder = target.parent
        if folder not in self._folders:
            if len(self._folders) >= _MAX_KNOWN_FOLDERS:
                self._folders.clear()
            self._files.make_folder(folder)
            self._folders.add(folder)
        self._files.replace(temporary, target)
        self._files.sync_folder(folder)


def _altered(path: Path, expected: Digest, actual: Digest) -> ObjectCorruptError:
    return ObjectCorruptError(f"{path} is not what it must be", expected=str(expected), actual=str(actual))
