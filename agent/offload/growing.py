"""Early delivery: a big file's bytes go to the collector while the rest is still being read.

Early bytes are staging only. The collector stores nothing without an admitted manifest and matches by digest, so a
read that fails or starts anew costs bandwidth and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from agent.offload.reader import block_buffer
from agent.offload.window import Window
from protocol.digest import Digest

EARLY_FROM_BYTES: Final = 8 * 1024 * 1024
"""Smaller files are read before an upload has begun."""


class GrowingFile:
    """A file in the spool that is being written (正在采集的文件). Belongs to the event loop; the reader's thread
    reports through ``grow_from_thread`` and ``grow`` runs on the loop.

    Publishing renames the file: a descriptor opened before stays good, ``path`` does not. ``window`` is where the
    reader's last pieces are.
    """

    def __init__(self, path: Path, expected_bytes: int, available_bytes: int = 0) -> None:
        self.path = path
        self.expected_bytes = expected_bytes
        self._available_bytes = available_bytes
        self._digest: Digest | None = None
        self._has_ended = False
        self.window = Window(block_buffer)
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def available_bytes(self) -> int:
        """Bytes that can be read from ``path``. They need not be durable yet."""
        return self._available_bytes

    @property
    def digest(self) -> Digest | None:
        """The digest of the whole once it is read, re-read and published; None before and after a failure."""
        return self._digest

    @property
    def has_failed(self) -> bool:
        """The read ended without an original. Whoever delivers early stops; the address stays for a next read."""
        return self._has_ended and self._digest is None

    async def wait_beyond(self, offset: int) -> int:
        """Until there are more than ``offset`` bytes or the read has ended; the bytes available then, which are not
        more than ``offset`` only at the end."""
        while self._available_bytes <= offset and not self._has_ended:
            self._changed.clear()
            await self._changed.wait()
        return self._available_bytes

    async def wait_ended(self) -> Digest | None:
        """The digest of the published whole, or None when the read failed."""
        while not self._has_ended:
            self._changed.clear()
            await self._changed.wait()
        return self._digest

    def grow_from_thread(self, available_bytes: int) -> None:
        self._loop.call_soon_threadsafe(self._grow, available_bytes)

    def _grow(self, available_bytes: int) -> None:
        self._available_bytes = max(self._available_bytes, available_bytes)
        self._changed.set()

    def end(self, digest: Digest | None) -> None:
        """Called once, on the loop, after the manifest is journalled or the read was given up."""
        self._digest = digest
        self._has_ended = True
        self._changed.set()


class EarlyDelivery(Protocol):
    """Takes growing files to deliver. May ignore them: ordinary delivery follows the manifest anyway."""

    def offer(
        self,
        growing: GrowingFile,
        *,
        agency: str,
        upload_url: str | None,
        remember_url: Callable[[str | None], Awaitable[None]],
    ) -> None:
        """Start, or go on at ``upload_url``, in a task of the implementation. Never blocks and never raises.

        ``remember_url`` journals where the upload goes; the delivery of the finished original takes that over.
        """
