"""A graceful stop with a deadline: what counts is durable already, so a part that hangs is not waited for."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading
from typing import Final

DEADLINE_S: Final = 40.0
"""Above the time a dead connection takes to be noticed, below systemd's 90 s before it kills."""


def stop_in_time(stop: asyncio.Event) -> None:
    """Set ``stop``; if the process still lives after the deadline, say where it hangs and end it with 1."""
    stop.set()
    watchdog = threading.Timer(DEADLINE_S, _give_up)
    watchdog.daemon = True
    watchdog.start()


def _give_up() -> None:
    faulthandler.dump_traceback()
    os._exit(1)
