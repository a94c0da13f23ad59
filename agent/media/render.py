"""The real renderer: ffprobe, ffmpeg and exifread behind the ``Renderer`` port.

Everything ffmpeg makes is verified before it is published. How many renditions run at once is the caller's choice;
each runs at idle priority, so that it never delays offload or delivery.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from agent.errors import (
    MediaUnreadableError,
    RenditionFailedError,
    RenditionShortError,
    SandboxUnavailableError,
)
from agent.media.commands import output_name, render_command
from agent.media.exif import ExifFacts, photo_facts
from agent.media.limits import PHOTO_HEAD_BYTES, PROBE_BUDGET, STILL_BUDGET, Budget, playable_budget
from agent.media.picture import READABLE_TYPES
from agent.media.plan import RenditionPlan, attempts_of
from agent.media.port import OriginalFacts, Recipe, RenderedFile
from agent.media.probe import probe
from agent.media.progress import OnProgress, ProgressMeter
from agent.media.publish import Published, publish, require_output, work_folder
from agent.media.sandbox import Sandbox
from agent.media.text import clean_text, last_lines
from agent.media.verify import verify_faststart, verify_playable, verify_still

_VERSION: Final = re.compile(rb"ffmpeg version (\S+)")


class FfmpegRenderer:
    """Makes facts and renditions with ffmpeg in a sandbox. ``open`` it once, use it from any number of tasks."""

    def __init__(self, sandbox: Sandbox, *, version: str) -> None:
        self._sandbox = sandbox
        self._version = version

    @classmethod
    async def open(cls, sandbox: Sandbox | None = None) -> FfmpegRenderer:
        """Check that sandbox and ffmpeg work here, and read its version once. Raises SandboxUnavailableError."""
        sandbox = sandbox or Sandbox()
        await sandbox.check()
        return cls(sandbox, version=await _read_version(sandbox))

    async def facts(self, original: Path, media_type: str) -> OriginalFacts:
        """See ``Renderer.facts``. Photographs are read by this process: a child for each would cost 50 times more."""
        if media_type.startswith("image/"):
            if media_type not in READABLE_TYPES:
                return ExifFacts()
            return photo_facts(await asyncio.to_thread(_read_head, original))
        return await probe(self._sandbox, original)

    async def render(
        self,
        plan: RenditionPlan,
        original: Path,
        output_folder: Path,
        on_progress: OnProgress | None = None,
    ) -> RenderedFile:
        """See ``Renderer.render``. Tries the plan, then its fallbacks; the recipe names what made the file."""
        meter = ProgressMeter(plan.duration_s, on_progress or (lambda _share: None))
        failure: RenditionFailedError | None = None
        for attempt in attempts_of(plan):
            try:
                return await self._attempt(attempt, original, output_folder, meter)
            except RenditionShortError:
                raise  # the original is cut off: another method would find no more of it
            except RenditionFailedError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    async def _attempt(
        self, plan: RenditionPlan, original: Path, output_folder: Path, meter: ProgressMeter
    ) -> RenderedFile:
        command = render_command(plan, original)
        with work_folder(output_folder) as folder:
            made = folder / output_name(plan)
            await self._run_ffmpeg(plan, command, original, folder, meter)
            await self._verify(plan, made)
            published = await asyncio.to_thread(publish, made, output_folder)
        return _rendered(
            plan, published, Recipe(tool="ffmpeg", version=self._version, arguments=tuple(command))
        )

    async def _run_ffmpeg(
        self, plan: RenditionPlan, command: list[str], original: Path, folder: Path, meter: ProgressMeter
    ) -> None:
        outcome = await self._sandbox.run(
            command,
            budget=_budget(plan, original),
            input_path=original,
            output_folder=folder,
            idle=True,
            on_line=meter.take_line,
        )
        if outcome.exit_status != 0:
            raise RenditionFailedError(f"ffmpeg failed: {last_lines(outcome.message)}")

    async def _verify(self, plan: RenditionPlan, made: Path) -> None:
        require_output(made)
        if plan.still is not None:
            verify_still(plan.still, await asyncio.to_thread(made.read_bytes))
            return
        try:
            verify_playable(plan, await probe(self._sandbox, made))
        except MediaUnreadableError as error:
            raise RenditionFailedError(f"the rendition cannot be read back: {error}") from error
        await asyncio.to_thread(_verify_faststart_of, made)


async def _read_version(sandbox: Sandbox) -> str:
    outcome = await sandbox.run(["ffmpeg", "-version"], budget=PROBE_BUDGET)
    match = _VERSION.match(outcome.output)
    version = clean_text(match[1]) if match and outcome.exit_status == 0 else None
    if version is None:
        raise SandboxUnavailableError(
            f"ffmpeg does not run in the sandbox: {last_lines(outcome.message)}; install it (apt install ffmpeg)"
        )
    return version


def _budget(plan: RenditionPlan, original: Path) -> Budget:
    if plan.still is not None:
        return STILL_BUDGET
    return playable_budget(duration_s=plan.duration_s, original_size_bytes=original.stat().st_size)


def _read_head(original: Path) -> bytes:
    try:
        with original.open("rb") as file:
            return file.read(PHOTO_HEAD_BYTES)
    except OSError as error:
        raise MediaUnreadableError(f"the original cannot be read: {error.strerror}") from error


def _verify_faststart_of(made: Path) -> None:
    with made.open("rb") as file:
        verify_faststart(file)


def _rendered(plan: RenditionPlan, published: Published, recipe: Recipe) -> RenderedFile:
    return RenderedFile(
        kind=plan.kind,
        path=published.path,
        media_type=plan.media_type,
        size_bytes=published.size_bytes,
        sha256=published.sha256,
        recipe=recipe,
    )
