"""Large bodies to the collector: each request has a connection and a thread of its own, with blocking calls.

Why not the event loop: through asyncio's TLS a gigabyte costs twice the CPU time, and all of it on the loop's one
thread (measured). Here encryption and sending run beside reading and hashing, in reused buffers.

Guarantees: every request ends, by an answer or by CollectorAwayError; a cancelled one has let go of its file and its
connection before the cancellation goes on; the body is sent only once the collector has asked for it (``100
Continue``), so that a refusal costs no bytes. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Final, cast

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from agent.uplink.answers import MAX_PROBLEM_BYTES, Answer, Timeouts, problem_of
from agent.uplink.errors import CollectorAnswerError, CollectorAwayError

Pieces = Callable[[], Iterator[memoryview]]
"""Makes the body, piece by piece; each piece is sent before the next is asked for. Runs in the line's thread. An empty
piece says that there is nothing at the moment; one comes within a second, so that a cancelled request ends soon."""

PIECE_BYTES: Final = 256 * 1024
"""Handed to the system at once: it must leave within the stall limit, which a line of 10 KB/s still manages."""

_MAX_LINES: Final = 64
"""More than the uploads a station may be set to do at once; threads are made when they are needed."""

_INFORMATIONAL: Final = b"HTTP/1.1 1"


class Lines:
    """The threads of a station's large bodies. Close it after the last one."""

    def __init__(self, origin: URL, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        self._origin = origin
        self._tls = tls
        self._timeouts = timeouts
        self._threads = ThreadPoolExecutor(_MAX_LINES, thread_name_prefix="upload")

    async def send(self, method: str, url: URL, headers: Mapping[str, str], pieces: Pieces) -> Answer:
        """One request with its body; ``headers`` has the Content-Length. What ``pieces`` raises comes out as it is.

        Raises CollectorAwayError, CollectorAnswerError.
        """
        line = _Line(self._origin, self._tls, self._timeouts)
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, line.exchange, method, url, headers, pieces
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            line.interrupt()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()
            raise

    def close(self) -> None:
        """Waits for threads that are about to end."""
        self._threads.shutdown()


class _Line:
    """One request on one connection."""

    def __init__(self, origin: URL, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        self._origin = origin
        self._tls = tls
        self._timeouts = timeouts
        self._plain: socket.socket | None = None
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """From another thread: ends the blocking call. What TLS keeps of the connection is left alone."""
        self._interrupted.set()
        if self._plain is not None:
            _shut_down(self._plain)

    def exchange(self, method: str, url: URL, headers: Mapping[str, str], pieces: Pieces) -> Answer:
        """In a thread. Raises as ``Lines.send``."""
        with self._reaching(method, url), closing(self._connect()) as line:
            self._require_wanted()
            line.sendall(_head(method, url, headers))
            line.settimeout(self._timeouts.answer_s)
            with line.makefile("rb") as incoming:
                if incoming.peek(len(_INFORMATIONAL)).startswith(_INFORMATIONAL):
                    self._send_body(line, pieces)
                return _read_answer(incoming, url)

    def _connect(self) -> socket.socket:
        address = (self._origin.host or "", self._origin.port or 0)
        self._plain = plain = socket.create_connection(address, self._timeouts.connect_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        try:
            line = self._tls.wrap_socket(plain, server_hostname=self._origin.host)
        except BaseException:
            plain.close()
            raise
        self._plain = line
        return line

    def _send_body(self, line: socket.socket, pieces: Pieces) -> None:
        line.settimeout(self._timeouts.stall_s)
        for piece in pieces():
            self._require_wanted()
            for start in range(0, len(piece), PIECE_BYTES):
                self._require_wanted()
                line.sendall(piece[start : start + PIECE_BYTES])
        line.settimeout(self._timeouts.answer_s)

    def _require_wanted(self) -> None:
        if self._interrupted.is_set():
            raise ConnectionAbortedError("interrupted")

    @contextmanager
    def _reaching(self, method: str, url: URL) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise CollectorAwayError(f"{method} {url.path}: {reason}") from error


def _head(method: str, url: URL, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {url.authority}", "Expect: 100-continue"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode("ascii")


def _read_answer(incoming: io.BufferedReader, url: URL) -> Answer:
    """The final answer; informational ones before it are passed over."""
    response = http.client.HTTPResponse(cast(socket.socket, _Given(incoming)))
    response.begin()
    body = response.read(MAX_PROBLEM_BYTES + 1)
    if len(body) > MAX_PROBLEM_BYTES:
        raise CollectorAnswerError(f"an answer of more than {MAX_PROBLEM_BYTES} bytes to an upload")
    headers = CIMultiDictProxy(CIMultiDict(response.getheaders()))
    problem = problem_of(response.status, headers, body)
    return Answer(status=response.status, headers=headers, url=url, body=body, problem=problem)


class _Given:
    """What ``http.client`` asks of a socket: the stream its answer comes from, which here is open already."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._stream


def _shut_down(line: socket.socket) -> None:
    with suppress(OSError):  # it is down already
        socket.socket.shutdown(line, socket.SHUT_RDWR)
