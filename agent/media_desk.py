"""The media desk: one original after another, its facts and renditions made, signed and journalled.

Nothing here delays offload or delivery, and whatever a file does to its probe, the original stays stored. What
cannot be probed or rendered is answered by a signed statement that says why.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from agent.doorbells import Doorbells
from agent.errors import AgentError, MediaError, SandboxUnavailableError
from agent.media.meaning import claimed_recorder, claimed_start, duration_ms, facts_json
from agent.media.plan import NotRendered, RenditionPlan, plan_renditions
from agent.media.port import OriginalFacts, RenderedFile, Renderer
from agent.offload.testimony import Testimony
from agent.spool.journal import Journal
from agent.spool.records import MediaJob, Purpose
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.limits import MAX_TEXT_CHARS
from protocol.statements import Media, Problem, Rendered, Rendition, parse_statement

logger = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
"""A job begun so often and never finished probably kills its process: it is given up with a statement."""

_PERIOD_S: Final = 15.0
_PAUSE_AFTER_FAILURE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """What the desk does now: shown in the station's status. ``share`` is 0 to 1."""

    manifest: Digest
    rendition: str
    share: float


class MediaDesk:
    """Runs media jobs one at a time. ``folder`` is its own place for unfinished renditions, on the spool's disk."""

    def __init__(
        self,
        *,
        journal: Journal,
        renderer: Renderer,
        testimony: Testimony,
        doorbells: Doorbells,
        folder: Path,
        zone: tzinfo,
    ) -> None:
        self._journal = journal
        self._renderer = renderer
        self._testimony = testimony
        self._doorbells = doorbells
        self._folder = folder
        self._zone = zone
        self.working: Working | None = None

    async def run(self) -> None:
        """Until cancelled. A job that fails for the station's own reasons (disk, sandbox) is tried again later."""
        while True:
            (job,) = await asyncio.to_thread(self._journal.open_media_jobs, 1) or (None,)
            if job is None:
                await self._doorbells.media.wait(_PERIOD_S)
                continue
            try:
                await self.work(job)
            except (AgentError, OSError) as error:
                logger.error("media.job_postponed digest=%s error=%s", job.digest, error)
                await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
            finally:
                self.working = None

    async def work(self, job: MediaJob) -> None:
        """Do what is still to be done for one original. Raises AgentError or OSError of the station's own."""
        done = await asyncio.to_thread(self._journal.media_statements, job.manifest)
        statements = [parse_statement(Envelope.from_bytes(envelope).payload) for envelope in done]
        await asyncio.to_thread(self._journal.begin_media_job, job.manifest)
        facts, problem = await self._find_facts(job)
        if not any(isinstance(statement, Media) for statement in statements):
            await self._state_media(job, facts, problem)
        made = {statement.rendition for statement in statements if isinstance(statement, Rendition)}
        if facts is not None:
            for decision in plan_renditions(job.media_type, facts):
                if decision.kind not in made:
                    await self._carry_out(job, decision)
        elif problem is not None and not made:
            await self._record(job, _kind_missed(job), problem)
        await asyncio.to_thread(self._journal.close_media_job, job.manifest, self._testimony.clock())

    async def _find_facts(self, job: MediaJob) -> tuple[OriginalFacts | None, Problem | None]:
        if not job.media_type.startswith(("video/", "audio/", "image/")):
            return None, Problem(code="not-media", detail=f"{job.media_type} is no recording or photograph")
        if job.attempts >= MAX_ATTEMPTS:
            return None, Problem(
                code="media-crashed", detail="probing this file ended the process repeatedly"
            )
        try:
            return await self._renderer.facts(job.path, job.media_type), None
        except SandboxUnavailableError:
            raise
        except MediaError as error:
            return None, _problem(error)

    async def _state_media(self, job: MediaJob, facts: OriginalFacts | None, problem: Problem | None) -> None:
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

    async def _carry_out(self, job: MediaJob, decision: RenditionPlan | NotRendered) -> None:
        if isinstance(decision, NotRendered):
            await self._record(job, decision.kind, Problem(code=decision.code, detail=decision.why))
            return
        self.working = Working(manifest=job.manifest, rendition=decision.kind, share=0.0)
        try:
            made = await self._renderer.render(
                decision,
                job.path,
                self._folder,
                lambda share: self._show(job, decision, share),
            )
        except SandboxUnavailableError:
            raise
        except MediaError as error:
            logger.warning("media.not_rendered digest=%s code=%s", job.digest, error.code)
            await self._record(job, decision.kind, _problem(error))
        else:
            await asyncio.to_thread(self._record_made, job, decision, made)
            self._doorbells.statements.ring()
            self._doorbells.deliveries.ring()

    def _show(self, job: MediaJob, plan: RenditionPlan, share: float) -> None:
        self.working = Working(manifest=job.manifest, rendition=plan.kind, share=share)

    async def _record(self, job: MediaJob, kind: str, problem: Problem) -> None:
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


def _kind_missed(job: MediaJob) -> str:
    return "thumbnail" if job.media_type.startswith("image/") else "playable"


def _method(plan: RenditionPlan, made: RenderedFile) -> str:
    """A fallback may have transcoded what was planned as a copy: the recipe knows."""
    if plan.method == "remux" and "libx264" in made.recipe.arguments:
        return "transcode"
    return plan.method


def _problem(error: MediaError) -> Problem:
    return Problem(code=error.code, detail=str(error)[:MAX_TEXT_CHARS] or error.code)
