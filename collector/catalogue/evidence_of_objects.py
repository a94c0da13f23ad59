"""Where stored bytes were found missing or altered, by the collector's own word in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, select

from collector.catalogue import tables
from collector.core import findings as codes
from collector.core.findings import ClosedBy, Finding, severity_of
from protocol.digest import Digest

DAMAGED: Final = "damaged"
REPAIRED: Final = "repaired"
_CODES: Final = frozenset({codes.OBJECT_MISSING, codes.OBJECT_ALTERED})


def object_findings(connection: Connection, agency: str, digest: Digest) -> Iterator[Finding]:
    """One for each time the object was found damaged, until it was whole again."""
    custody = tables.custody
    query = (
        select(custody)
        .where(custody.c.agency == agency, custody.c.item == digest, custody.c.event.in_([DAMAGED, REPAIRED]))
        .order_by(custody.c.log_index)
    )
    current: dict[str, Finding] = {}
    for event in connection.execute(query):
        where, code = event.item_name, json.loads(event.details).get("code")
        if event.event == REPAIRED:
            if where in current:
                yield current.pop(where).close(event.log_index, ClosedBy.EVIDENCE)
        elif where not in current and code in _CODES:
            current[where] = Finding(
                code=code,
                severity=severity_of(code),
                agency=agency,
                subject=digest,
                place=f"{where} {event.log_index}",
                opened_index=event.log_index,
                details={"class": where},
            )
    yield from current.values()
