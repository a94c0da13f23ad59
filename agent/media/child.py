"""Runs one child process: bounded output, a deadline, and nothing left behind.

When ``run_child`` returns or raises, also by cancellation, the child, its process group and (through bubblewrap's
``--die-with-parent``) everything in its sandbox are dead and reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from agent.errors import MediaLimitError, MediaTimeoutError, SandboxUnavailableError
from agent.media.limits import MAX_MESSAGE_BYTES, MAX_PROBE_OUTPUT_BYTES

_READ_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES: Final = 4096
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
"""The child inherits nothing: our own environment may hold addresses and secrets."""

OnLine = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOutcome:
    """How a child ended. ``exit_status`` is negative for a signal; ``message`` is the tail of standard error."""

    exit_status: int
    output: bytes
    message: bytes


async def run_child(
    argv: Sequence[str],
    *,
    deadline_s: float,
    output_limit_bytes: int = MAX_PROBE_OUTPUT_BYTES,
    on_line: OnLine | None = None,
) -> ChildOutcome:
    """Run ``argv`` to its end. With ``on_line`` standard output is given away line by line and not kept.

    Raises MediaTimeoutError after ``deadline_s``, MediaLimitError when the output is longer than allowed, and
    SandboxUnavailableError when the program cannot be started at all.
    """
    process = await _start(argv)
    stop = partial(_kill_group, process)
    output = _Lines(on_line) if on_line else _Whole(output_limit_bytes, on_excess=stop)
    message = _Tail(MAX_MESSAGE_BYTES)
    tasks = [
        asyncio.create_task(_drain(process.stdout, output, stop), name="child-output"),
        asyncio.create_task(_drain(process.stderr, message, stop), name="child-message"),
        asyncio.create_task(process.wait(), name="child-exit"),
    ]
    ended = asyncio.gather(*tasks)
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.shield(ended)
    except TimeoutError as error:
        raise MediaTimeoutError(f"{argv[0]} did not end within {deadline_s:g} s") from error
    finally:
        stop()
        # Ends by itself: the pipes close when the last process of the sandbox is dead.
        await asyncio.wait(tasks)
    if isinstance(output, _Whole) and output.exceeded:
        raise MediaLimitError(f"the child printed more than {output_limit_bytes} bytes")
    assert process.returncode is not None
    return ChildOutcome(
        exit_status=process.returncode, output=bytes(output.kept), message=bytes(message.kept)
    )


async def _start(argv: Sequence[str]) -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=_ENVIRONMENT, cwd="/", start_new_session=True
        )
    except OSError as error:
        raise SandboxUnavailableError(f"cannot start {argv[0]}: {error.strerror}") from error


def _kill_group(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _drain(stream: asyncio.StreamReader | None, sink: _Sink, stop: Callable[[], None]) -> None:
    """Give all of a pipe to a sink. If that fails, stop the child and empty the pipe, or its end would not be seen."""
    assert stream is not None
    try:
        while data := await stream.read(_READ_BYTES):
            sink.take(data)
    except BaseException:
        stop()
        while await stream.read(_READ_BYTES):
            pass
        raise


class _Sink(Protocol):
    def take(self, data: bytes) -> None: ...


class _Whole:
    """Keeps everything up to a limit; what follows is dropped, and the child is stopped."""

    def __init__(self, limit_bytes: int, *, on_excess: Callable[[], None]) -> None:
        self.kept = bytearray()
        self.exceeded = False
        self._limit_bytes = limit_bytes
        self._on_excess = on_excess

    def take(self, data: bytes) -> None:
        if not self.exceeded and len(self.kept) + len(data) <= self._limit_bytes:
            self.kept += data
        elif not self.exceeded:
            self.exceeded = True
            self._on_excess()


class _Tail:
    """Keeps the last bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self.kept = bytearray()
        self._limit_bytes = limit_bytes

    def take(self, data: bytes) -> None:
        self.kept += data
        del self.kept[: -self._limit_bytes]


class _Lines:
    """Hands out complete lines; a line without end is dropped."""

    def __init__(self, on_line: OnLine) -> None:
        self.kept = b""
        self._pending = b""
        self._on_line = on_line

    def take(self, data: bytes) -> None:
        *lines, rest = (self._pending + data).split(b"\n")
        self._pending = rest if len(rest) <= _MAX_LINE_BYTES else b""
        for line in lines:
            self._on_line(line)
