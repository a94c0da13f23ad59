"""From an entry of the log to the statement it commits to."""

from __future__ import annotations

import logging

from collector.catalogue import LoggedStatement
from collector.errors import ObjectCorruptError, ObjectMissingError
from collector.objects import ObjectClass, ObjectStore
from protocol.entry import LogEntry
from protocol.statements import parse_statement

logger = logging.getLogger(__name__)


async def read_logged(objects: ObjectStore, index: int, data: bytes) -> LoggedStatement:
    """The entry with its payload; without it where it was destroyed at disposal or damaged: one payload must not
    keep the log from being read. Raises StorageError."""
    entry = LogEntry.from_bytes(data)
    try:
        payload = await objects.read(entry.agency, ObjectClass.STATEMENTS, entry.statement)
    except (ObjectMissingError, ObjectCorruptError) as error:
        logger.error("log.payload_unreadable index=%d code=%s", index, error.code)
        return LoggedStatement(index=index, entry=entry, statement=None)
    return LoggedStatement(index=index, entry=entry, statement=parse_statement(payload))
