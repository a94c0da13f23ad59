"""The mount helper as a server on a unix socket: who may ask, how much, and how long anybody waits.

Only the agent's user is answered (SO_PEERCRED). Each port has one request at work at a time, in a thread of its own: a
device that hangs keeps that thread, the one who asks is answered ``mount-busy`` at the deadline, and no other bay
notices.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.mounting.bay import BayMounts, Machine
from agent.mounting.places import clear
from agent.mounting.settings import MounterSettings
from agent.mounting.wire import MAX_LINE_BYTES, Act, Request, encode_answer, encode_error, parse_request
from agent.usb.errors import MountBusyError, MountFailedError, MountRefusedError
from agent.usb.ports import Mounted

_log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 64
"""The agent opens one for each request, one request for each bay at a time; more bays wait in the backlog."""

REQUEST_S: Final = 60.0
"""The slowest that ends well is syncing what was erased to a slow card."""

_IDLE_S: Final = 10.0
_CLOSE_S: Final = 10.0
_PEER: Final = struct.Struct("3i")


class MountIds:
    """Numbers that no other mount of this boot has, also across restarts: nanoseconds since boot, ever growing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            return self._last


class MounterService:
    """Answers requests until closed. Nobody else mounts below its base directory."""

    def __init__(self, settings: MounterSettings, machine: Machine, *, request_s: float = REQUEST_S) -> None:
        self._settings = settings
        self._request_s = request_s
        self._bays = {
            port_path: _Desk(BayMounts(port_path, settings, machine)) for port_path in settings.bays
        }
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Clean up after a helper before this one, and listen. Raises OSError."""
        for folder in (self._settings.socket.parent, self._settings.base):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o750, parents=True)
        clear(self._settings.base)
        self._listener = _listening(self._settings.socket)

    def serve(self) -> None:
        """Until ``close``."""
        listener = self._listener
        while listener is not None and self._listener is listener:
            self._room.acquire()
            try:
                line, _ = listener.accept()
            except OSError:
                self._room.release()
                return
            threading.Thread(target=self._attend, args=(line,), name="mounter-line", daemon=True).start()

    def close(self) -> None:
        """Stop listening, unmount everything, and let go of what is still in use or hangs."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        leaving = [threading.Thread(target=desk.close, daemon=True) for desk in self._bays.values()]
        for thread in leaving:
            thread.start()
        deadline = time.monotonic() + _CLOSE_S
        for thread in leaving:
            thread.join(max(0.0, deadline - time.monotonic()))
        clear(self._settings.base)

    def _attend(self, line: socket.socket) -> None:
        try:
            with line, contextlib.suppress(OSError):
                line.settimeout(_IDLE_S)
                line.sendall(self._answer(line))
        finally:
            self._room.release()

    def _answer(self, line: socket.socket) -> bytes:
        """Raises OSError."""
        said = _read_line(
            line
        )  # before anything is refused: hanging up on unread words would lose the answer
        try:
            self._check_peer(line)
            mounted = self._do(parse_request(said))
        except AgentError as error:
            _log.warning("mounter.refused", extra={"code": error.code, "error": str(error)})
            return encode_error(error)
        return encode_answer(mounted)

    def _check_peer(self, line: socket.socket) -> None:
        credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, user_id, _ = _PEER.unpack(credentials)
        if user_id != self._settings.user_id:
            raise MountRefusedError(f"user {user_id} may not ask")

    def _do(self, request: Request) -> Mounted | None:
        desk = self._bays.get(request.port_path)
        if desk is None:
            raise MountRefusedError(f"port {request.port_path} is no bay of this station")
        return desk.do(request, self._request_s)


class _Desk:
    """One port: requests one after the other, each with a deadline."""

    def __init__(self, mounts: BayMounts) -> None:
        self._mounts = mounts
        self._at_work = threading.Lock()

    def do(self, request: Request, deadline_s: float) -> Mounted | None:
        """Raises the errors of ``Mounter``; MountBusyError at the deadline, though the work goes on."""
        port = self._mounts.port_path
        if not self._at_work.acquire(timeout=deadline_s):
            raise MountBusyError(f"an earlier request at port {port} still waits for its device")
        outcome = _Outcome(lambda: self._mounts.do(request), self._at_work)
        threading.Thread(target=outcome.work, name=f"mounter-{port}", daemon=True).start()
        return outcome.result(deadline_s, port)

    def close(self) -> None:
        """Unmount what can be unmounted."""
        request = Request(act=Act.UNMOUNT, port_path=self._mounts.port_path, volume=None)
        with contextlib.suppress(AgentError):
            self.do(request, _CLOSE_S)


class _Outcome:
    """What becomes of one request, in its thread."""

    def __init__(self, work: Callable[[], Mounted | None], at_work: threading.Lock) -> None:
        self._work = work
        self._at_work = at_work
        self._done = threading.Event()
        self._mounted: Mounted | None = None
        self._error: AgentError | None = None

    def work(self) -> None:
        try:
            self._mounted = self._work()
        except AgentError as error:
            self._error = error
        except Exception as error:
            _log.exception("mounter.failed")
            self._error = MountFailedError(f"the mounter failed: {error}")
        finally:
            self._at_work.release()
            self._done.set()

    def result(self, deadline_s: float, port: str) -> Mounted | None:
        if not self._done.wait(deadline_s):
            raise MountBusyError(f"the device at port {port} does not answer")
        if self._error is not None:
            raise self._error
        return self._mounted


def _read_line(line: socket.socket) -> bytes:
    """What was sent up to the first end of line; longer ones are cut and so refused."""
    deadline = time.monotonic() + _IDLE_S
    data = b""
    while not data.endswith(b"\n") and len(data) <= MAX_LINE_BYTES:
        line.settimeout(max(0.001, deadline - time.monotonic()))
        piece = line.recv(MAX_LINE_BYTES + 1 - len(data))
        if not piece:
            break
        data += piece
    return data


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)  # for root and the agent's group
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(MAX_CONNECTIONS)
    return listener
