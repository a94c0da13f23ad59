"""What the subcommands of ``zhilu-collector`` do; ``cli`` parsed the words, each module here does one group.

A command takes the parsed options and returns its exit code; what it raises of the error trees becomes one line
with the stable code, everything else is a mistake of ours and shows its trace.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Mapping
from typing import Final

from collector.commands.access import enrolment_code, token
from collector.commands.auditing import audit_collector
from collector.commands.founding import init
from collector.commands.importing import import_footage
from collector.commands.keeping import backup, rebuild, restore, resume
from collector.commands.output import print_failure, speak_anywhere
from collector.commands.serving import serve
from collector.errors import CollectorError
from collector.logs import log_to_stderr
from protocol.errors import ProtocolError

COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "init": init,
    "run": serve,
    "enrolment-code": enrolment_code,
    "token": token,
    "audit": audit_collector,
    "rebuild": rebuild,
    "backup": backup,
    "restore": restore,
    "resume": resume,
    "import": import_footage,
}


def execute(options: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit code. What it writes is for its own user alone."""
    os.umask(0o077)
    speak_anywhere()
    log_to_stderr(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return COMMANDS[options.command](options)
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
