"""Mosquitto as a child of the collector: configured here, started here, and never outliving the collector.

The broker is not trusted with anything but delivery: what counts is signed, committed and answered. What it is told is
``collector.broker.mosquitto_config``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import shutil
import signal
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from collector.broker.errors import MosquittoMissingError, MosquittoStartError
from collector.broker.mosquitto_config import MosquittoSettings, StationAccess, render_access, render_config
from collector.private_files import write_durable

READY_TIMEOUT_S: Final = 20
"""From start to the first TLS handshake: well under a second, plus reading a large queue from disk."""

STOP_TIMEOUT_S: Final = 10
"""To write its queue to disk after SIGTERM."""

MAX_RESTART_DELAY_S: Final = 30.0
STABLE_AFTER_S: Final = 60.0
"""A broker that lived so long starts anew without delay."""

_PROBE_EVERY_S: Final = 0.05
_LAST_WORDS: Final = 10
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

_log = logging.getLogger(__name__)


class ManagedMosquitto:
    """Starts the child, keeps it running, stops it. ``probe`` is the collector's own client context.

    Start and stop it on the main thread's event loop: the kernel ends the child when the *thread* that started it
    ends (PR_SET_PDEATHSIG).
    """

    def __init__(self, settings: MosquittoSettings, *, probe: ssl.SSLContext) -> None:
        self._settings = settings
        self._probe = probe
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._access = render_access(())

    async def give_access(self, stations: Iterable[StationAccess]) -> None:
        """From now on exactly these stations, also over connections that are open. Raises OSError; then nothing has
        changed. A running child takes it over within a tenth of a second."""
        wanted = render_access(stations)
        if wanted == self._access:
            return
        await asyncio.to_thread(self._write_access, wanted)
        self._access = wanted
        if self.pid is not None and self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int | None:
        """Of the running child."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self) -> None:
        """Returns when it accepts TLS connections; from then on it is started again whenever it ends.

        Raises MosquittoMissingError or MosquittoStartError.
        """
        command = _command(self._settings)
        _check_address_free(self._settings.host, self._settings.port)
        self._write_files()
        await self._spawn(command)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._wait_ready()
        except (TimeoutError, MosquittoStartError) as error:
            await self._end_child()
            raise MosquittoStartError(f"mosquitto did not come up: {self._words() or 'no output'}") from error
        self._supervisor = asyncio.create_task(self._keep_running(command), name="mosquitto supervisor")

    async def stop(self) -> None:
        """Ends the child, which writes its queue to disk; does nothing if it was never started."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self._end_child()

    def _write_files(self) -> None:
        user = pwd.getpwuid(os.geteuid()).pw_name
        self._write_access(self._access)
        config = render_config(self._settings, user=user)
        write_durable(self._settings.folder / "mosquitto.conf", config.encode())

    def _write_access(self, access: str) -> None:
        self._settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durable(self._settings.folder / "access", access.encode())

    async def _spawn(self, command: list[str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _log.info("mosquitto started", extra={"pid": self._process.pid, "port": self._settings.port})

    async def _keep_running(self, command: list[str]) -> None:
        delay = 1.0
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._run_to_end()
            if asyncio.get_running_loop().time() - started > STABLE_AFTER_S:
                delay = 1.0
            _log.error("mosquitto ended", extra={"code": code, "words": self._words(), "restart_in_s": delay})
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RESTART_DELAY_S)
            await self._spawn_again(command)

    async def _spawn_again(self, command: list[str]) -> None:
        try:
            await self._spawn(command)
        except OSError as error:  # out of processes or memory: the next round tries again
            _log.error("mosquitto could not be started", extra={"reason": str(error)})

    async def _run_to_end(self) -> int | None:
        """Reads the log of the running child until it ends."""
        process = self._process
        if process is None or process.stderr is None:
            return None
        async for line in process.stderr:
            self._note(line)
        return await process.wait()

    async def _wait_ready(self) -> None:
        """Raises MosquittoStartError if the child ends first."""
        process = self._process
        while process is not None and process.returncode is None:
            if await self._accepts_tls():
                return
            await asyncio.sleep(_PROBE_EVERY_S)
        if process is not None and process.stderr is not None:
            for line in (await process.stderr.read()).splitlines():
                self._note(line)
        raise MosquittoStartError("mosquitto ended at once")

    async def _accepts_tls(self) -> bool:
        host = _ANY_ADDRESS.get(self._settings.host, self._settings.host)
        try:
            _, writer = await asyncio.open_connection(host, self._settings.port, ssl=self._probe)
        except OSError:
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    async def _end_child(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.communicate()
        except TimeoutError:
            _log.error("mosquitto does not end, killed", extra={"pid": process.pid})
            process.kill()
            await process.communicate()

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        self._last_words.append(text)
        _log.log(logging.WARNING if text.startswith("Error") else logging.INFO, "mosquitto: %s", text)

    def _words(self) -> str:
        return " | ".join(self._last_words)


def _command(settings: MosquittoSettings) -> list[str]:
    """SIGTERM on the collector's death, not SIGKILL: the queue shall still be written."""
    setpriv, mosquitto = _find("setpriv", "util-linux"), _find(settings.program, "mosquitto")
    config = settings.folder.absolute() / "mosquitto.conf"
    return [setpriv, "--pdeathsig", "TERM", "--", mosquitto, "-c", str(config)]


def _check_address_free(host: str, port: int) -> None:
    """Or a broker left behind by another collector could answer the readiness probe in the child's place."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise MosquittoStartError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _find(program: str, package: str) -> str:
    # Debian keeps daemons in /usr/sbin, which is not in every user's PATH
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise MosquittoMissingError(f"{program} is not installed: apt-get install {package}")
    return found
