"""Bundles on their way into staging: members become files of their own while they come in, written once.

The folder of a bundle holds whole members, named by their place, purpose, digest and size; how far the stream is
follows from them. Nothing counts before ``BundlePart.finish`` returns, and then only whole members do: a cut costs the
member it fell into. A restart re-reads what it finds (``recover_members``).
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from collector.errors import StorageError, storage_errors
from collector.files import BLOCK_BYTES, Appender, Block, Files
from protocol.bundle import END, BundleParser, Member, Piece
from protocol.digest import Digest
from protocol.errors import ProtocolError
from protocol.upload import Purpose
from protocol.upload_errors import BundleMalformedError

_NAME: Final = re.compile(r"([0-9]{4})\.([a-z]+)\.([0-9a-f]{64})\.([0-9]{1,8})")

_WRITABLE: Final = 0o222


def member_name(number: int, member: Member) -> str:
    """Name of a staged member; names sort as the members stand in the bundle."""
    return f"{number:04d}.{member.purpose}.{member.digest.hex}.{member.size_bytes}"


class BundlePart:
    """One part of a bundle, written by one thread at a time; the counterpart of ``PartWriter``. ``taken`` are the
    members that earlier parts brought, ``size_bytes`` is the announced length of the whole."""

    def __init__(
        self,
        files: Files,
        folder: Path,
        *,
        upload_id: str,
        taken: Sequence[Member],
        size_bytes: int,
        algorithm: str | None = None,
    ) -> None:
        self.upload_id = upload_id
        self._files = files
        self._folder = folder
        self._size_bytes = size_bytes
        self._hasher = hashlib.new(algorithm) if algorithm else None
        self._parser = BundleParser(taken)
        self._first = len(taken)
        self._begun: list[Path] = []
        self._file: _MemberFile | None = None
        self._torn = False

    @property
    def members(self) -> tuple[Member, ...]:
        """All members that are here whole, those of earlier parts included."""
        return self._parser.members

    @property
    def checksum(self) -> bytes:
        """Hash of this part's bytes by the algorithm asked for."""
        return self._hasher.digest() if self._hasher else b""

    def write(self, block: Block) -> None:
        """Takes the next bytes. Raises StorageError, what was whole before can be finished; BundleMalformedError, the
        whole upload is of no use then."""
        if self._torn:
            raise StorageError("the part broke off earlier")
        if self._hasher:
            self._hasher.update(block)
        try:
            with storage_errors("writing a bundle"), memoryview(block) as view:
                for piece in self._parser.feed(view):
                    self._take(piece)
        except StorageError:
            self._torn = True
            raise

    def finish(self) -> int:
        """Makes the whole members durable; returns the offset they end at. Raises OSError, BundleMalformedError."""
        ended = self._parser.position_bytes == self._size_bytes and not self._torn
        if ended != self._parser.is_complete:
            raise BundleMalformedError("a bundle does not end where its announced length ends")
        self._drop_unfinished()
        if len(self.members) > self._first:
            self._files.sync_all(self._folder)
        return self._size_bytes if ended else self._parser.boundary_bytes

    def undo(self) -> None:
        """Removes what this part brought. Raises OSError."""
        self._drop_unfinished()
        for path in self._begun:
            self._files.remove(path)
        self._files.sync_folder(self._folder)

    def _take(self, piece: Piece) -> None:
        if piece.starts:
            name = member_name(self._first + len(self._begun), piece.member)
            self._begun.append(self._folder / name)  # first: creating may fail and leave a file all the same
            self._file = _MemberFile(self._files, self._folder / name)
        assert self._file is not None
        self._file.write(piece.data, last=piece.ends)
        if piece.ends:
            self._file.close()
            self._file = None

    def _drop_unfinished(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        whole = len(self.members) - self._first
        for path in self._begun[whole:]:
            with contextlib.suppress(FileNotFoundError):
                self._files.remove(path)
        del self._begun[whole:]


class _MemberFile:
    """One member being written. Pieces go through an aligned buffer unless the member came in one: what begins or ends
    off the device's blocks would go through the page cache, at thirty times the cost."""

    def __init__(self, files: Files, path: Path) -> None:
        self._appender: Appender = files.create(path, read_only=True)
        self._buffer: mmap.mmap | None = None
        self._held = 0

    def write(self, data: memoryview, *, last: bool) -> None:
        if last and self._buffer is None:
            self._append(data)
            return
        buffer = self._buffer = self._buffer or mmap.mmap(-1, BLOCK_BYTES)
        while data:
            part = data[: BLOCK_BYTES - self._held]
            buffer[self._held : self._held + len(part)] = part
            self._held, data = self._held + len(part), data[len(part) :]
            if self._held == BLOCK_BYTES or last:
                self._flush(buffer)

    def close(self) -> None:
        self._appender.close()

    def _flush(self, buffer: mmap.mmap) -> None:
        with memoryview(buffer) as view, view[: self._held] as held:
            self._append(held)
        self._held = 0

    def _append(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            with data[done:] as rest:
                done += self._appender.write(rest)


def recover_members(files: Files, folder: Path) -> tuple[Member, ...]:
    """The whole members an earlier run left, durable; what comes after the first that is not whole is removed."""
    members: list[Member] = []
    names = files.names(folder)
    for name in names:
        member = _parse_name(name, len(members))
        if member is None or not _is_whole(files, folder / name, member):
            break
        members.append(member)
    for name in names[len(members) :]:
        files.remove(folder / name)
    files.sync_all(folder)
    return tuple(members)


def offset_of(members: Sequence[Member], size_bytes: int | None) -> int:
    """Where the stream is that brought these members: behind the last one, or at its end if nothing but that is left
    of the announced length."""
    offset = sum(member.span_bytes for member in members)
    return offset + len(END) if members and offset + len(END) == size_bytes else offset


def remove_bundle(files: Files, folder: Path) -> None:
    """Removes the folder and what is in it; fine if there is none. Raises OSError."""
    for name in files.names(folder):
        with contextlib.suppress(FileNotFoundError):
            files.remove(folder / name)
    with contextlib.suppress(FileNotFoundError):
        files.remove_folder(folder)


def _parse_name(name: str, number: int) -> Member | None:
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) != number:
        return None
    try:
        return Member(purpose=Purpose(match[2]), digest=Digest.sha256(match[3]), size_bytes=int(match[4]))
    except (ValueError, ProtocolError):
        return None


def _is_whole(files: Files, path: Path, member: Member) -> bool:
    """Also protected: an empty member has all its bytes before it has its mode."""
    if files.mode(path) & _WRITABLE:
        return False
    hasher = hashlib.sha256()
    files.sync_file(path)  # what only the page cache has must not be taken for what the disk has
    size = files.reread(path, hasher.update)
    return size == member.size_bytes and hasher.hexdigest() == member.digest.hex
