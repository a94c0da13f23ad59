"""The outbox: signed statements until the collector's signed answer. Nothing leaves it by being sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from agent.spool.database import Database, Row, one_value, text_time
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

    def unsettled_statements(
        self, limit: int, *, resting: tuple[datetime, datetime] | None = None
    ) -> list[OutboxRow]:
        """What the collector has not answered, in the order it was journalled; without those offered last between the
        two times of ``resting``, which are given time for their answer."""
        first, last = (None, None) if resting is None else map(format_time, resting)
        rows = self.all(
            "SELECT * FROM statements WHERE outcome IS NULL AND (sent_at BETWEEN ? AND ?) IS NOT TRUE"
            " ORDER BY seq LIMIT ?",
            (first, last, limit),
        )
        return [_outbox_row(row) for row in rows]

    def note_sent(self, statements: Sequence[Digest], now: datetime) -> None:
        """They were handed to the broker or posted: proves nothing, only paces the next attempt."""
        at = format_time(now)
        self.execute_many(
            "UPDATE statements SET sent_at = ?, attempts = attempts + 1 WHERE statement = ?",
            ((at, str(statement)) for statement in statements),
        )

    def known_statements(self, statements: Sequence[Digest]) -> set[Digest]:
        """Those of the statements that this station made."""
        sql = "SELECT statement FROM statements WHERE statement IN (SELECT value FROM json_each(?))"
        return {Digest.parse(row["statement"]) for row in self.all(sql, (one_value(statements),))}

    def settle_admitted(self, admitted: Mapping[Digest, int], now: datetime) -> None:
        """The collector admitted these at their log indices. Repeating changes nothing; an admission overrides a
        refusal."""
        at = format_time(now)
        self.execute_many(
            "UPDATE statements SET outcome = 'admitted', log_index = ?, code = NULL, detail = NULL, settled_at = ?"
            " WHERE statement = ? AND outcome IS NOT 'admitted'",
            ((index, at, str(statement)) for statement, index in admitted.items()),
        )

    def settle_refused(self, statement: Digest, code: str, detail: str | None, now: datetime) -> None:
        """The collector refused it for good: a person must look. Never overrides an admission."""
        self.execute(
            "UPDATE statements SET outcome = 'refused', code = ?, detail = ?, settled_at = ?"
            " WHERE statement = ? AND outcome IS NULL",
            (code, detail, format_time(now), str(statement)),
        )


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
