"""Are renditions playable, upright, complete, free of what does not belong in them, and originals untouched?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts
from agent.media.plan import RenditionKind, RenditionPlan, plan_renditions
from agent.media.port import RenderedFile
from agent.media.publish import WORK_PREFIX
from agent.media.render import FfmpegRenderer
from protocol.media_types import HEAD_BYTES, media_type_of
from tests.support import exif_bytes as tag
from tests.support.exif_bytes import exif_block, with_exif
from tests.support.material import MATERIAL, needs_material
from tests.support.media_lab import (
    CORNERS,
    corners_of,
    ffmpeg,
    ffprobe,
    make_h264,
    make_tone,
    make_video,
    photograph,
)

pytestmark = pytest.mark.media

_HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")


async def _plans(renderer: FfmpegRenderer, original: Path) -> dict[RenditionKind, RenditionPlan]:
    media_type = media_type_of(original.name, original.read_bytes()[:HEAD_BYTES])
    decisions = plan_renditions(media_type, await renderer.facts(original, media_type))
    assert all(isinstance(decision, RenditionPlan) for decision in decisions), decisions
    return {decision.kind: decision for decision in decisions if isinstance(decision, RenditionPlan)}


async def _render(
    renderer: FfmpegRenderer, original: Path, folder: Path, kind: RenditionKind = "playable"
) -> tuple[RenditionPlan, RenderedFile]:
    plan = (await _plans(renderer, original))[kind]
    return plan, await renderer.render(plan, original, folder)


def _streams(path: Path) -> list[Mapping[str, object]]:
    return cast("list[Mapping[str, object]]", ffprobe(path)["streams"])


def _codecs(path: Path) -> list[object]:
    return [stream["codec_name"] for stream in _streams(path)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "renditions"
    path.mkdir()
    return path


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "originals"
    path.mkdir()
    return path


async def test_a_playable_recording_is_only_repackaged(
    renderer: FfmpegRenderer, bench: Path, folder: Path
) -> None:
    original = make_h264(bench / "a.mp4", "-c:a", "aac", "-metadata", "location=+39.9+116.4/")
    plan, rendered = await _render(renderer, original, folder)
    assert plan.method == "remux"
    assert _codecs(rendered.path) == ["h264", "aac"]
    assert _packet_digest(rendered.path) == _packet_digest(original), "the coded pictures are the original's"
    assert b"+39.9" not in rendered.path.read_bytes()


async def test_a_rendition_is_durable_named_by_its_digest_and_alone(
    renderer: FfmpegRenderer, bench: Path, folder: Path
) -> None:
    original = make_h264(bench / "a.mp4")
    before = hashlib.sha256(original.read_bytes()).hexdigest()
    _, rendered = await _render(renderer, original, folder)
    content = rendered.path.read_bytes()
    assert rendered.sha256 == hashlib.sha256(content).hexdigest()
    assert rendered.path == folder / f"{rendered.sha256}.mp4"
    assert rendered.size_bytes == len(content)
    assert rendered.path.stat().st_mode & 0o777 == 0o440
    assert list(folder.iterdir()) == [rendered.path]
    assert hashlib.sha256(original.read_bytes()).hexdigest() == before


async def test_the_recipe_repeats_the_rendition(renderer: FfmpegRenderer, bench: Path, folder: Path) -> None:
    original = make_video(bench / "a.mp4", *_HEVC, "-c:a", "pcm_alaw", "-f", "mov")
    _, rendered = await _render(renderer, original, folder)
    again = bench / "again.mp4"
    words = {"/in/original.mp4": str(original), "/out/playable.mp4": str(again)}
    assert rendered.recipe.tool == rendered.recipe.arguments[0] == "ffmpeg"
    assert rendered.recipe.version[0].isdigit() or rendered.recipe.version[0] == "n"
    ffmpeg(*(words.get(word, word) for word in rendered.recipe.arguments[1:]))
    assert hashlib.sha256(again.read_bytes()).hexdigest() == rendered.sha256


async def test_h265_becomes_h264_of_eight_bits(renderer: FfmpegRenderer, bench: Path, folder: Path) -> None:
    original = make_video(bench / "a.mp4", *_HEVC, "-pix_fmt", "yuv420p10le", "-c:a", "aac", size="322x242")
    plan, rendered = await _render(renderer, original, folder)
    video = _streams(rendered.path)[0]
    assert plan.method == "transcode"
    assert (video["codec_name"], video["pix_fmt"], video["width"], video["height"]) == (
        "h264",
        "yuv420p",
        322,
        242,
    )


async def test_only_unplayable_audio_is_encoded(renderer: FfmpegRenderer, bench: Path, folder: Path) -> None:
    original = make_h264(bench / "a.mov", "-c:a", "pcm_mulaw", "-ar", "8000")
    _, rendered = await _render(renderer, original, folder)
    assert _codecs(rendered.path) == ["h264", "aac"]
    assert _packet_digest(rendered.path) == _packet_digest(original)


@pytest.mark.parametrize("suffix", ["avi", "ts", "mkv"])
async def test_other_containers_are_repackaged(
    renderer: FfmpegRenderer, bench: Path, folder: Path, suffix: str
) -> None:
    original = make_h264(bench / f"a.{suffix}", "-bf", "2", "-c:a", "aac")
    _, rendered = await _render(renderer, original, folder)
    assert _codecs(rendered.path) == ["h264", "aac"]


@pytest.mark.parametrize(
    ("name", "codec", "method"),
    [
        ("a.wav", "pcm_s16le", "transcode"),
        ("a.m4a", "aac", "remux"),
        ("a.aac", "aac", "remux"),
        ("a.mp3", "libmp3lame", "transcode"),
    ],
)
async def test_sound_recordings_become_m4a(
    renderer: FfmpegRenderer, bench: Path, folder: Path, name: str, codec: str, method: str
) -> None:
    plan, rendered = await _render(renderer, make_tone(bench / name, "-c:a", codec), folder)
    assert (plan.method, rendered.media_type, rendered.path.suffix) == (method, "audio/mp4", ".m4a")
    assert _codecs(rendered.path) == ["aac"]


@pytest.mark.parametrize("codec", [("-c:v", "libx264"), _HEVC])
@pytest.mark.parametrize("kind", ["playable", "poster"])
async def test_a_turned_recorder_gives_an_upright_picture(
    renderer: FfmpegRenderer, bench: Path, folder: Path, codec: tuple[str, ...], kind: RenditionKind
) -> None:
    """The scene is coded as a recorder held on its side does it, with a rotation that turns it upright again."""
    stored = bench / "stored.jpg"
    stored.write_bytes(photograph(6))
    flat = bench / "flat.mp4"
    ffmpeg("-loop", "1", "-i", stored, "-t", "2", "-r", "5", *codec, "-pix_fmt", "yuv420p", flat)
    original = bench / "turned.mp4"
    ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v", "rotate=270", original)
    facts = await renderer.facts(original, "video/mp4")
    assert isinstance(facts, MediaFacts)
    assert facts.streams[0].rotation_deg == 90
    _, rendered = await _render(renderer, original, folder, kind)
    shown = bench / "shown.png"
    ffmpeg("-i", rendered.path, "-frames:v", "1", shown)
    assert corners_of(shown) == {name: name for name in CORNERS}


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_photographs_of_every_orientation_are_shown_upright(
    renderer: FfmpegRenderer, bench: Path, folder: Path, orientation: int
) -> None:
    original = bench / "DSC00001.JPG"
    exif = exif_block({tag.ORIENTATION: orientation, tag.MAKE: "ACME"}, {tag.BODY_SERIAL: "SN-0042"})
    original.write_bytes(with_exif(photograph(orientation), exif))
    plan, rendered = await _render(renderer, original, folder, "thumbnail")
    assert plan.still is not None
    assert (plan.still.size.width, plan.still.size.height) == (96, 64)
    assert corners_of(rendered.path) == {name: name for name in CORNERS}
    assert b"SN-0042" not in rendered.path.read_bytes()
    assert b"Exif" not in rendered.path.read_bytes()


async def test_a_png_gets_a_thumbnail_of_at_most_512_pixels(
    renderer: FfmpegRenderer, bench: Path, folder: Path
) -> None:
    original = bench / "screen.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1024x600", "-frames:v", "1", original)
    _, rendered = await _render(renderer, original, folder, "thumbnail")
    assert [(s["width"], s["height"]) for s in _streams(rendered.path)] == [(512, 300)]


async def test_a_poster_falls_back_to_the_first_frame(
    renderer: FfmpegRenderer, bench: Path, folder: Path
) -> None:
    """Sought beyond its end, as in a file whose header claims more than there is."""
    original = make_h264(bench / "a.mp4")
    plan = (await _plans(renderer, original))["poster"]
    assert plan.still is not None
    broken = bench / "short.ts"
    ffmpeg("-i", original, "-frames:v", "1", "-c:v", "mpeg2video", "-f", "mpegts", broken)
    facts = await renderer.facts(broken, "video/mp2t")
    assert isinstance(facts, MediaFacts)
    rendered = await renderer.render(plan, broken, folder)
    assert rendered.media_type == "image/jpeg"


async def test_progress_is_reported_up_to_the_end(
    renderer: FfmpegRenderer, bench: Path, folder: Path
) -> None:
    original = make_video(bench / "a.mp4", *_HEVC, seconds=4, audio=False)
    shares: list[float] = []
    await renderer.render((await _plans(renderer, original))["playable"], original, folder, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


@needs_material
async def test_a_real_recorders_telemetry_stays_in_the_original(
    renderer: FfmpegRenderer, folder: Path
) -> None:
    original = MATERIAL / "samples/media/gopro-karma.mp4"
    facts = await renderer.facts(original, "video/mp4")
    assert isinstance(facts, MediaFacts)
    assert [stream.kind for stream in facts.streams] == ["video", "audio", "data", "data", "data"]
    assert facts.creation_time is not None
    assert facts.creation_time.isoformat() == "2017-04-17T19:27:57+00:00"
    plan, rendered = await _render(renderer, original, folder)
    assert plan.method == "remux"
    assert _codecs(rendered.path) == ["h264", "aac"]
    assert b"GoPro" not in rendered.path.read_bytes()
    _, poster = await _render(renderer, original, folder, "poster")
    assert [(s["width"], s["height"]) for s in _streams(poster.path)] == [(640, 360)]


@needs_material
async def test_a_real_photograph_gets_a_thumbnail_without_its_place(
    renderer: FfmpegRenderer, folder: Path
) -> None:
    original = MATERIAL / "samples/media/DSCN0010.jpg"
    facts = await renderer.facts(original, "image/jpeg")
    assert isinstance(facts, ExifFacts)
    assert facts.location is not None
    _, rendered = await _render(renderer, original, folder, "thumbnail")
    thumbnail = await renderer.facts(rendered.path, "image/jpeg")
    assert thumbnail == ExifFacts(width=512, height=384)


async def test_work_folders_are_gone_whatever_happens(
    renderer: FfmpegRenderer, bench: Path, folder: Path
) -> None:
    original = make_h264(bench / "a.mp4")
    await _render(renderer, original, folder)
    assert not list(folder.glob(f"{WORK_PREFIX}*"))


def _packet_digest(path: Path) -> bytes:
    """Of the coded video as a raw stream."""
    return ffmpeg(
        "-i", path, "-map", "0:v:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "streamhash", "pipe:1"
    )
