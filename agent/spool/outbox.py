"""The outbox: signed statements until the collector's signed answer. Nothing leaves it by being sent."""

from __future__ import annotations

from datetime import datetime

from agent.spool.database import Database, Row, text_time
from agent.spool.records import OutboxRow
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.statements import statement_id
from protocol.times import format_time, parse_time


class Outbox(Database):
    """Statements to announce, oldest first."""

    def put_statement(self, envelope: Envelope, *, kind: str, agency: str, now: datetime) -> Digest:
        """Keep a statement until it is settled; the same one twice is kept once. Returns its id."""
        statement = statement_id(envelope)
        self.execute(
            "INSERT INTO statements (statement, kind, agency, envelope, created_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (statement) DO NOTHING",
            (str(statement), kind, agency, envelope.to_bytes(), format_time(now)),
        )
        return statement

    def statement(self, statement: Digest) -> bytes | None:
        """The envelope of a statement this station made, settled or not."""
        row = self.one("SELECT envelope FROM statements WHERE statement = ?", (str(statement),))
        return None if row is None else bytes(row["envelope"])

    def unsettled_statements(self, limit: int) -> list[OutboxRow]:
        """What the collector has not answered, in the order it was journalled."""
        rows = self.all("SELECT * FROM statements WHERE outcome IS NULL ORDER BY seq LIMIT ?", (limit,))
        return [_outbox_row(row) for row in rows]

    def note_sent(self, statement: Digest, now: datetime) -> None:
        """It was handed to the broker or posted: proves nothing, only paces the next attempt."""
        self.execute(
            "UPDATE statements SET sent_at = ?, attempts = attempts + 1 WHERE statement = ?",
            (format_time(now), str(statement)),
        )

    def settle_admitted(self, statement: Digest, index: int, now: datetime) -> bool:
        """The collector admitted it at this log index. Repeating changes nothing; an admission overrides a refusal.
        False for a statement this journal does not hold."""
        return self._settle(statement, "admitted", now, index=index)

    def settle_refused(self, statement: Digest, code: str, detail: str | None, now: datetime) -> bool:
        """The collector refused it for good: a person must look. Never overrides an admission. False for a statement
        this journal does not hold."""
        return self._settle(statement, "refused", now, code=code, detail=detail)

    def _settle(
        self,
        statement: Digest,
        outcome: str,
        now: datetime,
        *,
        index: int | None = None,
        code: str | None = None,
        detail: str | None = None,
    ) -> bool:
        with self.transaction():
            known = self.one("SELECT outcome FROM statements WHERE statement = ?", (str(statement),))
            if known is None or known["outcome"] in ("admitted", outcome):
                return known is not None
            self.execute(
                "UPDATE statements SET outcome = ?, log_index = ?, code = ?, detail = ?, settled_at = ?"
                " WHERE statement = ?",
                (outcome, index, code, detail, format_time(now), str(statement)),
            )
        return True


def _outbox_row(row: Row) -> OutboxRow:
    return OutboxRow(
        statement=Digest.parse(row["statement"]),
        agency=row["agency"],
        kind=row["kind"],
        envelope=bytes(row["envelope"]),
        created_at=parse_time(row["created_at"]),
        sent_at=text_time(row["sent_at"]),
        attempts=row["attempts"],
    )
