"""The port to the spool's files: bytes that are durable, re-readable past the page cache, and named by digest.

What the port promises, and its tests check on every implementation:

- what ``flush`` returned is still there after a power cut, and ``read_back`` reads it from the disk;
- a published blob is whole, read-only and durable together with its name, or it is not there at all;
- partial files of ``open_partial`` keep their name and at least their flushed bytes;
- nothing but ``remove`` takes a blob away.

Publishing does not compare digests: the caller has read back what it wrote before it gives a blob its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.spool.records import Purpose, ReceiptPlace
from protocol.digest import Digest

BLOCK_BYTES: Final = 4096
"""Appended pieces are multiples of this, except a file's last: direct writes need it on every common disk."""


class PartialFile(Protocol):
    """A file being written. One thread appends; another may read back what was flushed."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def path(self) -> Path: ...

    def append(self, buffer: memoryview, count: int) -> None:
        """Write the first ``count`` bytes of a buffer of whole pages after the last byte. Only the last piece of a
        file may be no multiple of ``BLOCK_BYTES``; what stands in the buffer behind it never stays in the file.
        Raises SpoolFullError, SpoolError."""

    def flush(self) -> int:
        """Make everything appended durable and return how much that is. Raises SpoolError; after that nothing is
        known about the unflushed bytes, so the file is only good up to the last flush that returned."""

    def read_back(self, offset: int, into: memoryview) -> int:
        """Read flushed bytes at a multiple of ``BLOCK_BYTES`` from the disk, not from memory. Short only at the end;
        0 at the end. Raises SpoolError."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A flushed and closed partial file and the name it is to have."""

    partial: str
    purpose: Purpose
    digest: Digest


class SpoolFiles(Protocol):
    """The spool (暂存区) as the agent uses it. Everything blocks."""

    def open_partial(self, name: str, keep_bytes: int) -> PartialFile:
        """Open or make a partial file and cut it to its first ``keep_bytes`` (fewer if it has fewer)."""

    def open_brief(self, name: str) -> PartialFile:
        """Make an empty partial file of whose name a power cut may leave nothing, until it is published: for small
        files, which are read again as a whole, syncing each name would cost more than the bytes."""

    def flush_all(self, partials: Sequence[PartialFile]) -> None:
        """As ``flush`` of each, which may cost as little as one. Raises SpoolError; after that none of them is good."""

    def publish(self, publications: Sequence[Publication]) -> None:
        """Give flushed partial files their final names, durably. A blob already there is replaced by equal bytes."""

    def adopt(self, file: Path, purpose: Purpose, digest: Digest) -> None:
        """Give a durable, read-only file made elsewhere in the spool's file system its name as a blob."""

    def discard_partial(self, name: str) -> None:
        """Forget a partial file; silent when there is none."""

    def partials(self) -> list[str]:
        """The names of all partial files."""

    def path(self, purpose: Purpose, digest: Digest) -> Path:
        """Where the blob lies or would lie."""

    def has(self, purpose: Purpose, digest: Digest) -> bool: ...

    def remove(self, purpose: Purpose, digest: Digest) -> None:
        """Take a blob away; silent when it is gone. The caller has a verified receipt."""

    def put_receipts(self, receipts: Sequence[bytes]) -> Sequence[ReceiptPlace]:
        """Keep receipts, each one line, durably under one flush. Where they lie, in their order."""

    def read_receipt(self, place: ReceiptPlace) -> bytes:
        """A kept receipt. Raises SpoolError."""

    def free_bytes(self) -> int:
        """Space that can still be written."""
