"""Log lines as events: the message names the event, the fields passed in ``extra`` follow it."""

from __future__ import annotations

import logging
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """``time level logger event name=value …``; unprintable characters, which may come from a recorder, are
    replaced, so that a file name cannot forge a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields = "".join(f" {name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        line = super().formatMessage(record) + fields
        return "".join(char if char.isprintable() else "\ufffd" for char in line)


def log_to_stderr(level: int) -> None:
    """Set up logging for a command: once, at its start."""
    handler = logging.StreamHandler()
    handler.setFormatter(EventFormatter())
    logging.basicConfig(level=level, handlers=[handler])
