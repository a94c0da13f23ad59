"""Real agents and collectors as child processes: made, started, asked, ended and killed by process id.

Every wait is for something a user could see (a status file, an HTTP answer, files on disk) and has a deadline. What
the processes print is kept beside their data and printed when a test closes its site, so that pytest shows it
with a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from agent.status import load_status
from collector.config import CollectorConfig

BIN: Final = Path(sys.executable).parent
AGENCY: Final = "jing-an"
STATION: Final = "dock-1"

needs_site = pytest.mark.skipif(
    not (shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") and shutil.which("setpriv")),
    reason="not installed: mosquitto or setpriv (apt-get install mosquitto util-linux)",
)

_POLL_S: Final = 0.01
_START_S: Final = 60.0
_STOP_S: Final = 60.0
_SETTLE_S: Final = 0.3
_SHOWN_CHARS: Final = 6_000

T = TypeVar("T")


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    question: Callable[[], T | None], what: str, *, deadline_s: float = 90.0, watch: Iterable[Child] = ()
) -> T:
    """The first answer that is true. Fails at the deadline, or when one of the watched processes has ended."""
    ends_at = time.monotonic() + deadline_s
    while not (answer := question()):
        for child in watch:
            child.check()
        if time.monotonic() > ends_at:
            pytest.fail(f"waited {deadline_s:.0f} s in vain for: {what}")
        time.sleep(_POLL_S)
    return answer


def call(command: str, *arguments: str) -> Mapping[str, Any]:
    """Run one command to its end with ``--json``; what it printed."""
    done = subprocess.run([BIN / command, *arguments, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} {arguments[0]}: {done.stdout}{done.stderr}"
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer


class Child:
    """One command that runs until it is told to end; can be started again."""

    def __init__(self, log: Path, command: str, *arguments: str) -> None:
        self.log = log
        self._command = [str(BIN / command), *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert not self.is_running
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Fails the test when the process has ended without being told to."""
        if self._process is not None and self._process.poll() is not None:
            pytest.fail(f"{self._command[0]} ended with {self._process.returncode}:\n{self.last_words()}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait, return the exit code. Who is asked to end ends well, unless it was not yet up."""
        self.check()
        process = self._process
        assert process is not None
        process.send_signal(number)
        code = process.wait(_STOP_S)
        self._process = None
        expected = {0, -number} if number is signal.SIGTERM else {-number}
        assert code in expected, f"{self._command[0]} ended with {code}:\n{self.last_words()}"
        return code

    def make_sure_it_ended(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-_SHOWN_CHARS:] if self.log.exists() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    url: str,
    context: ssl.SSLContext,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """One HTTP request. Raises OSError (URLError, SSLError) when no answer comes."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return Reply(status=answer.status, headers=dict(answer.headers), body=answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Reply(status=refusal.code, headers=dict(refusal.headers), body=refusal.read())


class CollectorHost:
    """A collector's machine: ``init`` is done when it is made, ``start`` returns when it answers."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "e2e",
        agencies: Iterable[str] = (AGENCY,),
        known_as: Iterable[str] = (),
    ) -> None:
        """``known_as`` are addresses under which stations elsewhere reach this machine's loopback."""
        self.folder = folder
        served = [argument for agency in agencies for argument in ("--agency", agency)]
        names = [argument for host in (*known_as, "127.0.0.1") for argument in ("--hostname", host)]
        call(
            "zhilu-collector", "init", "--data", str(folder), "--name", name, *served,
            "--host", "127.0.0.1", *names,
            "--http-port", str(free_port()), "--mqtt-port", str(free_port()),
        )  # fmt: skip
        self.config = CollectorConfig.load(folder)
        self.child = Child(folder.with_suffix(".log"), "zhilu-collector", "run", "--data", str(folder))
        self.context = ssl.create_default_context(cafile=str(self.config.trust.ca_certificate))

    def start(self) -> None:
        self.child.start()
        wait_until(self._is_healthy, "the collector's health", deadline_s=_START_S, watch=[self.child])

    def _is_healthy(self) -> bool:
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def get(self, path: str, token: str | None = None, **headers: str) -> Reply:
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        return ask(
            f"https://127.0.0.1:{self.config.http_port}{path}", self.context, headers={**bearer, **headers}
        )

    def enrolment_code(self, station: str, *agencies: str) -> str:
        spoken_for = [argument for agency in agencies for argument in ("--agency", agency)]
        data = str(self.folder)
        code: str = call(
            "zhilu-collector", "enrolment-code", "--data", data, "--station", station, *spoken_for
        )["code"]
        return code

    def token(self, name: str, *scopes: str) -> str:
        wanted = [argument for scope in scopes for argument in ("--scope", scope)]
        token: str = call("zhilu-collector", "token", "--data", str(self.folder), "--name", name, *wanted)[
            "token"
        ]
        return token

    def log_size(self) -> int:
        """Entries under the published checkpoint (its second line)."""
        return int((self.config.log_dir / "checkpoint").read_text().split("\n")[1])

    def broker_pid(self) -> int | None:
        """The process id of the broker the collector runs, None while there is none."""
        try:
            children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        except OSError:
            return None
        return next((int(child) for child in children if _name_of(child) == "mosquitto"), None)


