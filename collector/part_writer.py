"""One part on its way into a staged file: written and hashed block by block, then finished or undone.

Nothing counts before ``finish`` returns. What was written before a cut, or before the disk was full, can be
finished like a whole part.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from collector.errors import StorageError, storage_errors
from collector.files import Appender, Block, Files
from collector.running import RunningDigest


class PartWriter:
    """Appends to one file from ``start_bytes`` on, in one thread at a time. ``hasher`` has seen everything before
    and sees everything written; ``algorithm`` asks for a hash of this part alone besides."""

    def __init__(
        self,
        files: Files,
        path: Path,
        *,
        upload_id: str,
        start_bytes: int,
        hasher: RunningDigest,
        algorithm: str | None = None,
    ) -> None:
        self.upload_id = upload_id
        self.hasher = hasher
        self._files = files
        self._path = path
        self._start = self._end = start_bytes
        # A part that is the whole upload so far needs no second SHA-256.
        own = algorithm is not None and not (algorithm == "sha256" and start_bytes == 0)
        self._part_hasher = hashlib.new(algorithm) if algorithm and own else None
        self._appender: Appender = files.append(path)
        self._torn = self._appender.size_bytes != start_bytes

    @property
    def written_bytes(self) -> int:
        """Bytes of this part written so far."""
        return self._end - self._start

    @property
    def checksum(self) -> bytes:
        """Hash of this part's bytes by the algorithm asked for."""
        return self._part_hasher.digest() if self._part_hasher else bytes.fromhex(self.hasher.digest.hex)

    def write(self, block: Block) -> None:
        """Appends the whole block. Raises StorageError; what was written before stays and can be finished."""
        with memoryview(block) as rest:
            done = 0
            while done < len(rest):
                done += self._write_some(rest[done:])

    def finish(self) -> int:
        """Makes the part durable; returns the length of the file. Raises OSError: then the file is lost."""
        try:
            if self._torn:
                self._files.truncate(self._path, self._end)
            if self._end != self._start:
                self._appender.sync()
        finally:
            self._appender.close()
        return self._end

    def undo(self) -> None:
        """Cuts the file back to where the part began, durably. Raises OSError: then the file is lost."""
        self._appender.close()
        self._files.truncate(self._path, self._start)

    def _write_some(self, rest: memoryview) -> int:
        if self._torn:
            raise StorageError("the part broke off earlier")
        try:
            with storage_errors("writing a part"):
                written = self._appender.write(rest)
        except StorageError:
            self._torn = True  # some of the block may be in the file all the same
            raise
        with rest[:written] as block:
            self.hasher.update(block)
            if self._part_hasher:
                self._part_hasher.update(block)
        self._end += written
        return written


def write_all(appender: Appender, data: Block) -> None:
    """Appends all of ``data``. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[appender.write(rest) :]
