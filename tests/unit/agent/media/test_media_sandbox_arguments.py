"""Does the sandbox's argument list let in what it must, and nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.media.limits import PROBE_BUDGET
from agent.media.sandbox import SystemLayout, inside_name, read_system_layout, sandboxed

_MERGED = SystemLayout(links=(("usr/bin", "/bin"), ("usr/lib", "/lib")), folders=("/usr",))
_INPUT = Path("/spool/ab/clip.MP4")


def _mounts(argv: list[str]) -> list[tuple[str, ...]]:
    binds = ("--ro-bind", "--bind", "--ro-bind-try", "--dev-bind")
    return [tuple(argv[i : i + 3]) for i, word in enumerate(argv) if word in binds]


def test_only_the_system_the_input_and_the_output_are_visible() -> None:
    argv = sandboxed(
        ["ffmpeg"], layout=_MERGED, budget=PROBE_BUDGET, input_path=_INPUT, output_folder=Path("/work/out")
    )
    assert _mounts(argv) == [
        ("--ro-bind", "/usr", "/usr"),
        ("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
        ("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
        ("--ro-bind", "/spool/ab/clip.MP4", "/in/original.mp4"),
        ("--bind", "/work/out", "/out"),
    ]
    assert "--share-net" not in argv


def test_every_namespace_is_its_own_and_nothing_is_inherited() -> None:
    argv = sandboxed(["true"], layout=_MERGED, budget=PROBE_BUDGET)
    wanted = {
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
    }
    assert wanted <= set(argv)


def test_the_command_comes_after_the_last_separator() -> None:
    argv = sandboxed(["ffprobe", "--", "-x"], layout=_MERGED, budget=PROBE_BUDGET)
    assert argv[-4:] == ["--", "ffprobe", "--", "-x"]


def test_limits_stand_around_the_whole_sandbox() -> None:
    argv = sandboxed(["true"], layout=_MERGED, budget=PROBE_BUDGET)
    assert argv[0] == "prlimit"
    limits = set(argv[: argv.index("bwrap")])
    assert {
        f"--as={PROBE_BUDGET.memory_bytes}",
        f"--cpu={PROBE_BUDGET.cpu_s}",
        "--fsize=0",
        "--core=0",
    } <= limits


def test_renditions_yield_to_everything_else() -> None:
    argv = sandboxed(["true"], layout=_MERGED, budget=PROBE_BUDGET, idle=True)
    assert argv[: argv.index("prlimit")] == ["nice", "-n", "19", "ionice", "-t", "-c", "3"]


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("GX010001.MP4", "/in/original.mp4"),
        ("clip", "/in/original"),
        ("x.%03d", "/in/original"),
        ("x.mp4\n", "/in/original"),
        ("x.视频", "/in/original"),
        ("x.verylongsuffix", "/in/original"),
        ("-i.jpg", "/in/original.jpg"),
    ],
)
def test_a_hostile_name_does_not_get_in(name: str, inside: str) -> None:
    assert inside_name(Path("/spool") / name) == inside


def test_both_layouts_of_a_system_are_understood(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    assert read_system_layout(tmp_path) == SystemLayout(
        links=(("usr/bin", "/bin"),), folders=("/usr", "/lib")
    )
