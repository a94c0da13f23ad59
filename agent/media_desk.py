"""The media desk: one original after another, its facts and renditions made, signed and journalled.

Nothing here delays offload or delivery, and whatever a file does to its probe, the original stays stored. What
cannot be probed or rendered is answered by a signed statement that says why: every original gets its media
statement, and one rendition statement for each kind that was to be made.

An attempt that the station interrupts (it stops, its sandbox is missing) is taken back. Any other that does not end
with statements counts, lets the other originals go first, and is the last but for ``MAX_ATTEMPTS``: a job that waited
for ever would keep its original in the spool for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from agent.doorbells import Doorbells
from agent.errors import AgentError, MediaError, SandboxUnavailableError
from agent.media.limits import STILL_BUDGET
from agent.media.meaning import claimed_recorder, claimed_start, duration_ms, facts_json
from agent.media.plan import NotRendered, RenditionKind, RenditionPlan, plan_renditions
from agent.media.port import OriginalFacts, RenderedFile, Renderer
from agent.media.publish import remove_leftovers
from agent.media.text import clean_text
from agent.offload.testimony import Testimony
from agent.spool.errors import JournalError, SpoolFullError
from agent.spool.journal import Journal
from agent.spool.records import MediaJob, Purpose
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.limits import MAX_TEXT_CHARS
from protocol.statements import Media, Problem, Rendered, Rendition, Statement, parse_statement

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""A job begun so often and never finished probably kills its process, or meets a disk that will not mend."""

PATIENCE_S: Final = 60.0
"""A job waits at most so long for the line to be quiet: a station that delivers day and night renders all the same."""

_PERIOD_S: Final = 15.0
_LOOK_S: Final = 0.5

OpenRenderer = Callable[[], Awaitable[Renderer]]
"""Raises SandboxUnavailableError while renditions cannot be made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """What the desk does now: shown in the station's status. ``share`` is 0 to 1."""

    manifest: Digest
    rendition: str
    share: float


