"""How commands speak: results on standard output, failures and progress on standard error."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

_REDRAW_S: Final = 0.2
"""Often enough to look alive, seldom enough to cost nothing."""

FAILED: Final = 1


def speak_anywhere() -> None:
    """What a terminal cannot show is shown as an escape: no name and no locale ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_result(options: argparse.Namespace, values: Mapping[str, object], text: str) -> None:
    """The same result for a machine or for a person, as the options ask."""
    print(json.dumps(values, ensure_ascii=False) if options.json else text)


def print_failure(options: argparse.Namespace, code: str, detail: str) -> int:
    """Say why it could not be done; returns the exit code for that."""
    if options.json:
        print(json.dumps({"error": {"code": code, "detail": detail}}, ensure_ascii=False))
    else:
        print(f"zhilu-collector: {code}: {detail}", file=sys.stderr)
    return FAILED


class ProgressLine:
    """A line that rewrites itself on a terminal (进度); elsewhere silent. Pass ``show`` to what works long."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._drawn_at: float | None = None
        self._step = ""

    def show(self, step: str, done: int, total: int | None = None) -> None:
        """``done`` of ``total`` things of this step, whose name says what is counted; total None: not known."""
        if not self._stream.isatty():
            return
        now, is_new = self._clock(), step != self._step
        if not is_new and done != total and self._drawn_at is not None and now - self._drawn_at < _REDRAW_S:
            return
        if is_new and self._step:
            self._stream.write("\n")
        self._drawn_at, self._step = now, step
        self._stream.write(f"\r\x1b[K{step} {_counted(done, total)}")
        self._stream.flush()

    def close(self) -> None:
        """Leave the last line standing."""
        if self._step:
            self._stream.write("\n")
            self._stream.flush()
            self._step = ""


def _counted(done: int, total: int | None) -> str:
    if not total:
        return f"{done:,}"
    return f"{done:,} / {total:,} ({100 * done // total} %)"
