"""Offloads the rows of an inventory (采集): each file read once, published, and its manifest journalled.

Files go in planned order, small ones in batches; while one is settled (published, signed, journalled) the next is
being read. A file in trouble is tried again after the others, so that one bad sector does not keep a whole shift
waiting. What is decided is in ``agent.core.offload``; here it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Final

from agent.core.offload import (
    SMALL_BYTES,
    GiveUp,
    ListAgain,
    StopVisit,
    TryAgain,
    WaitForSpace,
    decide_after,
    plan_batches,
)
from agent.errors import AgentError
from agent.offload.batch import Batch, copy_batch, make_durable
from agent.offload.errors import StationStorageError
from agent.offload.growing import EARLY_FROM_BYTES, GrowingFile
from agent.offload.progress import Progress
from agent.offload.reader import Copied, ReadObserver, block_buffer
from agent.offload.room import wait_for_room
from agent.offload.settings import Threads, VisitTools
from agent.offload.settler import Finished, Settler, Subject
from agent.offload.single import Begun, begin_single, read_single
from agent.offload.troubles import trouble_of
from agent.offload.turns import HubTurns
from agent.offload.window import Window
from agent.ports import RecorderVolume
from agent.spool.records import FileKey, RowToRead
from firmware_profiles.names import claims_from_path
from protocol.digest import Digest

_LOG: Final = logging.getLogger(__name__)

_PAGE_ROWS: Final = 512
"""Rows taken from the journal at a time: memory stays flat however many files there are."""


class Offloader:
    """Reads for one visit. ``waiting`` is told when back-pressure begins and ends; ``session`` names the unbroken watch
    over the volume."""

    def __init__(
        self,
        volume: RecorderVolume,
        *,
        tools: VisitTools,
        threads: Threads,
        turns: HubTurns,
        progress: Progress,
        waiting: Callable[[bool], None],
        session: str,
    ) -> None:
        self._volume = volume
        self._tools = tools
        self._journal = tools.journal
        self._threads = threads
        self._turns = turns
        self._progress = progress
        self._waiting = waiting
        self._session = session
        self._subject: Subject
        self._settler: Settler
        self._stop = threading.Event()
        self._failures: Counter[FileKey] = Counter()
        self._furthest: Counter[FileKey] = Counter()
        self._again: list[tuple[RowToRead, float]] = []
        self._settling: asyncio.Task[None] | None = None
        self._list_again = False

    async def read_rows(
        self, inventory: Digest, subject: Subject, wants_relisting: Callable[[], bool]
    ) -> bool:
        """Read until every row of the inventory is read, given up, or left for a later inventory; stop between files
        when ``wants_relisting``. True when the volume is to be listed again.

        Raises VolumeVanishedError, VolumeUnreadableError, StationStorageError; what was read is journalled and the
        rest resumable.
        """
        self._subject = subject
        self._settler = Settler(subject, self._tools, self._progress, session=self._session)
        self._list_again = False
        self._again = []
        try:
            await self._read_pages(inventory, wants_relisting)
            await self._settled()
            while self._again and not wants_relisting():
                await self._try_again()
        finally:
            await self._abandon_settling()
        return self._list_again or wants_relisting()

    @property
    def met_moving_file(self) -> bool:
        """Whether a file was another one when it was read than when it was listed."""
        return self._list_again

    async def _read_pages(self, inventory: Digest, wants_relisting: Callable[[], bool]) -> None:
        last: RowToRead | None = None
        while page := await asyncio.to_thread(self._journal.rows_to_read, inventory, _PAGE_ROWS, after=last):
            last = page[-1]
            for rows in plan_batches(page):
                if wants_relisting():
                    return
                await self._read(rows)

    async def _try_again(self) -> None:
        rows, self._again = self._again, []
        await asyncio.sleep(max(pause_s for _, pause_s in rows))
        for row, _ in rows:
            await self._read([row])
        await self._settled()

    async def _read(self, rows: Sequence[RowToRead]) -> None:
        await wait_for_room(sum(row.size_bytes for row in rows), self._tools, self._waiting)
        async with self._turns.taken(urgent=self._is_urgent(rows[0])):
            if rows[0].size_bytes < SMALL_BYTES:
                await self._read_batch(rows)
            else:
                await self._read_single(rows[0])

    def _is_urgent(self, row: RowToRead) -> bool:
        return claims_from_path(self._subject.profile, row.shown, self._tools.settings.zone).marked

    async def _read_batch(self, rows: Sequence[RowToRead]) -> None:
        batch = await self._threads.call(
            self._stop,
            copy_batch,
            self._volume,
            rows,
            self._journal.files,
            new_id=self._tools.new_id,
            clock=self._tools.clock,
            stop=self._stop,
        )
        await self._settle_beside(self._settle_batch(batch), f"settle {len(batch.copied)} files")

    async def _settle_batch(self, batch: Batch) -> None:
        attempts = {item.row.key: self._failures[item.row.key] + 1 for item in batch.copied}
        try:
            await self._threads.call(self._stop, self._finish_batch, batch, attempts)
        except AgentError as error:
            met = {row.id for row, _ in batch.troubled}  # once each, or a row is read and manifested twice
            for item in batch.copied:
                if item.row.id not in met:
                    await self._meet(item.row, error)
        self._ring()
        for row, trouble in batch.troubled:
            await self._meet(row, trouble)
        self._again.extend((row, 0.0) for row in batch.untried)

    def _finish_batch(self, batch: Batch, attempts: dict[FileKey, int]) -> None:
        self._settler.settle(
            [
                Finished(
                    row=item.row,
                    name=item.name,
                    copied=item.copied,
                    started_at=item.started_at,
                    finished_at=item.finished_at,
                    attempts=attempts[item.row.key],
                    resumed=False,
                )
                for item in make_durable(batch, self._journal.files)
            ]
        )

    async def _read_single(self, row: RowToRead) -> None:
        offered: list[GrowingFile] = []
        try:
            finished = await self._threads.call(
                self._stop, self._finish_single, row, offered, asyncio.get_running_loop()
            )
        except BaseException as error:
            self._progress.forget(row.id)
            for growing in offered:
                growing.end(None)
            if not isinstance(error, AgentError):
                raise
            await self._meet(row, error)
        else:
            await self._settle_beside(self._settle_single(finished, offered), f"settle row {row.id.row}")

    def _finish_single(
        self, row: RowToRead, offered: list[GrowingFile], loop: asyncio.AbstractEventLoop
    ) -> Finished:
        """On a worker thread: begin or resume, offer for early delivery, read to the end."""
        begun = begin_single(
            row, self._volume, self._journal, new_id=self._tools.new_id, now=self._tools.clock()
        )
        with contextlib.closing(begun.partial):
            asyncio.run_coroutine_threadsafe(self._offer_early(begun, offered), loop).result()
            read = begun.read
            copied, finished_at = self._read_rest(begun, offered)
        return Finished(
            row=row,
            name=read.name,
            copied=copied,
            started_at=read.read_started_at,
            finished_at=finished_at,
            attempts=read.attempts,
            resumed=read.resumed,
        )

    def _read_rest(self, begun: Begun, offered: Sequence[GrowingFile]) -> tuple[Copied, datetime]:
        """Also when the recorder gave the last byte, which is before the re-read has ended."""
        finished_at: list[datetime] = []

        def written(bytes_read: int) -> None:
            self._progress.note(begun.row.id, bytes_read, self._tools.clock())
            for growing in offered:
                growing.grow_from_thread(bytes_read)

        def durable(durable_bytes: int, prefix: Digest) -> None:
            self._journal.note_durable_bytes(begun.row.key, durable_bytes, prefix)
            self._forgive(begun.row.key, durable_bytes)

        copied = read_single(
            begun,
            self._volume,
            self._journal,
            slot=(offered[0].window if offered else Window(block_buffer)).slot,
            stop=self._stop,
            observer=ReadObserver(
                written=written, durable=durable, whole=lambda: finished_at.append(self._tools.clock())
            ),
            re_reader=self._threads.re_readers,
            now=self._tools.clock,
        )
        return copied, finished_at[-1]

    def _forgive(self, key: FileKey, durable_bytes: int) -> None:
        """Only attempts that bring no further bytes count as failures."""
        if durable_bytes > self._furthest[key]:
            self._furthest[key] = durable_bytes
            self._failures[key] = 0

    async def _offer_early(self, begun: Begun, offered: list[GrowingFile]) -> None:
        row = begun.row
        if self._tools.early is None or row.size_bytes < EARLY_FROM_BYTES:
            return
        growing = GrowingFile(begun.partial.path, row.size_bytes, begun.prefix.size_bytes)
        offered.append(growing)

        def remember(url: str | None) -> Awaitable[None]:
            return asyncio.to_thread(self._journal.note_early_upload, row.key, url)

        self._tools.early.offer(
            growing, agency=row.agency, upload_url=begun.read.upload_url, remember_url=remember
        )

    async def _settle_single(self, finished: Finished, offered: Sequence[GrowingFile]) -> None:
        digest: Digest | None = None
        try:
            await self._threads.call(self._stop, self._settler.settle, [finished])
            digest = finished.copied.digest
        except AgentError as error:
            await self._meet(finished.row, error)
        finally:
            for growing in offered:
                growing.end(digest)
        self._ring()

    async def _meet(self, row: RowToRead, error: AgentError) -> None:
        """Do what the rules say about a file in trouble."""
        self._failures[row.key] += 1
        failures = self._failures[row.key]
        settings = self._tools.settings
        facts = {"visit": row.visit, "row": row.id.row, "code": error.code, "failures": failures}
        _LOG.warning("read in trouble", extra=facts)
        match decide_after(trouble_of(error), failures=failures, limits=settings.read_limits):
            case TryAgain(pause_s):
                self._again.append((row, pause_s))
            case WaitForSpace():
                self._again.append((row, settings.recheck_s))
            case ListAgain():
                self._list_again = True
            case GiveUp():
                give_up = functools.partial(self._settler.give_up, row, code=error.code, error=error)
                await self._threads.call(self._stop, give_up, failures=failures)
                self._tools.doorbells.statements.ring()
            case StopVisit(station_fault=True):
                raise StationStorageError(
                    f"the station's storage failed {failures} times: {error}"
                ) from error
            case StopVisit():
                raise error

    async def _settle_beside(self, work: Coroutine[None, None, None], name: str) -> None:
        """Start settling beside the next read; one at a time, so that manifests keep the order of reading."""
        try:
            await self._settled()
        except BaseException:
            work.close()
            raise
        self._settling = asyncio.create_task(work, name=name)

    async def _settled(self) -> None:
        """Wait for what is being settled; raises what it raised."""
        task, self._settling = self._settling, None
        if task is not None:
            await task

    async def _abandon_settling(self) -> None:
        """After an error elsewhere: what is being settled still gets its end."""
        task, self._settling = self._settling, None
        if task is not None:
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is not None:
                _LOG.warning("settling failed after the visit had ended", exc_info=task.exception())

    def _ring(self) -> None:
        bells = self._tools.doorbells
        for bell in (bells.statements, bells.deliveries, bells.media):
            bell.ring()
