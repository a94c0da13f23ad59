"""Findings kept in step with what the catalogue knows: computed anew for whatever was marked, and replaced whole.

The result is a function of log and objects: it does not depend on when, in which order or how often this is done.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, delete, select

from collector.catalogue.conservation_tables import findings, unreconciled
from collector.catalogue.evidence_of_files import file_findings
from collector.catalogue.evidence_of_objects import object_findings
from collector.catalogue.evidence_of_releases import release_findings
from collector.catalogue.evidence_of_times import time_findings
from collector.catalogue.explanations import read_words
from collector.catalogue.inventory_facts import inventory_facts
from collector.catalogue.unreconciled import About
from collector.core.explanations import Word, standing
from collector.core.findings import ClosedBy, Finding
from collector.database.engine import insert_new, reading, writing
from protocol.canonical import canonical
from protocol.digest import Digest

Row = dict[str, object]


class Reconciler:
    """One caller at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def marked(self, limit: int) -> dict[About, int]:
        """What is to be looked at again, some of it, and how often it was marked."""
        query = select(unreconciled).order_by(unreconciled.c.subject).limit(limit)
        with reading(self._engine) as connection:
            return {(row.agency, row.subject): row.marks for row in connection.execute(query)}

    def reconcile(self, about: About) -> None:
        """Compute and replace. What is marked meanwhile stays marked. Raises DatabaseError."""
        agency, subject = about
        own = (unreconciled.c.agency == agency, unreconciled.c.subject == subject)
        with reading(self._engine) as connection:
            marks = connection.execute(select(unreconciled.c.marks).where(*own)).scalar_one_or_none()
            rows = [_row(subject, finding) for finding in _compute(connection, agency, subject)]
        with writing(self._engine) as connection:
            connection.execute(
                delete(findings).where(findings.c.agency == agency, findings.c.about == subject)
            )
            insert_new(connection, findings, rows)
            connection.execute(delete(unreconciled).where(*own, unreconciled.c.marks == marks))


def _compute(connection: Connection, agency: str, subject: Digest) -> Iterator[Finding]:
    found: list[Finding] = list(object_findings(connection, agency, subject))
    facts = inventory_facts(connection, agency, subject)
    for source in (file_findings, release_findings, time_findings):
        found += source(connection, facts)
    words = read_words(connection, agency, [finding.id for finding in found])
    for finding in found:
        explanation = standing(words.get(finding.id, ()))
        closed = finding.close(_after(explanation, finding), ClosedBy.EXPLANATION)
        if closed.ever_opened:
            yield closed


def _after(explanation: Word | None, finding: Finding) -> int | None:
    """An explanation of what was not yet evident explains it from its beginning on."""
    return None if explanation is None else max(explanation.index, finding.opened_index + 1)


def _row(about: Digest, finding: Finding) -> Row:
    return {
        "id": finding.id,
        "code": finding.code,
        "severity": finding.severity.value,
        "agency": finding.agency,
        "about": about,
        "subject": finding.subject,
        "place": finding.place,
        "station": finding.station,
        "recorder": finding.recorder,
        "visit": finding.visit,
        "inventory": finding.inventory,
        "row_no": finding.row,
        "path": finding.path,
        "files": finding.files,
        "details": canonical(dict(finding.details)).decode(),
        "opened_index": finding.opened_index,
        "closed_index": finding.closed_index,
        "closed_by": None if finding.closed_by is None else finding.closed_by.value,
        "is_open": finding.closed_index is None,
    }
