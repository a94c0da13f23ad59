"""What the subcommands of ``zhilu-collector`` do; ``cli`` parsed the words, each module here does one group.

A command takes the parsed options and returns its exit code; what it raises of the error trees becomes one line
with the stable code, everything else is a mistake of ours and shows its trace.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Final

from collector.commands.output import print_failure, speak_anywhere
from collector.errors import CollectorError
from collector.logs import log_to_stderr
from protocol.errors import ProtocolError

Command = Callable[[argparse.Namespace], int]

COMMANDS: Final[Mapping[str, str]] = {
    "init": "founding:init",
    "run": "serving:serve",
    "enrolment-code": "access:enrolment_code",
    "token": "access:token",
    "audit": "auditing:audit_collector",
    "explain": "explaining:explain",
    "rebuild": "keeping:rebuild",
    "backup": "keeping:backup",
    "restore": "keeping:restore",
    "resume": "keeping:resume",
    "import": "importing:import_footage",
}
"""Module and function, imported only when asked for: who wants a token does not wait for the whole collector."""


def find(name: str) -> Command:
    """The function of a subcommand. Raises ModuleNotFoundError where only the bare package is installed."""
    found: Command = resolve_name(f"{__name__}.{COMMANDS[name]}")
    return found


def execute(command: Command, options: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit code. What it writes is for its own user alone."""
    os.umask(0o077)
    speak_anywhere()
    log_to_stderr(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return command(options)
    except (CollectorError, ProtocolError) as error:
        return print_failure(options, error.code, str(error))
    except OSError as error:
        return print_failure(options, "system", str(error))
    except KeyboardInterrupt:
        return print_failure(options, "interrupted", "stopped before it was done")
    except BaseExceptionGroup as group:
        if (known := group.subgroup(CollectorError)) is None:
            raise
        return print_failure(options, "part-failed", str(known.exceptions[0]))
