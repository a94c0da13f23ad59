"""Takes receipted blobs out of the spool when space is short. Nothing without a verified receipt is ever touched."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from agent.core.offload import plan_eviction
from agent.spool.journal import Journal

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 256


def evict(
    journal: Journal,
    now: datetime,
    *,
    wanted_free_bytes: int,
    minimum_age: timedelta,
    also_unrendered: bool = False,
) -> int:
    """Take away blobs whose receipts are older than ``minimum_age``, longest receipted first, until so much is free
    or nothing more may go. Originals still waiting for their renditions go only if ``also_unrendered``: their media
    jobs then end with ``original-missing``. Returns the bytes freed. Blocks. Raises SpoolError, JournalError."""
    freed_bytes = 0
    candidates = journal.evictable(now - minimum_age, _AT_ONCE, also_unrendered=also_unrendered)
    free_bytes = journal.files.free_bytes()
    for blob in plan_eviction(candidates, free_bytes=free_bytes, wanted_free_bytes=wanted_free_bytes):
        with journal.naming, journal.transaction():
            if not journal.note_evicted(blob, now):
                continue
            # Before the commit: a crash between the two leaves a journal that names a receipted file already gone,
            # which is evicted again; the other order would leave a file nobody knows of.
            journal.files.remove(blob.purpose, blob.digest)
        freed_bytes += blob.size_bytes
        _LOG.info("evicted", extra={"digest": str(blob.digest), "size_bytes": blob.size_bytes})
    return freed_bytes
