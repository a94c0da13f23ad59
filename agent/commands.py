"""What the subcommands of ``zhilu-agent`` do; ``cli`` parsed the words."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from agent.app import run, utc_now
from agent.config import AgentConfig
from agent.enrol import enrol
from agent.enrol_errors import EnrolError
from agent.errors import AgentError
from agent.keys.store import FileKeyStore
from agent.logs import log_to_stderr
from agent.status import fit, format_lines, load_status
from agent.stopping import stop_in_time
from protocol.enrolment import EnrolmentResponse
from protocol.enrolment_code import MAX_CODE_CHARS, EnrolmentCode
from protocol.enrolment_proof import verify_enrolment_proof
from protocol.errors import ChainError, ProtocolError
from protocol.times import parse_time

_OLD: Final = timedelta(seconds=30)
"""A running station writes its status every second; while its disk is very busy, later."""


def execute(options: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit code. What it writes is for its own user alone."""
    os.umask(0o077)
    _speak_anywhere()
    log_to_stderr(logging.WARNING)
    try:
        return _COMMANDS[options.command](options)
    except EnrolError as error:
        return _failed(options, error.code, f"{error}\n{error.advice}")
    except (AgentError, ProtocolError) as error:
        return _failed(options, error.code, str(error))
    except OSError as error:
        return _failed(options, "system", str(error))
    except KeyboardInterrupt:
        return _failed(options, "interrupted", "stopped before it was done")
    except BaseExceptionGroup as group:
        reasons = list(dict.fromkeys(map(_reason, _leaves(group))))
        if None in reasons:
            raise  # a mistake of ours: its trace is worth more than a sentence
        return _failed(options, "part-failed", "; ".join(filter(None, reasons)))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _reason(error: BaseException) -> str | None:
    """Why a part of the station ended, where that is for its administrator to mend."""
    if isinstance(error, AgentError | ProtocolError):
        return f"{error.code}: {error}"
    return f"system: {error}" if isinstance(error, OSError) else None


def _speak_anywhere() -> None:
    """What a terminal cannot show is shown as an escape: no name and no locale ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _enroll(options: argparse.Namespace) -> int:
    text = _read_code() if options.code == "-" else options.code
    config = AgentConfig.load(options.data.resolve())
    enrolment = asyncio.run(enrol(text, FileKeyStore(config.keys_dir), _verify_enrolled))
    if options.json:
        print(
            json.dumps(
                {"station": enrolment.station, "agencies": list(enrolment.agencies), "url": enrolment.url}
            )
        )
    else:
        print(f"注册成功 enrolled: {enrolment.station} → {enrolment.url}")
    return 0


def _read_code() -> str:
    """A code comes wrapped and indented at times; what is longer than twice the longest is none."""
    return sys.stdin.buffer.read(2 * MAX_CODE_CHARS).decode("utf-8", "replace")


def _verify_enrolled(code: EnrolmentCode, response: EnrolmentResponse, public_key: bytes) -> None:
    proven = verify_enrolment_proof(
        response.enrolled,
        log_key=code.log_key,
        public_key=public_key,
        station=code.station,
        agencies=code.agencies,
    )
    if proven.collector_public_key != response.collector_public_key:
        raise ChainError("the answer names another collector key than the log")


def _run(options: argparse.Namespace) -> int:
    try:
        asyncio.run(_serve(AgentConfig.load(options.data.resolve()), as_json=options.json))
    finally:
        _let_go_of_stdout()
    return 0


def _let_go_of_stdout() -> None:
    """What is still buffered for a reader that has gone must not decide the exit code (Python's would be 120)."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


async def _serve(config: AgentConfig, *, as_json: bool) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_in_time, stop)
    await run(config, stop, None if as_json else _Console().show)


class _Console:
    """Lines that redraw themselves on a terminal; elsewhere every changed line once."""

    def __init__(self) -> None:
        self._drawn: Sequence[str] = ()

    def show(self, lines: Sequence[str]) -> None:
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


def _status(options: argparse.Namespace) -> int:
    config = AgentConfig.load(options.data.resolve())
    status = load_status(config.status_path)
    if status is None:
        return _failed(options, "no-status", "this station has not been running yet: zhilu-agent run")
    print(json.dumps(status, ensure_ascii=False) if options.json else "\n".join(format_lines(status)))
    if not options.json and utc_now() - parse_time(status["at"]) > _OLD:
        print(f"以上为 {status['at']} 的状态，本站程序可能未在运行。 Old: the station may not be running.")
    return 0


def _failed(options: argparse.Namespace, code: str, detail: str) -> int:
    if options.json:
        print(json.dumps({"error": {"code": code, "detail": detail}}, ensure_ascii=False))
    else:
        print(f"zhilu-agent: {code}: {detail}", file=sys.stderr)
    return 1


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "enroll": _enroll,
    "run": _run,
    "status": _status,
}
