"""What renditions cost: the station's own job, in its sandbox, with its checks; and the bare ffmpeg command it runs.

Both run at the station's priority for renditions, so that other load slows both alike.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.media.commands import render_command
from agent.media.plan import RenditionPlan, attempts_of, plan_renditions
from agent.media.render import FfmpegRenderer
from agent.media.sandbox import OUTPUT_FOLDER, inside_name
from scripts.bench_data import DataSet
from scripts.bench_measure import (
    Round,
    Usage,
    count_orphans,
    prepare,
    reap_orphans,
    run_measured,
    stopwatch,
)

_AS_THE_STATION: Final = ("nice", "-n", "19", "ionice", "-t", "-c", "3")
_MEDIA_TYPE: Final = "video/mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """How a clip is repackaged and how it is transcoded, as the station would decide."""

    renderer: FfmpegRenderer
    remux: RenditionPlan
    transcode: RenditionPlan

    @classmethod
    async def of(cls, clip: Path) -> Jobs:
        """Raises MediaError."""
        renderer = await FfmpegRenderer.open()
        first, *_ = plan_renditions(_MEDIA_TYPE, await renderer.facts(clip, _MEDIA_TYPE))
        assert isinstance(first, RenditionPlan)
        remux, transcode = attempts_of(first)
        return cls(renderer=renderer, remux=remux, transcode=transcode)


def by_station(jobs: Jobs, plan: RenditionPlan, data: DataSet, scratch: Path) -> Round:
    """One rendition as the station makes it: made, looked at, published."""
    scratch.mkdir(parents=True)
    prepare(data)
    count_orphans()  # the sandbox does not wait for what ran in it
    before = os.times()
    with stopwatch() as taken:
        asyncio.run(jobs.renderer.render(plan, data.files[0], scratch))
    reap_orphans()
    shutil.rmtree(scratch)
    return Round(seconds=taken[0], processes=_used(before, os.times()))


def by_ffmpeg(plan: RenditionPlan, data: DataSet, scratch: Path) -> Round:
    """The same command by itself."""
    scratch.mkdir(parents=True)
    prepare(data)
    command = [*_AS_THE_STATION, *_outside(render_command(plan, data.files[0]), data.files[0], scratch)]
    begun = time.perf_counter()
    used = run_measured(command, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    shutil.rmtree(scratch)
    return Round(seconds=seconds, processes={"ffmpeg": used})


def _outside(command: list[str], clip: Path, folder: Path) -> list[str]:
    """The names the files have outside the sandbox."""
    names = {inside_name(clip): str(clip)}
    return [names.get(part, part.replace(OUTPUT_FOLDER, str(folder), 1)) for part in command]


def _used(before: os.times_result, after: os.times_result) -> Mapping[str, Usage]:
    own = after.user - before.user + after.system - before.system
    children = after.children_user - before.children_user + after.children_system - before.children_system
    return {"job": Usage(cpu_s=own, children_cpu_s=children)}
