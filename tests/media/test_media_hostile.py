"""Does hostile or broken input end in an error of our tree, with nothing published and no other file read?"""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import (
    MediaError,
    MediaFormatRefusedError,
    MediaTimeoutError,
    MediaUnreadableError,
    RenditionFailedError,
    RenditionShortError,
)
from agent.media import render as render_module
from agent.media.child import run_child
from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts
from agent.media.limits import PROBE_BUDGET, STILL_BUDGET
from agent.media.picture import Size
from agent.media.plan import NotRendered, RenditionPlan, Still, plan_renditions
from agent.media.render import FfmpegRenderer
from agent.media.sandbox import Sandbox, inside_name
from tests.support.media_lab import make_h264, make_video

pytestmark = pytest.mark.media


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "renditions"
    path.mkdir()
    return path


async def _playable(renderer: FfmpegRenderer, original: Path) -> RenditionPlan:
    plan = plan_renditions("video/mp4", await renderer.facts(original, "video/mp4"))[0]
    assert isinstance(plan, RenditionPlan)
    return plan


def _thumbnail(size: Size, demuxer: str) -> RenditionPlan:
    still = Still(size=size, demuxer=demuxer)
    return RenditionPlan(
        kind="thumbnail", method="extract", media_type="image/jpeg", suffix=".jpg", still=still
    )


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{target}'\n",
        "<?xml version='1.0'?>\n<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{target}</BaseURL></MPD>",
    ],
    ids=["hls", "concat", "dash"],
)
async def test_a_playlist_named_mp4_reads_no_other_file(
    renderer: FfmpegRenderer, tmp_path: Path, playlist: str
) -> None:
    other = make_h264(tmp_path / "other.mp4")
    original = tmp_path / "clip.mp4"
    original.write_text(playlist.format(target=other))
    with pytest.raises(MediaUnreadableError):
        await renderer.facts(original, "video/mp4")


async def test_a_playlist_is_called_refused_not_damaged(renderer: FfmpegRenderer, tmp_path: Path) -> None:
    original = tmp_path / "clip.mp4"
    original.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n")
    with pytest.raises(MediaFormatRefusedError):
        await renderer.facts(original, "video/mp4")


async def test_even_without_the_lists_the_sandbox_hides_what_a_playlist_points_at(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    original = tmp_path / "clip.mp4"
    original.write_text(f"ffconcat version 1.0\nfile '{make_h264(tmp_path / 'other.mp4')}'\n")
    unguarded = ["ffprobe", "-loglevel", "error", "-f", "concat", "-safe", "0"]
    assert (await run_child([*unguarded, str(original)], deadline_s=60)).exit_status == 0, (
        "the danger is real"
    )
    outcome = await sandbox.run([*unguarded, inside_name(original)], budget=PROBE_BUDGET, input_path=original)
    assert outcome.exit_status != 0
    assert b"No such file" in outcome.message


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 4096, b"just some text\n" * 50, b"\x00\x00\x00\x20ftypisom" + b"\xff" * 500]
)
async def test_what_is_no_recording_is_unreadable(
    renderer: FfmpegRenderer, tmp_path: Path, content: bytes
) -> None:
    original = tmp_path / "clip.mp4"
    original.write_bytes(content)
    with pytest.raises(MediaUnreadableError):
        await renderer.facts(original, "video/mp4")


