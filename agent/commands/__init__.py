"""What the subcommands of ``zhilu-agent`` do; ``cli`` parsed the words, each module here does one group.

A command takes the parsed options and returns its exit code; what it raises of the error trees becomes one line
with the stable code, everything else is a mistake of ours and shows its trace.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Final

from agent.commands.output import print_failure, speak_anywhere
from agent.enrol_errors import EnrolError
from agent.errors import AgentError
from agent.logs import log_to_stderr
from firmware_profiles.errors import ProfileError
from protocol.errors import ProtocolError

Command = Callable[[argparse.Namespace], int]

COMMANDS: Final[Mapping[str, str]] = {
    "bays": "bays:bays",
    "enroll": "enrolling:enroll",
    "profiles": "profiling:profiles",
    "receipts": "receipts:receipts",
    "run": "serving:serve",
    "status": "showing:status",
    "checkpoint": "witnessing:checkpoint",
    "rescue": "rescuing:rescue",
}
"""Module and function, imported only when asked for: who looks at the status does not wait for the whole station."""


def find(name: str) -> Command:
    """The function of a subcommand. Raises ModuleNotFoundError where only the bare package is installed."""
    found: Command = resolve_name(f"{__name__}.{COMMANDS[name]}")
    return found


def execute(command: Command, options: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit code. What it writes is for its own user alone."""
    os.umask(0o077)
    speak_anywhere()
    log_to_stderr(logging.WARNING)
    try:
        return command(options)
    except EnrolError as error:
        return print_failure(options, error.code, f"{error}\n{error.advice}")
    except (AgentError, ProfileError, ProtocolError) as error:
        return print_failure(options, error.code, str(error))
    except OSError as error:
        return print_failure(options, "system", str(error))
    except KeyboardInterrupt:
        return print_failure(options, "interrupted", "stopped before it was done")
    except BaseExceptionGroup as group:
        reasons = list(dict.fromkeys(map(_reason, _leaves(group))))
        if None in reasons:
            raise  # a mistake of ours: its trace is worth more than a sentence
        return print_failure(options, "part-failed", "; ".join(filter(None, reasons)))


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
