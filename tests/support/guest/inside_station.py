"""A station inside the guest: the real agent, without privileges, at the guest's bays; its collector is on the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from agent.status import load_status
from tests.support.guest.inside_mounting import AGENT_ID, AGENT_USER

HOST: Final = "10.0.2.2"
"""QEMU's user network: the host's loopback, as the guest sees it."""

_DISK: Final = Path("/run/disk")
_DATA: Final = _DISK / "station"
_LOG: Final = Path("/run/station.log")
_ROOT: Final = Path(__file__).parents[3]
_BUSYBOX: Final = "/run/busybox"
_running: list[subprocess.Popen[bytes]] = []


def join_network() -> None:
    (card,) = (path.name for path in Path("/sys/class/net").iterdir() if path.name != "lo")
    command = [_BUSYBOX, "ifconfig", card, "10.0.2.15", "netmask", "255.255.255.0", "up"]
    subprocess.run(command, check=True, timeout=60)


def mount_disk() -> None:
    """What outlives a power cut."""
    _DISK.mkdir()
    subprocess.run([_BUSYBOX, "mount", "-t", "ext4", "/dev/vda", str(_DISK)], check=True, timeout=60)


def enrol(code: str, files: dict[str, str]) -> None:
    """``files`` are the station's settings by name."""
    _DATA.mkdir(mode=0o700)
    for name, text in files.items():
        (_DATA / name).write_text(text, "utf-8")
    for path in (_DATA, *_DATA.iterdir()):
        os.chown(path, AGENT_ID, AGENT_ID)
    enrolment = _agent("enroll", "-")
    _, _ = enrolment.communicate(code.encode(), timeout=300)
    if enrolment.returncode != 0:
        raise RuntimeError(f"not enrolled: {log()}")


def start() -> None:
    _running.append(_agent("run"))


def end() -> int:
    process = _running.pop()
    process.terminate()
    return process.wait(300)


def bay(name: str) -> dict[str, Any]:
    """The tile of a bay, empty while there is none. Raises RuntimeError when the agent has ended."""
    if _running and _running[0].poll() is not None:
        raise RuntimeError(f"the agent ended with {_running[0].returncode}: {log()}")
    status = load_status(_DATA / "status.json") or {}
    return next((tile for tile in status.get("bays", []) if tile["bay"] == name), {})


def backlog() -> list[int]:
    """Statements, deliveries and renditions that the station still has to see to."""
    found = load_status(_DATA / "status.json") or {}
    return [found["backlog"][name] for name in ("statements", "deliveries", "media_jobs")]


def log() -> str:
    return _LOG.read_text("utf-8", "replace")[-6000:] if _LOG.exists() else ""


def _agent(task: str, *arguments: str) -> subprocess.Popen[bytes]:
    with _LOG.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "agent.cli", task, "--data", str(_DATA), *arguments],
            cwd=_ROOT,
            stdin=subprocess.PIPE if arguments else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=AGENT_USER,
            group=AGENT_USER,
            extra_groups=[],
            umask=0o077,
        )
