"""The collector's only clock. Everything else is told the time."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time now, aware and UTC."""
    return datetime.now(UTC)
