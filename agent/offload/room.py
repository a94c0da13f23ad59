"""Back-pressure: a full spool makes reading wait, and nothing else. Nothing is ever dropped to make room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from agent.core.offload import has_room
from agent.offload.settings import VisitTools
from agent.spool.eviction import evict

_EVICT_AHEAD_BYTES: Final = 2**30
"""Evicted beyond what is needed: looking for what may go is not free, so not before every file."""


async def wait_for_room(wanted_bytes: int, tools: VisitTools, waiting: Callable[[bool], None]) -> None:
    """Evict what may go, and wait until so many bytes fit above the watermark. ``waiting`` is told when the wait
    begins and ends. Raises SpoolError, JournalError."""
    has_waited = False
    while not await asyncio.to_thread(_make_room, wanted_bytes, tools):
        if not has_waited:
            has_waited = True
            waiting(True)
        await asyncio.sleep(tools.settings.recheck_s)
    if has_waited:
        waiting(False)


def _make_room(wanted_bytes: int, tools: VisitTools) -> bool:
    """Evicts early what nobody needs. Only when reading would have to wait do renditions give way to originals."""
    settings = tools.settings
    if _is_short(settings.evict_below_bytes, wanted_bytes, tools):
        _evict_to(settings.evict_below_bytes + wanted_bytes, tools, also_unrendered=False)
    if _is_short(settings.watermark_bytes, wanted_bytes, tools):
        _evict_to(settings.watermark_bytes + wanted_bytes, tools, also_unrendered=True)
    return not _is_short(settings.watermark_bytes, wanted_bytes, tools)


def _is_short(watermark_bytes: int, wanted_bytes: int, tools: VisitTools) -> bool:
    free_bytes = tools.journal.files.free_bytes()
    return not has_room(free_bytes=free_bytes, wanted_bytes=wanted_bytes, watermark_bytes=watermark_bytes)


def _evict_to(free_bytes: int, tools: VisitTools, *, also_unrendered: bool) -> None:
    evict(
        tools.journal,
        tools.clock(),
        wanted_free_bytes=free_bytes + _EVICT_AHEAD_BYTES,
        minimum_age=tools.settings.evict_after,
        also_unrendered=also_unrendered,
    )
