"""Does a real browser play what we call playable? Chromium loads each rendition and tells what became of it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.media.facts import MediaFacts
from agent.media.plan import RenditionPlan, plan_renditions
from agent.media.render import FfmpegRenderer
from protocol.media_types import media_type_of
from tests.support.foreign import needs_program
from tests.support.material import MATERIAL, needs_material
from tests.support.media_lab import ffmpeg, make_h264

PAGE = """<!doctype html><title>t</title><video id=v muted playsinline></video><script>
const v = document.getElementById('v');
const tell = (outcome) => fetch('/told', {method: 'POST', body: JSON.stringify({
  outcome, duration: v.duration, width: v.videoWidth, at: v.currentTime,
  code: v.error && v.error.code, message: v.error && v.error.message})});
v.onerror = () => tell('error');
v.ontimeupdate = () => { if (v.currentTime > 0.3) { v.ontimeupdate = null; tell('playing'); } };
v.src = '/clip'; v.play().catch((e) => tell('refused: ' + e));
</script>"""

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


async def told_by_browser(clip: Path, media_type: str, profile: Path) -> Mapping[str, Any]:
    """Serve a page with the clip on loopback, let Chromium play it, return what the page reports."""

    chromium = needs_program("chromium", "chromium")
    told: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def serve(_: web.Request) -> web.FileResponse:
        return web.FileResponse(clip, headers={"Content-Type": media_type})

    async def take(request: web.Request) -> web.Response:
        if not told.done():
            told.set_result(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/clip", serve)
    app.router.add_post("/told", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    browser = await asyncio.create_subprocess_exec(
        chromium,
        *CHROMIUM_FLAGS,
        f"--user-data-dir={profile}",
        "--remote-debugging-port=0",
        f"http://127.0.0.1:{port}/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(90):
            return await told
    finally:
        browser.terminate()
        await browser.wait()
        await runner.cleanup()


async def playable_of(renderer: FfmpegRenderer, original: Path, folder: Path) -> tuple[Path, str]:
    folder.mkdir()
    media_type = media_type_of(original.name, original.read_bytes()[:4096])
    facts = await renderer.facts(original, media_type)
    assert isinstance(facts, MediaFacts)
    plan = next(plan for plan in plan_renditions(media_type, facts) if plan.kind == "playable")
    assert isinstance(plan, RenditionPlan)
    made = await renderer.render(plan, original, folder)
    return made.path, made.media_type


@pytest.mark.judge
@needs_material
async def test_chromium_plays_the_remux_of_a_real_cameras_recording(
    renderer: FfmpegRenderer, tmp_path: Path
) -> None:
    original = MATERIAL / "samples" / "media" / "gopro-karma.mp4"
    clip, media_type = await playable_of(renderer, original, tmp_path / "made")
    told = await told_by_browser(clip, media_type, tmp_path / "profile")
    assert told["outcome"] == "playing", told
    assert told["width"] > 0


@pytest.mark.judge
async def test_chromium_plays_the_transcode_of_h265(renderer: FfmpegRenderer, tmp_path: Path) -> None:
    original = tmp_path / "clip.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10:duration=3"),
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"),
        original,
    )
    clip, media_type = await playable_of(renderer, original, tmp_path / "made")
    told = await told_by_browser(clip, media_type, tmp_path / "profile")
    assert told["outcome"] == "playing", told


@pytest.mark.judge
async def test_chromium_says_so_when_a_clip_cannot_be_played(tmp_path: Path) -> None:
    broken = make_h264(tmp_path / "clip.mp4")
    broken.write_bytes(broken.read_bytes()[:600])
    told = await told_by_browser(broken, "video/mp4", tmp_path / "profile")
    assert told["outcome"] != "playing", told
