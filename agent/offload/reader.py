"""Reads one file of a recorder once, into the spool, and knows its digest.

Guarantees: the digest is that of every byte the recorder gave, in order; what was read back from the station's disk
was compared with those bytes; the file was the one that was listed before the first byte and after the last. Whatever
ends a read early leaves a partial file that is good up to the journalled byte.

The comparison is by XXH3-128: it asks whether the disk kept what it was given, and finds every such accident at a
twenty-fifth of what a second SHA-256 costs (measured). The digest that is signed is always SHA-256.

Blocking code for threads. Re-reading trails the writing on a second thread, so that the end of a long file is known
good a moment after its last byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final, Protocol

import xxhash

from agent.core.offload import EarlierRead
from agent.errors import AgentError
from agent.ports import FileIdentity, FileReader, RecorderVolume
from agent.spool.errors import SpoolReadBackError
from agent.spool.files import BLOCK_BYTES, PartialFile
from agent.spool.records import FileKey, PartialRead
from agent.volumes.errors import FileChangedError, VolumeError
from protocol.digest import Digest

BUFFER_BYTES: Final = 1024 * 1024
"""Read at once. Hashing and direct writing gain nothing above it; a larger one only costs page faults (measured)."""

DURABLE_EVERY_BYTES: Final = 64 * 1024 * 1024
"""At most so much is read again after a crash; a sync costs little against it."""

DURABLE_LEAST_BYTES: Final = 16 * 1024 * 1024
"""Near its end a file is synced and re-read in stretches as short as what is still to come, but not shorter than this:
after the last byte little is left to re-read, and the announcement waits for that."""

HEAD_BYTES: Final = 1024
"""Start of a file that is kept to tell its media type."""


class ShortReadError(VolumeError):
    """The recorder's file ended before its stated size, or went on after it: a damaged file system."""

    code = "short-read"
    retryable = True


class ReadStoppedError(AgentError):
    """The read was told to stop. What is durable is journalled."""

    code = "read-stopped"
    retryable = True


class Updated(Protocol):
    """A hash under way."""

    @property
    def name(self) -> str: ...

    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Hash(Updated, Protocol):
    """What ``hashlib.sha256()`` returns."""

    def copy(self) -> Hash: ...


Slot = Callable[[int], memoryview]
"""The buffer into which the bytes from an offset on are to be read. As ``block_buffer`` makes them, all of one size."""