class MediaDesk:
    """Runs media jobs one at a time. ``folder`` is its own place for unfinished renditions, on the spool's disk, where
    it leaves ``reserve_bytes`` free. ``obstacle`` says what keeps it from working, while something does."""

    def __init__(
        self,
        *,
        journal: Journal,
        open_renderer: OpenRenderer,
        testimony: Testimony,
        doorbells: Doorbells,
        folder: Path,
        zone: tzinfo,
        reserve_bytes: int = 0,
        pause_s: float = 30.0,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """``busy``: whether bytes are on their way from a recorder or to the collector, which rendering must not
        delay."""
        self._journal = journal
        self._open_renderer = open_renderer
        self._testimony = testimony
        self._doorbells = doorbells
        self._folder = folder
        self._zone = zone
        self._reserve_bytes = reserve_bytes
        self._pause_s = pause_s
        self._busy = busy
        self.working: Working | None = None
        self.obstacle: str | None = None

    async def run(self) -> None:
        """Until cancelled. Raises JournalError: then nothing can be relied on any more."""
        await asyncio.to_thread(self._prepare_folder)
        renderer = await self._wait_for_renderer()
        while True:
            jobs = await asyncio.to_thread(self._journal.open_media_jobs, 1)
            if jobs:
                await self._wait_for_quiet()
                await self._try(jobs[0], renderer)
            else:
                await self._doorbells.media.wait(_PERIOD_S)

    async def _wait_for_quiet(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self._busy():  # noqa: ASYNC110 - transfers begin and end too often to ring for each
                    await asyncio.sleep(_LOOK_S)

    def _prepare_folder(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        remove_leftovers(self._folder)

    async def _wait_for_renderer(self) -> Renderer:
        """Until a sandbox works here; originals are delivered all the same."""
        while True:
            try:
                renderer = await self._open_renderer()
            except SandboxUnavailableError as error:
                logger.error("media.no_sandbox", extra={"detail": str(error)})
                self.obstacle = str(error)
                await asyncio.sleep(2 * self._pause_s)
            else:
                self.obstacle = None
                return renderer

    async def _try(self, job: MediaJob, renderer: Renderer) -> None:
        try:
            await self.work(job, renderer)
        except JournalError:
            raise
        except (AgentError, OSError) as error:
            logger.error("media.job_postponed", extra={"digest": str(job.digest), "detail": str(error)})
            self.obstacle = str(error)
        except Exception as error:
            # A mistake of ours with one file must not take the whole station down with it.
            logger.exception("media.job_failed", extra={"digest": str(job.digest)})
            self.obstacle = repr(error)
        else:
            self.obstacle = None
        finally:
            self.working = None
        if self.obstacle is not None:
            await asyncio.sleep(self._pause_s)

    async def work(self, job: MediaJob, renderer: Renderer) -> None:
        """Do what is still to be done for one original. Raises AgentError or OSError of the station's own."""
        try:
            await asyncio.to_thread(self._journal.begin_media_job, job.manifest)
            await self._answer(job, renderer)
        except (SandboxUnavailableError, asyncio.CancelledError):
            await asyncio.shield(asyncio.to_thread(self._journal.return_media_job, job.manifest))
            raise

    async def _answer(self, job: MediaJob, renderer: Renderer) -> None:
        stated = await asyncio.to_thread(self._stated, job)
        found = await self._look_at(job, renderer)
        if not any(isinstance(statement, Media) for statement in stated):
            await self._state_media(job, found)
        made = {statement.rendition for statement in stated if isinstance(statement, Rendition)}
        if isinstance(found, Problem):
            for kind in _kinds_of(job.media_type):
                if kind not in made:
                    await self._state_no_rendition(job, kind, found)
        else:
            for decision in plan_renditions(job.media_type, found):
                if decision.kind not in made:
                    await self._carry_out(job, decision, renderer)
        await asyncio.to_thread(self._journal.close_media_job, job.manifest, self._testimony.clock())

    def _stated(self, job: MediaJob) -> Sequence[Statement]:
        """What an interrupted attempt has already stated."""
        envelopes = self._journal.media_statements(job.manifest)
        return [parse_statement(Envelope.from_bytes(envelope).payload) for envelope in envelopes]

    async def _look_at(self, job: MediaJob, renderer: Renderer) -> OriginalFacts | Problem:
        if not job.media_type.startswith(("video/", "audio/", "image/")):
            return Problem(code="not-media", detail=f"{job.media_type} is no recording or photograph")
        if job.attempts >= MAX_ATTEMPTS:
            return Problem(code="media-given-up", detail=f"begun {job.attempts} times and never finished")
        if not await asyncio.to_thread(self._journal.files.has, Purpose.ORIGINAL, job.digest):
            return Problem(code="original-missing", detail="the original is not in the station's spool")
        try:
            return await renderer.facts(job.path, job.media_type)
        except MediaError as error:
            return _final_problem(job, error)

    async def _state_media(self, job: MediaJob, found: OriginalFacts | Problem) -> None:
        facts, problem = (None, found) if isinstance(found, Problem) else (found, None)
        statement = Media(
            header=self._testimony.header(job.agency),
            original=job.digest,
            manifest=job.manifest,
            media_type=job.media_type,
            duration_ms=None if facts is None else duration_ms(facts),
            started_at=None if facts is None else claimed_start(facts, self._zone),
            recorder=None if facts is None else claimed_recorder(facts) or job.recorder,
            facts=None if facts is None else facts_json(facts),
            problem=problem,
        )
        await asyncio.to_thread(
            self._journal.record_media,
            job.manifest,
            self._testimony.signer.sign(statement),
            agency=job.agency,
            now=self._testimony.clock(),
        )
        self._doorbells.statements.ring()

    async def _carry_out(
        self, job: MediaJob, decision: RenditionPlan | NotRendered, renderer: Renderer
    ) -> None:
        if isinstance(decision, NotRendered):
            problem = Problem(code=decision.code, detail=decision.why)
            await self._state_no_rendition(job, decision.kind, problem)
            return
        try:
            made = await self._render(job, decision, renderer)
        except (MediaError, SpoolFullError) as error:
            problem = _final_problem(job, error)
            logger.warning("media.not_rendered", extra={"digest": str(job.digest), "code": error.code})
            await self._state_no_rendition(job, decision.kind, problem)
        else:
            await asyncio.to_thread(self._record_made, job, decision, made)
            self._doorbells.statements.ring()
            self._doorbells.deliveries.ring()

    async def _render(self, job: MediaJob, plan: RenditionPlan, renderer: Renderer) -> RenderedFile:
        self._show(job, plan, 0.0)
        await asyncio.to_thread(self._require_room, job, plan)
        return await renderer.render(plan, job.path, self._folder, lambda share: self._show(job, plan, share))

    def _require_room(self, job: MediaJob, plan: RenditionPlan) -> None:
        """Or a rendition would take the journal's last bytes. A playable copy is about as large as its original."""
        needed_bytes = STILL_BUDGET.file_size_bytes if plan.still is not None else job.size_bytes
        free_bytes = self._journal.files.free_bytes() - self._reserve_bytes
        if free_bytes < needed_bytes:
            raise SpoolFullError(
                f"no room for a rendition: {needed_bytes} bytes needed, {max(0, free_bytes)} may be used"
            )

    def _show(self, job: MediaJob, plan: RenditionPlan, share: float) -> None:
        self.working = Working(manifest=job.manifest, rendition=plan.kind, share=share)

    async def _state_no_rendition(self, job: MediaJob, kind: str, problem: Problem) -> None:
        envelope = self._sign(job, kind, None, problem)
        await asyncio.to_thread(
            self._journal.record_rendition,
            job.manifest,
            envelope,
            agency=job.agency,
            rendered=None,
            now=self._testimony.clock(),
        )
        self._doorbells.statements.ring()

    def _record_made(self, job: MediaJob, plan: RenditionPlan, made: RenderedFile) -> None:
        digest = Digest.sha256(made.sha256)
        rendered = Rendered(
            digest=digest,
            size_bytes=made.size_bytes,
            media_type=made.media_type,
            method=_method(plan, made),
            tool=made.recipe.tool,
            tool_version=made.recipe.version,
            arguments=made.recipe.arguments,
        )
        envelope = self._sign(job, plan.kind, rendered, None)
        with self._journal.naming:
            self._journal.files.adopt(made.path, Purpose.RENDITION, digest)
            self._journal.record_rendition(
                job.manifest,
                envelope,
                agency=job.agency,
                rendered=(digest, made.size_bytes),
                now=self._testimony.clock(),
            )

    def _sign(self, job: MediaJob, kind: str, rendered: Rendered | None, problem: Problem | None) -> Envelope:
        return self._testimony.signer.sign(
            Rendition(
                header=self._testimony.header(job.agency),
                original=job.digest,
                manifest=job.manifest,
                rendition=kind,
                rendered=rendered,
                problem=problem,
            )
        )


def _kinds_of(media_type: str) -> tuple[RenditionKind, ...]:
    """What would have been made of an original that nothing is known about but its type."""
    if media_type.startswith("image/"):
        return ("thumbnail",)
    return ("playable", "poster") if media_type.startswith("video/") else ("playable",)


def _method(plan: RenditionPlan, made: RenderedFile) -> str:
    """A fallback may have transcoded what was planned as a copy: the recipe knows."""
    if plan.method == "remux" and "libx264" in made.recipe.arguments:
        return "transcode"
    return plan.method


def _final_problem(job: MediaJob, error: AgentError) -> Problem:
    """What is stated of a failure. Raises it while it is the station's, or another attempt may go better."""
    is_last = job.attempts + 1 >= MAX_ATTEMPTS
    if isinstance(error, SandboxUnavailableError) or (error.retryable and not is_last):
        raise error
    return Problem(code=error.code, detail=clean_text(str(error), limit_chars=MAX_TEXT_CHARS) or error.code)