async def test_a_recording_cut_before_its_index_is_unreadable(
    renderer: FfmpegRenderer, tmp_path: Path
) -> None:
    original = make_h264(tmp_path / "clip.mp4")
    original.write_bytes(original.read_bytes()[: original.stat().st_size // 2])
    with pytest.raises(MediaUnreadableError):
        await renderer.facts(original, "video/mp4")


async def test_a_recording_cut_behind_its_index_is_called_short(
    renderer: FfmpegRenderer, tmp_path: Path, folder: Path
) -> None:
    original = make_h264(tmp_path / "clip.mp4", "-movflags", "+faststart", seconds=12)
    plan = await _playable(renderer, original)
    original.write_bytes(original.read_bytes()[: original.stat().st_size // 2])
    with pytest.raises(RenditionShortError):
        await renderer.render(plan, original, folder)
    assert list(folder.iterdir()) == []


async def test_a_missing_original_is_unreadable(renderer: FfmpegRenderer, tmp_path: Path) -> None:
    for media_type in ("video/mp4", "image/jpeg"):
        with pytest.raises(MediaUnreadableError):
            await renderer.facts(tmp_path / "gone", media_type)


async def test_a_text_named_jpg_is_unreadable(renderer: FfmpegRenderer, tmp_path: Path) -> None:
    original = tmp_path / "photo.jpg"
    original.write_bytes(b"no picture")
    with pytest.raises(MediaUnreadableError):
        await renderer.facts(original, "image/jpeg")


def _bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


async def test_a_picture_bomb_is_not_even_tried(renderer: FfmpegRenderer, tmp_path: Path) -> None:
    original = tmp_path / "bomb.png"
    original.write_bytes(_bomb(60_000, 60_000))
    (decision,) = plan_renditions("image/png", await renderer.facts(original, "image/png"))
    assert isinstance(decision, NotRendered)
    assert decision.code == "too-many-pixels"


async def test_a_picture_bomb_that_gets_to_ffmpeg_fails_there(
    renderer: FfmpegRenderer, tmp_path: Path, folder: Path
) -> None:
    original = tmp_path / "bomb.png"
    original.write_bytes(_bomb(30_000, 30_000))
    with pytest.raises(MediaError):
        await renderer.render(_thumbnail(Size(width=512, height=512), "png_pipe"), original, folder)
    assert list(folder.iterdir()) == []


async def test_a_picture_of_another_size_than_planned_is_not_published(
    renderer: FfmpegRenderer, tmp_path: Path, folder: Path
) -> None:
    original = tmp_path / "cut.png"
    original.write_bytes(_bomb(64, 48)[:60])
    with pytest.raises(RenditionFailedError):
        await renderer.render(_thumbnail(Size(width=64, height=48), "png_pipe"), original, folder)
    assert list(folder.iterdir()) == []


async def test_a_rendition_that_takes_too_long_is_ended(
    renderer: FfmpegRenderer, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = make_video(tmp_path / "clip.mp4", "-c:v", "mpeg4", size="1280x720", seconds=20, audio=False)
    plan = await _playable(renderer, original)
    monkeypatch.setattr(render_module, "playable_budget", lambda **_: replace(STILL_BUDGET, deadline_s=0.3))
    with pytest.raises(MediaTimeoutError):
        await renderer.render(plan, original, folder)
    assert list(folder.iterdir()) == []


async def test_a_cancelled_rendition_leaves_nothing(
    renderer: FfmpegRenderer, tmp_path: Path, folder: Path
) -> None:
    original = make_video(tmp_path / "clip.mp4", "-c:v", "mpeg4", size="1280x720", seconds=20, audio=False)
    plan = await _playable(renderer, original)
    started = asyncio.Event()
    rendering = asyncio.create_task(renderer.render(plan, original, folder, lambda _share: started.set()))
    async with asyncio.timeout(60):
        await started.wait()
    rendering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rendering
    assert list(folder.iterdir()) == []


async def test_a_picture_we_cannot_read_is_stored_without_facts(
    renderer: FfmpegRenderer, tmp_path: Path
) -> None:
    original = tmp_path / "IMG_0001.HEIC"
    original.write_bytes(b"\x00\x00\x00\x18ftypheic")
    assert await renderer.facts(original, "image/heic") == ExifFacts()


@pytest.mark.parametrize("seed", range(6))
async def test_damaged_recordings_end_in_facts_or_our_errors(
    renderer: FfmpegRenderer, tmp_path: Path, folder: Path, seed: int
) -> None:
    original = make_h264(tmp_path / "clip.mp4", "-movflags", "+faststart")
    content = bytearray(original.read_bytes())
    for i in range(40):
        content[(seed * 7919 + i * 104_729) % 2500] ^= 1 << (i + seed) % 8
    original.write_bytes(content)
    try:
        facts = await renderer.facts(original, "video/mp4")
        for plan in plan_renditions("video/mp4", facts):
            if isinstance(plan, RenditionPlan):
                await renderer.render(plan, original, folder)
    except MediaError as error:
        assert error.code  # noqa: PT017  either outcome is right
    else:
        assert isinstance(facts, MediaFacts)
