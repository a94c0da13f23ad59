"""What the log says in explanation of findings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from collector.catalogue import tables
from collector.catalogue.reader import Reader
from collector.core.explanations import EXPLAINED, WITHDRAWN, Word
from protocol.digest import Digest

_CHUNK: Final = 500


class ExplanationQueries(Reader):
    """For whoever explains."""

    def words_about(self, finding: Digest, agency: str) -> list[Word]:
        """Every explanation of the finding and every withdrawal, in log order."""
        with self._reading() as connection:
            return read_words(connection, agency, [finding]).get(finding, [])


def read_words(connection: Connection, agency: str, findings: Sequence[Digest]) -> dict[Digest, list[Word]]:
    """As ``words_about`` for many findings of one agency; those nobody spoke of are left out."""
    custody = tables.custody
    found: dict[Digest, list[Word]] = {}
    for start in range(0, len(findings), _CHUNK):
        query = (
            select(custody)
            .where(
                custody.c.agency == agency,
                custody.c.item.in_(findings[start : start + _CHUNK]),
                custody.c.event.in_([EXPLAINED, WITHDRAWN]),
            )
            .order_by(custody.c.log_index)
        )
        for row in connection.execute(query):
            word = Word(
                event=row.event,
                index=row.log_index,
                statement=row.statement,
                actor=row.actor,
                reason=str(json.loads(row.details).get("reason", "")),
                said_at=row.issued_at,
            )
            found.setdefault(row.item, []).append(word)
    return found
