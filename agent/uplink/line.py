"""Large bodies to the collector: a connection of its own for each upload, driven by a thread with blocking calls.

Why not by the event loop: through asyncio's TLS a gigabyte costs twice the CPU time, and all of it on the loop's one
thread (measured). Here encryption and sending run beside reading and hashing, in reused buffers.

Guarantees: every request ends, by an answer or by CollectorAwayError; a cancelled one has let go of its file and its
connection when ``send`` has returned. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from agent.errors import AgentError
from agent.uplink.answers import MAX_PROBLEM_BYTES, Answer, Timeouts, problem_of
from agent.uplink.errors import CollectorAnswerError, CollectorAwayError

Pieces = Callable[[], Iterator[memoryview]]
"""Makes the body, piece by piece; each piece is sent before the next is asked for. Runs in the line's thread."""

PIECE_BYTES: Final = 256 * 1024
"""Handed to the system at once: it must leave within the stall limit, which a line of 10 KB/s still manages."""

_MAX_LINES: Final = 64
"""More than the uploads a station may be set to do at once; threads are made when they are needed."""


class Lines:
    """The threads of all lines of a station. Close it after the last line."""

    def __init__(self, origin: URL, tls: ssl.SSLContext | None, timeouts: Timeouts) -> None:
        self.origin = origin
        self.tls = tls
        self.timeouts = timeouts
        self.threads = ThreadPoolExecutor(_MAX_LINES, thread_name_prefix="upload")

    def open(self) -> Line:
        """A line that connects when it is first used."""
        return Line(self)

    def close(self) -> None:
        """Waits for threads that are about to end."""
        self.threads.shutdown()


class Line:
    """One connection, used for one request after the other. A line whose request failed connects anew."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._connection: http.client.HTTPConnection | None = None
        self._interrupted = threading.Event()

    async def send(self, method: str, url: URL, headers: Mapping[str, str], pieces: Pieces) -> Answer:
        """One request with its body; ``headers`` has the Content-Length. What ``pieces`` raises comes out as it is.

        Raises CollectorAwayError, CollectorAnswerError.
        """
        self._interrupted.clear()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._lines.threads, self._exchange, method, url, headers, pieces)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._interrupt()
            await asyncio.wait({work})
            if not work.cancelled():
                work.exception()
            raise

    def close(self) -> None:
        """Hang up. Not while a request is under way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _interrupt(self) -> None:
        """Ends the thread's blocking call. The plain socket is shut down: what TLS keeps belongs to the thread."""
        self._interrupted.set()
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it is down already

    def _exchange(self, method: str, url: URL, headers: Mapping[str, str], pieces: Pieces) -> Answer:
        with self._reaching(method, url):
            connection = self._connect()
            connection.putrequest(method, url.raw_path_qs, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            self._send_body(connection, pieces)
            return self._read_answer(connection, url)

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._make()
        if connection.sock is None:
            connection.timeout = self._lines.timeouts.connect_s
            connection.connect()
        if self._interrupted.is_set():
            raise ConnectionAbortedError("interrupted")
        return connection

    def _make(self) -> http.client.HTTPConnection:
        lines, host = self._lines, self._lines.origin.raw_host or ""
        if lines.tls is None:
            return http.client.HTTPConnection(host, lines.origin.port)
        return http.client.HTTPSConnection(host, lines.origin.port, context=lines.tls)

    def _send_body(self, connection: http.client.HTTPConnection, pieces: Pieces) -> None:
        connection.sock.settimeout(self._lines.timeouts.stall_s)
        for piece in pieces():
            for start in range(0, len(piece), PIECE_BYTES):
                if self._interrupted.is_set():
                    raise ConnectionAbortedError("interrupted")
                connection.sock.sendall(piece[start : start + PIECE_BYTES])

    def _read_answer(self, connection: http.client.HTTPConnection, url: URL) -> Answer:
        connection.sock.settimeout(self._lines.timeouts.answer_s)
        with connection.getresponse() as response:
            body = response.read(MAX_PROBLEM_BYTES + 1)
            if len(body) > MAX_PROBLEM_BYTES:
                raise CollectorAnswerError(f"an answer of more than {MAX_PROBLEM_BYTES} bytes to an upload")
            headers = CIMultiDictProxy(CIMultiDict(response.getheaders()))
            problem = problem_of(response.status, headers, body)
            return Answer(status=response.status, headers=headers, url=url, body=body, problem=problem)

    @contextmanager
    def _reaching(self, method: str, url: URL) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            reason = str(error) or type(error).__name__
            raise CollectorAwayError(f"{method} {url.path}: {reason}") from error
        except AgentError:
            self.close()
            raise
