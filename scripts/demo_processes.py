"""The demo's processes: the real commands, started and stopped as an administrator would."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

BIN: Final = Path(sys.executable).parent
STATION: Final = "demo-station"
AGENCY: Final = "demo-agency"
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 30.0


class DemoError(Exception):
    """The demo cannot go on; the sentence says why and what to look at."""


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def call(command: str, *arguments: str, given: str | None = None) -> Mapping[str, Any]:
    """Run one of our commands with ``--json``; returns what it printed. ``given`` is its standard input, for what must
    not stand in the list of processes. Raises DemoError."""
    done = subprocess.run(
        [BIN / command, *arguments, "--json"], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"{command} {arguments[0]}: {done.stdout}{done.stderr}")
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer


class Child:
    """One running command; its output goes to a log file, or to ours. It ends with this process, even a killed one."""

    def __init__(self, command: str, *arguments: str, log: Path | None) -> None:
        self._name = command
        self._log = log
        with open(log or os.devnull, "ab") as file:
            output = file if log is not None else None
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", BIN / command, *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises DemoError when it has ended."""
        if self._process.poll() is not None:
            where = f", see {self._log}" if self._log else ""
            raise DemoError(f"{self._name} ended with {self._process.returncode}{where}")

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._process.kill()
                self._process.wait()


def wait_healthy(child: Child, url: str, ca: Path) -> None:
    """Until the collector answers. Raises DemoError."""
    context = ssl.create_default_context(cafile=str(ca))
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        child.check()
        try:
            with urllib.request.urlopen(f"{url}/healthz", context=context, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise DemoError("the collector did not become healthy in time")
