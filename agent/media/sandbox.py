"""The sandbox every foreign program runs in: one input, at most one output folder, no network, nothing else.

bubblewrap gives the child its own user, mount, process, network and IPC namespaces; prlimit bounds memory, CPU time,
file size and open files. The child sees the input read-only under a fixed name, so that neither the original's name
nor its folder can be an attack. ``sandboxed`` is pure; ``Sandbox`` runs it. Where the sandbox does not work nothing
is run.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import MediaLimitError, MediaUnreadableError, SandboxUnavailableError
from agent.media.child import ChildOutcome, OnLine, run_child
from agent.media.limits import OPEN_FILES, PROBE_BUDGET, Budget
from agent.media.text import last_lines

OUTPUT_FOLDER: Final = "/out"
_INPUT_STEM: Final = "/in/original"
_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,8}", re.ASCII)
_NOBODY: Final = "65534"
_TOP_FOLDERS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SYSTEM_FILES: Final = ("/etc/alternatives", "/etc/ld.so.cache")
"""Debian reaches libblas through /etc/alternatives; without the cache the loader does not find multiarch folders."""

_OUR_SIDE: Final = (b"bwrap: ", b"prlimit: ", b"nice: ", b"ionice: ")
_LIMIT_SIGNALS: Final = (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL)
_ADVICE: Final = (
    "install bubblewrap and util-linux (apt install bubblewrap util-linux) and allow unprivileged user namespaces "
    "(sysctl user.max_user_namespaces; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0; in a container the "
    "seccomp and AppArmor profiles must allow them)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLayout:
    """How the system's own folders are laid out: links at the top (merged /usr) and real folders."""

    links: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]


def read_system_layout(root: Path = Path("/")) -> SystemLayout:
    """Look at the folders programs and libraries are in."""
    tops = [root / name for name in _TOP_FOLDERS]
    return SystemLayout(
        links=tuple((str(top.readlink()), f"/{top.name}") for top in tops if top.is_symlink()),
        folders=("/usr", *(f"/{top.name}" for top in tops if top.is_dir() and not top.is_symlink())),
    )


def inside_name(original: Path) -> str:
    """The name the child knows the input by: fixed, with the original's suffix where that is plain ASCII."""
    suffix = original.suffix.lower()
    return _INPUT_STEM + (suffix if _SUFFIX.fullmatch(suffix) else "")


def sandboxed(
    command: Sequence[str],
    *,
    layout: SystemLayout,
    budget: Budget,
    input_path: Path | None = None,
    output_folder: Path | None = None,
    idle: bool = False,
) -> list[str]:
    """The argument list that runs ``command`` confined. ``idle`` yields CPU and disk to everything else."""
    return [
        *(("nice", "-n", "19", "ionice", "-t", "-c", "3") if idle else ()),
        *_limits(budget),
        *(
            "bwrap",
            "--unshare-all",
            "--unshare-user",
            "--uid",
            _NOBODY,
            "--gid",
            _NOBODY,
            "--cap-drop",
            "ALL",
        ),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LC_ALL", "C.UTF-8"),
        *_system(layout),
        *(("--ro-bind", str(input_path.absolute()), inside_name(input_path)) if input_path else ()),
        *(("--bind", str(output_folder.absolute()), OUTPUT_FOLDER) if output_folder else ()),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--"),
        *command,
    ]


def _limits(budget: Budget) -> tuple[str, ...]:
    return (
        "prlimit",
        f"--as={budget.memory_bytes}",
        f"--cpu={budget.cpu_s}",
        f"--fsize={budget.file_size_bytes}",
        f"--nofile={OPEN_FILES}",
        "--core=0",
        "--",
    )


def _system(layout: SystemLayout) -> list[str]:
    arguments: list[str] = []
    for folder in layout.folders:
        arguments += ("--ro-bind", folder, folder)
    for target, link in layout.links:
        arguments += ("--symlink", target, link)
    for file in _SYSTEM_FILES:
        arguments += ("--ro-bind-try", file, file)
    return [*arguments, "--dev", "/dev"]


class Sandbox:
    """Runs commands confined. One instance serves any number of concurrent runs."""

    def __init__(self, layout: SystemLayout | None = None) -> None:
        self._layout = layout or read_system_layout()

    async def check(self) -> None:
        """Say whether the sandbox really works here, by running ``true`` in it.

        Raises SandboxUnavailableError with what to do about it.
        """
        try:
            outcome = await self.run(["true"], budget=PROBE_BUDGET)
        except SandboxUnavailableError as error:
            raise SandboxUnavailableError(f"{error}; {_ADVICE}") from error
        if outcome.exit_status != 0:
            raise SandboxUnavailableError(
                f"the sandbox cannot run a program: {last_lines(outcome.message)}; {_ADVICE}"
            )

    async def run(
        self,
        command: Sequence[str],
        *,
        budget: Budget,
        input_path: Path | None = None,
        output_folder: Path | None = None,
        idle: bool = False,
        on_line: OnLine | None = None,
    ) -> ChildOutcome:
        """Run a command and return how it ended, whatever its own exit status.

        Raises MediaUnreadableError when the input is not a regular file, MediaTimeoutError, MediaLimitError when a
        limit ended it, SandboxUnavailableError when the sandbox did.
        """
        if input_path is not None:
            _require_regular(input_path)
        argv = sandboxed(
            command,
            layout=self._layout,
            budget=budget,
            input_path=input_path,
            output_folder=output_folder,
            idle=idle,
        )
        outcome = await run_child(argv, deadline_s=budget.deadline_s, on_line=on_line)
        _raise_for_end(outcome)
        return outcome


def _require_regular(path: Path) -> None:
    """bubblewrap would follow a link, on our side of the wall."""
    if path.is_symlink() or not path.is_file():
        raise MediaUnreadableError("the input is not a regular file")


def _raise_for_end(outcome: ChildOutcome) -> None:
    status = outcome.exit_status
    if status != 0 and outcome.message.startswith(_OUR_SIDE):
        raise SandboxUnavailableError(f"the sandbox could not be set up: {last_lines(outcome.message)}")
    # bubblewrap reports its child's signal like a shell: 128 and the number.
    if any(status in (-number, 128 + number) for number in _LIMIT_SIGNALS):
        raise MediaLimitError(
            f"the child used more CPU time, memory or disk than its budget (status {status})"
        )