def _name_of(pid: str) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


class StationHost:
    """A station's machine with its dock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dock_dir = folder / "dock"
        self.dock_dir.mkdir(parents=True)
        (folder / "agent.toml").write_text(f"settle_s = {_SETTLE_S}\nreserve_mib = 64\n")
        self.child = Child(folder.with_suffix(".log"), "zhilu-agent", "run", "--data", str(folder))
        self.bays: set[str] = set()

    def enrol(self, code: str) -> None:
        call("zhilu-agent", "enroll", "--data", str(self.folder), code)

    def start(self) -> None:
        """What an earlier run said of itself is old news."""
        (self.folder / "status.json").unlink(missing_ok=True)
        self.child.start()

    def status(self) -> Mapping[str, Any]:
        """The newest status, empty before the first."""
        return load_status(self.folder / "status.json") or {}

    def bay(self, name: str) -> Mapping[str, Any]:
        """The tile of one bay, empty while there is none."""
        bays: list[Mapping[str, Any]] = self.status().get("bays", [])
        return next((bay for bay in bays if bay["bay"] == name), {})

    def dock(self, source: Path, name: str | None = None) -> str:
        """Dock a copy of a folder as a recorder: complete the moment it appears. The bay's name."""
        bay = name or source.name
        scratch = self.dock_dir / f".incoming-{bay}"
        shutil.copytree(source, scratch)
        scratch.rename(self.dock_dir / bay)
        self.bays.add(bay)
        return bay

    def take_away(self, bay: str) -> None:
        """The recorder leaves, whatever it was doing."""
        (self.dock_dir / bay).rename(self.dock_dir / f".away-{bay}")

    def bring_back(self, bay: str) -> None:
        (self.dock_dir / f".away-{bay}").rename(self.dock_dir / bay)

    def is_done(self) -> bool:
        """Everything docked is read, delivered, receipted and rendered."""
        status = self.status()
        states = {bay["bay"]: bay["state"] for bay in status.get("bays", [])}
        return bool(status.get("idle")) and all(states.get(bay) == "done" for bay in self.bays)

    def write_receipts(self) -> Path:
        """The folder with every kept receipt as ``<statement hex>.json``."""
        folder = self.folder / "receipts"
        call("zhilu-agent", "receipts", "--data", str(self.folder), "--out", str(folder))
        return folder


class Site:
    """One collector and one station, enrolled with each other; neither runs yet."""

    def __init__(self, folder: Path, *, agencies: Iterable[str] = (AGENCY,)) -> None:
        self.folder = folder
        self.collector = CollectorHost(folder / "collector", agencies=agencies)
        self.station = StationHost(folder / "station")

    def enrol(self) -> None:
        """The collector runs afterwards. The station speaks for the collector's first agency."""
        self.collector.start()
        self.station.enrol(self.collector.enrolment_code(STATION, self.collector.config.agencies[0]))

    def start(self) -> None:
        self.enrol()
        self.station.start()

    @property
    def children(self) -> tuple[Child, Child]:
        return self.collector.child, self.station.child

    def wait_done(self, *, deadline_s: float = 90.0) -> None:
        """Until the station owes nothing; both processes must stay alive meanwhile."""
        wait_until(self.station.is_done, "everything receipted", deadline_s=deadline_s, watch=self.children)

    def close(self) -> None:
        for child in reversed(self.children):
            child.make_sure_it_ended()
        for child in self.children:
            print(f"--- {child.log.name}\n{child.last_words()}")
        print(f"--- status.json\n{json.dumps(self.station.status(), ensure_ascii=False)}")


@contextlib.contextmanager
def open_site(folder: Path, *, agencies: Iterable[str] = (AGENCY,)) -> Iterator[Site]:
    """A site whose processes are gone afterwards, however the test ends."""
    site = Site(folder, agencies=agencies)
    try:
        yield site
    finally:
        site.close()