def block_buffer(size_bytes: int = BUFFER_BYTES) -> memoryview:
    """A buffer that direct I/O accepts: whole pages. Reused for a whole read; freed with its last view."""
    return memoryview(mmap.mmap(-1, size_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The bytes of a partial file that are certain: how many, and the running digest after them."""

    size_bytes: int
    running: Hash

    @classmethod
    def empty(cls) -> Prefix:
        return cls(size_bytes=0, running=hashlib.sha256())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadObserver:
    """Who is told of progress, on the reading thread: bytes written; bytes durable, with their digest; and, once, that
    the recorder has given its last byte."""

    written: Callable[[int], None]
    durable: Callable[[int, Digest], None]
    whole: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A whole file in the spool: digest and size, and how it starts. ``read_as`` is what the file was; None when a part
    of it was read before, perhaps from another file of the same name and size. ``passed`` is the XXH3-128 of its bytes
    where it is known, as hexadecimal text: what a re-read is compared with."""

    digest: Digest
    size_bytes: int
    head: bytes
    passed: str | None = None
    read_as: FileIdentity | None = None


def examine_partial(
    partial: PartialFile, earlier: PartialRead, volume: RecorderVolume, key: FileKey
) -> tuple[EarlierRead, Prefix]:
    """Re-hash what an earlier read left, and compare its first and last block with the recorder's file.

    Raises SpoolError, and the errors of ``RecorderVolume``.
    """
    running = hashlib.sha256()
    kept = hash_back(partial, running, 0, earlier.durable_bytes, block_buffer())
    agrees = kept > 0 and all(
        _same_block(partial, volume, key.path, offset) for offset in (0, max(0, kept - BLOCK_BYTES))
    )
    facts = EarlierRead(
        journalled_bytes=earlier.durable_bytes,
        kept_bytes=kept,
        prefix_holds=earlier.prefix == Digest.sha256(running.hexdigest()),
        recorder_agrees=agrees,
        time_known=key.modified_ns is not None,
    )
    return facts, Prefix(size_bytes=kept, running=running)


def hash_back(partial: PartialFile, running: Updated, offset: int, end: int, buffer: memoryview) -> int:
    """Feed the bytes from ``offset`` to ``end``, as the disk has them; where they ended."""
    while offset < end:
        wanted = (
            -(-(end - offset) // BLOCK_BYTES) * BLOCK_BYTES
        )  # a direct read fills what lies beyond with zeros
        count = min(partial.read_back(offset, buffer[:wanted]), end - offset)
        if count == 0:
            break
        running.update(buffer[:count])
        offset += count
    return offset


def _same_block(partial: PartialFile, volume: RecorderVolume, path: bytes, offset: int) -> bool:
    ours, theirs = block_buffer(BLOCK_BYTES), block_buffer(BLOCK_BYTES)
    count = partial.read_back(offset, ours)
    with volume.open_file(path, offset_bytes=offset) as source:
        given = _fill(source, theirs)
    return given == count and ours[:count] == theirs[:given]


def read_file(
    volume: RecorderVolume,
    key: FileKey,
    partial: PartialFile,
    *,
    prefix: Prefix,
    slot: Slot,
    stop: threading.Event,
    observer: ReadObserver,
    re_reader: Executor,
) -> Copied:
    """Read from the end of ``prefix`` to the end of the file and append to ``partial``; flush and re-read all of it.

    Re-reading goes on beside the reading. What is durable is reported, also when the read fails. Raises
    FileChangedError, FileUnreadableError, ShortReadError, PathUnsafeError, VolumeVanishedError, SpoolError,
    SpoolFullError, SpoolReadBackError, ReadStoppedError.
    """
    copy = _Copy(key, partial, prefix, observer)
    check = _TrailingCheck(partial, prefix.size_bytes, xxhash.xxh3_128(), block_buffer(), re_reader)
    try:
        copy.run(volume, slot, stop, check.follow)
        copy.flush()
    except BaseException:
        check.abandon()
        copy.save_progress()
        raise
    check.finish(copy.flushed_bytes, copy.passed)
    return Copied(
        digest=copy.digest,
        size_bytes=copy.size_bytes,
        head=copy.head or _head_of(partial),
        read_as=copy.read_as if prefix.size_bytes == 0 else None,
    )


def copy_file(
    volume: RecorderVolume, key: FileKey, partial: PartialFile, *, buffer: memoryview, stop: threading.Event
) -> Copied:
    """As ``read_file`` for a small file, from its beginning, but leaves flushing and re-reading to the caller."""
    copy = _Copy(key, partial, Prefix.empty(), None)
    copy.run(volume, lambda _: buffer, stop, lambda _: None)
    return Copied(
        digest=copy.digest,
        size_bytes=copy.size_bytes,
        head=copy.head,
        read_as=copy.read_as,
        passed=copy.passed,
    )


def re_read(partial: PartialFile, copied: Copied, buffer: memoryview) -> None:
    """Compare a flushed partial file with what was copied. Raises SpoolReadBackError, SpoolError."""
    hasher: Updated = hashlib.sha256() if copied.passed is None else xxhash.xxh3_128()
    check = _TrailingCheck(partial, 0, hasher, buffer)
    check.finish(copied.size_bytes, copied.passed or copied.digest.hex)


def _head_of(partial: PartialFile) -> bytes:
    block = block_buffer(BLOCK_BYTES)
    count = partial.read_back(0, block)
    return bytes(block[: min(count, HEAD_BYTES)])


def _require_listed(source: FileReader, key: FileKey) -> None:
    found = source.opened_as
    if found.size_bytes != key.size_bytes or key.modified_ns not in (None, found.modified_ns):
        raise FileChangedError("the file has another size or time than when it was listed")


def _fill(source: FileReader, buffer: memoryview) -> int:
    """Fill the buffer as far as the file goes: only the last piece of a file may be no multiple of a block."""
    filled = 0
    while filled < len(buffer):
        count = source.readinto(buffer[filled:])
        if count == 0:
            break
        filled += count
    return filled


class _Copy:
    """The state of one read: what was hashed is exactly what was appended."""

    def __init__(
        self, key: FileKey, partial: PartialFile, prefix: Prefix, observer: ReadObserver | None
    ) -> None:
        self._key = key
        self._partial = partial
        self._observer = observer
        self._running = prefix.running.copy()
        self._passing = xxhash.xxh3_128()
        self.size_bytes = prefix.size_bytes
        self.flushed_bytes = prefix.size_bytes
        self.head = b""
        self.read_as: FileIdentity | None = None
        self._may_flush = True

    @property
    def digest(self) -> Digest:
        return Digest.sha256(self._running.hexdigest())

    @property
    def passed(self) -> str:
        """XXH3-128 of what this read appended."""
        return self._passing.hexdigest()

    def run(
        self,
        volume: RecorderVolume,
        slot: Slot,
        stop: threading.Event,
        flushed: Callable[[int], None],
    ) -> None:
        """From where the prefix ends to the end of the file, which is checked to be the listed one throughout."""
        with volume.open_file(self._key.path, offset_bytes=self.size_bytes) as source:
            _require_listed(source, self._key)
            buffer = slot(self.size_bytes)
            while count := _fill(source, buffer):
                if stop.is_set():
                    raise ReadStoppedError(f"stopped after {self.size_bytes} bytes")
                self._take(buffer, count)
                if self._observer is not None and self._is_sync_due():
                    self.flush()
                    flushed(self.flushed_bytes)
                if count < len(buffer):
                    break
                buffer = slot(self.size_bytes)
            source.verify_unchanged()
            self.read_as = source.opened_as
        self._require_whole()
        if self._observer is not None:
            self._observer.whole()

    def _is_sync_due(self) -> bool:
        to_come = self._key.size_bytes - self.size_bytes
        stretch = min(DURABLE_EVERY_BYTES, max(DURABLE_LEAST_BYTES, to_come))
        return to_come > 0 and self.size_bytes - self.flushed_bytes >= stretch

    def _take(self, buffer: memoryview, count: int) -> None:
        if self.size_bytes + count > self._key.size_bytes:
            raise FileChangedError(f"the file goes on after its listed {self._key.size_bytes} bytes")
        piece = buffer[:count]
        if self.size_bytes == 0:
            self.head = bytes(piece[:HEAD_BYTES])
        self._partial.append(buffer, count)
        self._running.update(piece)
        self._passing.update(piece)
        self.size_bytes += count
        if self._observer is not None:
            self._observer.written(self.size_bytes)

    def _require_whole(self) -> None:
        if self.size_bytes != self._key.size_bytes:
            raise ShortReadError(
                f"{self.size_bytes} bytes of the listed {self._key.size_bytes} could be read"
            )

    def flush(self) -> None:
        self._may_flush = False
        self._partial.flush()
        self._may_flush = True
        self.flushed_bytes = self.size_bytes
        if self._observer is not None and self.size_bytes % BLOCK_BYTES == 0 and self.size_bytes > 0:
            self._observer.durable(self.size_bytes, self.digest)

    def save_progress(self) -> None:
        """After a failure, make durable what came before it; not after a failed flush, because a second one can
        succeed without the bytes the first one lost. The journal then still says what an earlier flush said."""
        if self._observer is not None and self._may_flush and self.size_bytes > self.flushed_bytes:
            with contextlib.suppress(AgentError):
                self.flush()


class _TrailingCheck:
    """Re-reads what is flushed, in order, and compares at the end. ``start_bytes`` were compared before."""

    def __init__(
        self,
        partial: PartialFile,
        start_bytes: int,
        hasher: Updated,
        buffer: memoryview,
        executor: Executor | None = None,
    ) -> None:
        self._partial = partial
        self._hasher = hasher
        self._checked_bytes = start_bytes
        self._executor = executor
        self._buffer = buffer
        self._task: Future[None] | None = None

    def follow(self, flushed_bytes: int) -> None:
        """Go on beside the reading, one stretch at a time. Raises what the stretch before met."""
        if self._executor is not None:
            self._join()
            self._task = self._executor.submit(self._check_to, flushed_bytes)

    def _check_to(self, end: int) -> None:
        self._checked_bytes = hash_back(self._partial, self._hasher, self._checked_bytes, end, self._buffer)

    def _join(self) -> None:
        if self._task is not None:
            self._task.result()
            self._task = None

    def abandon(self) -> None:
        """Wait for the stretch under way, whatever it meets: its file descriptor is about to be closed."""
        with contextlib.suppress(AgentError):
            self._join()

    def finish(self, size_bytes: int, expected: str) -> None:
        """Raises SpoolReadBackError when the disk holds other bytes than were read from the recorder."""
        self._join()
        self._check_to(size_bytes)
        found, kind = self._hasher.hexdigest(), self._hasher.name
        if found != expected or self._checked_bytes != size_bytes:
            raise SpoolReadBackError(written=f"{kind}:{expected}", read_back=f"{kind}:{found}")
