"""How commands speak: results on standard output, failures on standard error, lines that redraw themselves."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

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
        print(f"zhilu-agent: {code}: {detail}", file=sys.stderr)
    return FAILED


def let_go_of_stdout() -> None:
    """What is still buffered for a reader that has gone must not decide the exit code (Python's would be 120)."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Console:
    """Lines that redraw themselves on a terminal; elsewhere every changed line once."""

    def __init__(self) -> None:
        self._drawn: Sequence[str] = ()

    def show(self, lines: Sequence[str]) -> None:
        """Put these lines in the place of the last ones."""
        if sys.stdout.isatty():
            if self._drawn:
                sys.stdout.write(f"\x1b[{len(self._drawn)}F\x1b[J")
            columns = shutil.get_terminal_size().columns
            sys.stdout.write("".join(fit(line, columns) + "\n" for line in lines))
        else:
            fresh = [line for line in lines if line not in self._drawn]
            sys.stdout.write("".join(line + "\n" for line in fresh))
        sys.stdout.flush()
        self._drawn = tuple(lines)


def fit(line: str, columns: int) -> str:
    """As much of a line as fits a terminal; wide characters take two columns. A line that wrapped could not be
    redrawn in place."""
    used = 0
    for place, character in enumerate(line):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return line[:place]
    return line
