"""Do ffmpeg's arguments confine what it opens, drop what is not wanted, and name nothing of this machine?"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.media.commands import render_command
from agent.media.exif import ExifFacts
from agent.media.facts import MediaFacts, StreamFacts
from agent.media.plan import RenditionPlan, plan_renditions

_ORIGINAL = Path("/srv/zhilu/spool/ab/某案 -y;rm.MP4")


def _video_plans(codec: str, audio: str, container: str = "mov") -> tuple[RenditionPlan, RenditionPlan]:
    streams = (
        StreamFacts(index=0, kind="data"),
        StreamFacts(
            index=1, kind="video", codec=codec, profile="Main", pix_fmt="yuv420p", width=3840, height=2160
        ),
        StreamFacts(index=2, kind="audio", codec=audio, profile="LC", channels=6),
    )
    facts = MediaFacts(containers=(container,), streams=streams, duration_s=100.0)
    playable, poster = plan_renditions("video/mp4", facts)
    assert isinstance(playable, RenditionPlan)
    assert isinstance(poster, RenditionPlan)
    return playable, poster


def _thumbnail_plan(orientation: int) -> RenditionPlan:
    (plan,) = plan_renditions("image/jpeg", ExifFacts(orientation=orientation, width=64, height=48))
    assert isinstance(plan, RenditionPlan)
    return plan


_PLANS = [*_video_plans("h264", "aac"), *_video_plans("hevc", "pcm_alaw", "avi"), _thumbnail_plan(6)]


def _value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


@pytest.mark.parametrize("plan", _PLANS)
def test_input_protocols_and_formats_are_confined_before_the_input_is_named(plan: RenditionPlan) -> None:
    command = render_command(plan, _ORIGINAL)
    before_input = command[: command.index("-i")]
    assert _value(before_input, "-protocol_whitelist") == "file"
    assert _value(before_input, "-format_whitelist")
    assert _value(before_input, "-progress") == "pipe:1"
    assert {"-nostdin", "-hide_banner", "-max_pixels", "-threads"} <= set(before_input)


@pytest.mark.parametrize("plan", _PLANS)
def test_no_metadata_is_carried_and_no_path_of_this_machine_named(plan: RenditionPlan) -> None:
    command = render_command(plan, _ORIGINAL)
    assert (_value(command, "-map_metadata"), _value(command, "-map_chapters")) == ("-1", "-1")
    assert _value(command, "-i") == "/in/original.mp4"
    assert command[-1] == f"/out/{plan.kind}{plan.suffix}"
    assert not any("srv" in argument or "某案" in argument for argument in command)


def test_a_playable_recording_is_copied_stream_by_stream() -> None:
    command = render_command(_video_plans("h264", "aac")[0], _ORIGINAL)
    assert [command[i + 1] for i, word in enumerate(command) if word == "-map"] == ["0:1", "0:2"]
    assert (_value(command, "-c:v"), _value(command, "-c:a"), _value(command, "-movflags")) == (
        "copy",
        "copy",
        "+faststart",
    )
    assert "-filter_complex" not in command


def test_anything_else_becomes_h264_and_aac() -> None:
    command = render_command(_video_plans("hevc", "pcm_alaw")[0], _ORIGINAL)
    assert _value(command, "-filter_complex").startswith("[0:1]scale=1920:1080")
    assert (_value(command, "-c:v"), _value(command, "-pix_fmt"), _value(command, "-preset")) == (
        "libx264",
        "yuv420p",
        "veryfast",
    )
    assert (_value(command, "-c:a"), _value(command, "-ac")) == ("aac", "2")


def test_missing_timestamps_are_generated_only_where_they_may_miss() -> None:
    assert _value(render_command(_video_plans("h264", "aac", "avi")[0], _ORIGINAL), "-fflags") == "+genpts"
    assert "+genpts" not in render_command(_video_plans("h264", "aac")[0], _ORIGINAL)


def test_a_poster_is_sought_by_keyframe() -> None:
    before_input = render_command(_video_plans("h264", "aac")[1], _ORIGINAL)
    before_input = before_input[: before_input.index("-i")]
    assert (_value(before_input, "-ss"), _value(before_input, "-skip_frame")) == ("10.0", "nokey")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_by_our_filter_alone(orientation: int) -> None:
    command = render_command(_thumbnail_plan(orientation), _ORIGINAL)
    turned = any(word in _value(command, "-filter_complex") for word in ("flip", "transpose"))
    assert turned == (orientation != 1)
    assert "-noautorotate" in command[: command.index("-i")]
    assert _value(command, "-f") == "jpeg_pipe"


def test_the_same_plan_gives_the_same_arguments() -> None:
    assert [render_command(plan, _ORIGINAL) for plan in _PLANS] == [
        render_command(plan, _ORIGINAL) for plan in _PLANS
    ]
