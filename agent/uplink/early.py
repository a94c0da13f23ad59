"""Early delivery: bytes of a file still being read go up while the rest comes in.

Best effort by design: whatever goes wrong here is left to the ordinary delivery, which starts once the manifest is
journalled and takes over the same upload address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from agent.core.retry import Backoff
from agent.errors import AgentError
from agent.offload.growing import GrowingFile
from agent.uplink.errors import SourceError
from agent.uplink.patience import Gate, Random, failure_of
from agent.uplink.sources import OpenFile
from agent.uplink.tus import TusClient, UploadOrder
from protocol.digest import Digest
from protocol.upload import Purpose

SLOTS: Final = 2
"""Early uploads at a time: they share the line with deliveries whose manifests are already out."""

_log = logging.getLogger(__name__)


class GrowingSource:
    """A growing file as the upload client wants it."""

    def __init__(self, growing: GrowingFile) -> None:
        self._growing = growing
        self.name = growing.path.name
        self.size_bytes = growing.expected_bytes
        self.is_whole = False

    def open(self) -> OpenFile:
        """The file is opened under the name it has while it grows; publishing may rename it afterwards."""
        self._growing.window.widen()
        return OpenFile(self._growing.path, self._growing.window.copy)

    async def wait_beyond(self, offset_bytes: int) -> int:
        available = await self._growing.wait_beyond(offset_bytes)
        if self._growing.has_failed:
            raise SourceError("the read ended without an original")
        return available


@dataclass(slots=True)
class _Active:
    """An early upload under way and where it goes."""

    growing: GrowingFile
    url: str | None


class EarlyUploads:
    """Implements ``agent.offload.growing.EarlyDelivery``."""

    def __init__(
        self, *, tus: TusClient, gate: Gate, backoff: Backoff, random: Random, slots: int = SLOTS
    ) -> None:
        self._tus = tus
        self._gate = gate
        self._backoff = backoff
        self._random = random
        self._slots = slots
        self._tasks: asyncio.TaskGroup | None = None
        self._active: dict[asyncio.Task[None], _Active] = {}

    @property
    def active(self) -> int:
        """Early uploads under way."""
        return len(self._active)

    async def run(self) -> None:
        """Owns the uploads; offers before and after are left to ordinary delivery."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def offer(
        self,
        growing: GrowingFile,
        *,
        agency: str,
        upload_url: str | None,
        remember_url: Callable[[str | None], Awaitable[None]],
    ) -> None:
        if self._tasks is None or len(self._active) >= self._slots or self._gate.wait_s() > 0:
            return
        work = self._deliver(growing, agency, upload_url, remember_url)
        task = self._tasks.create_task(work, name=f"early upload {growing.path.name[:12]}")
        self._active[task] = _Active(growing=growing, url=upload_url)
        task.add_done_callback(lambda ended: self._active.pop(ended, None))

    async def finished(self, digest: Digest, url: str | None) -> str | None:
        """Until no early upload works on these bytes or this address: two senders of one upload would only cut each
        other off, and two uploads of the same bytes cost the line twice. The address to go on with."""
        for task, active in list(self._active.items()):
            if active.growing.digest == digest or (url is not None and active.url == url):
                await asyncio.wait({task})
                url = active.url
        return url

    async def _deliver(
        self,
        growing: GrowingFile,
        agency: str,
        url: str | None,
        remember_url: Callable[[str | None], Awaitable[None]],
    ) -> None:
        order = UploadOrder(agency=agency, purpose=Purpose.ORIGINAL, digest=None)
        task = asyncio.current_task()
        assert task is not None

        async def keep(new: str | None) -> None:
            nonlocal url
            url = self._active[task].url = new
            await remember_url(new)

        for attempt in range(1, 1_000_000):
            try:
                await self._tus.upload(
                    GrowingSource(growing), order, url=url, keep_url=keep, note_progress=lambda _: None
                )
            except AgentError as error:
                failure = failure_of(error)
                _log.info("early-upload-interrupted", extra={"code": failure.code, "detail": failure.detail})
                if not failure.retryable or await _has_ended(
                    growing, self._backoff.delay_s(attempt, self._random())
                ):
                    return
            else:
                self._gate.note_answer()
                return


async def _has_ended(growing: GrowingFile, within_s: float) -> bool:
    """Once the read is over, ordinary delivery has the file."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await growing.wait_ended()
            return True
    return False
