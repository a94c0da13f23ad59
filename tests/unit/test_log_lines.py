"""Do log lines carry their fields, and can nobody forge one?"""

from __future__ import annotations

import logging

import pytest

from agent.logs import EventFormatter as AgentFormatter
from collector.logs import EventFormatter as CollectorFormatter

FORMATTERS = [AgentFormatter(), CollectorFormatter()]


def line(formatter: logging.Formatter, message: str, **fields: object) -> str:
    record = logging.makeLogRecord(
        {"name": "room", "levelname": "WARNING", "msg": message, "created": 0.0, **fields}
    )
    return formatter.format(record)


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_fields_follow_the_event(formatter: logging.Formatter) -> None:
    assert line(formatter, "recorder-refused", code="profile-conflict", bay="bay-1").endswith(
        "WARNING room recorder-refused code=profile-conflict bay=bay-1"
    )


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_name_cannot_forge_a_line_or_drive_a_terminal(formatter: logging.Formatter) -> None:
    assert "\n" not in line(formatter, "file", name_shown="a\n2026 ERROR room forged\x1b[2J")
    assert "\x1b" not in line(formatter, "a\x1b[2Jb")
