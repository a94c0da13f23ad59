"""Do the real renderer and its twin in memory keep the same promises?"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent.errors import MediaUnreadableError
from agent.media.exif import ExifFacts
from agent.media.memory import MemoryRenderer
from agent.media.plan import RenditionPlan, plan_renditions
from agent.media.port import Renderer
from agent.media.render import FfmpegRenderer
from tests.support.media_lab import photograph

pytestmark = pytest.mark.media


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photograph())
    return path


@pytest.fixture(params=["ffmpeg", "memory"])
def any_renderer(request: pytest.FixtureRequest, renderer: FfmpegRenderer, original: Path) -> Renderer:
    if request.param == "ffmpeg":
        return renderer
    return MemoryRenderer({original.read_bytes(): ExifFacts(width=96, height=64)})


async def _plan(renderer: Renderer, original: Path) -> RenditionPlan:
    (plan,) = plan_renditions("image/jpeg", await renderer.facts(original, "image/jpeg"))
    assert isinstance(plan, RenditionPlan)
    return plan


async def test_a_rendition_is_a_read_only_file_named_by_its_digest(
    any_renderer: Renderer, original: Path, tmp_path: Path
) -> None:
    rendered = await any_renderer.render(await _plan(any_renderer, original), original, tmp_path)
    content = rendered.path.read_bytes()
    assert rendered.path.stem == rendered.sha256 == hashlib.sha256(content).hexdigest()
    assert rendered.size_bytes == len(content)
    assert rendered.path.stat().st_mode & 0o222 == 0
    assert (rendered.kind, rendered.media_type) == ("thumbnail", "image/jpeg")
    assert rendered.recipe.to_json()["tool"] == rendered.recipe.tool


async def test_rendering_twice_gives_the_same_file(
    any_renderer: Renderer, original: Path, tmp_path: Path
) -> None:
    plan = await _plan(any_renderer, original)
    first = await any_renderer.render(plan, original, tmp_path)
    assert await any_renderer.render(plan, original, tmp_path) == first
    assert sorted(tmp_path.iterdir()) == sorted([original, first.path])


async def test_unknown_bytes_are_unreadable(any_renderer: Renderer, tmp_path: Path) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(b"other")
    with pytest.raises(MediaUnreadableError):
        await any_renderer.facts(other, "image/jpeg")


async def test_a_missing_original_is_unreadable(any_renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(MediaUnreadableError):
        await any_renderer.facts(tmp_path / "gone.jpg", "image/jpeg")
