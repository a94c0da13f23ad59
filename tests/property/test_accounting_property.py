"""Is every listed file always in exactly one state, whatever happens in whatever order (I3)?"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.spool.journal import Journal
from agent.spool.records import NewRow, OriginalRecord, RowToRead, VisitRecord
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from tests.support.lossy_spool import LossySpool
from tests.support.visit_lab import SEED

NOW = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
NAMES = st.sets(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=5)
CHOICE = st.integers(min_value=0, max_value=1000)


class Recorders(RuleBasedStateMachine):
    """One recorder that comes, changes, is read and leaves, and a collector that answers."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.journal = Journal(Path(self._folder.name) / "journal.db", LossySpool())
        self.visits: list[str] = []
        self.inventories: list[Digest] = []
        self.sequence = 0
        self.count = 0

    def teardown(self) -> None:
        self.journal.close()
        self._folder.cleanup()

    def envelope(self) -> Envelope:
        self.count += 1
        return Envelope.sign(STATEMENT_TYPE, b"%d" % self.count, SEED)

    def new_row(self, name: bytes, version: int) -> NewRow:
        row = NewRow(path=name, shown=name.decode(), size_bytes=version, modified_ns=version, state="to_read")
        if name == b"e":
            return replace(row, state="excluded", rule="trash-folder")
        return row

    def list_files(self, names: set[bytes], version: int) -> None:
        rows = [self.new_row(name, version) for name in sorted(names)]
        visit = VisitRecord(
            visit=self.visits[-1],
            dock="folder",
            bay="bay-1",
            generation=self.visits[-1],
            recorder_key="recorder:7",
            profile="dcf@1",
            agency="agency-1",
            opened_at=NOW,
        )
        inventory = self.journal.record_inventory(
            self.envelope(),
            visit=visit,
            sequence=self.sequence,
            listing=Digest.of(b"%d" % self.count),
            listing_size_bytes=1,
            rows=rows,
            now=NOW,
        )
        self.inventories.append(inventory)
        for row in self.journal.rows_missing(visit.visit, inventory):
            self.journal.record_unreadable(row, self.envelope(), code="file-vanished", now=NOW)

    @rule(names=NAMES, version=st.integers(min_value=1, max_value=3))
    def dock(self, names: set[bytes], version: int) -> None:
        self.visits.append(f"{len(self.visits):032x}")
        self.sequence = 1
        self.list_files(names, version)

    @precondition(lambda self: self.visits)
    @rule(names=NAMES, version=st.integers(min_value=1, max_value=3))
    def change(self, names: set[bytes], version: int) -> None:
        self.sequence += 1
        self.list_files(names, version)

    def pick(self, choice: int) -> RowToRead | None:
        rows = self.journal.rows_to_read(self.inventories[-1]) if self.inventories else []
        return rows[choice % len(rows)] if rows else None

    @rule(choice=CHOICE)
    def read(self, choice: int) -> None:
        row = self.pick(choice)
        if row is not None:
            digest = Digest.of(row.key.path + b"%d" % row.key.size_bytes)
            record = OriginalRecord(
                row=row,
                envelope=self.envelope(),
                digest=digest,
                size_bytes=row.size_bytes,
                media_type="video/mp4",
                marked=False,
                recorder=None,
            )
            self.journal.record_original(record, NOW)

    @rule(choice=CHOICE)
    def give_up(self, choice: int) -> None:
        row = self.pick(choice)
        if row is not None:
            self.journal.record_unreadable(row, self.envelope(), code="file-unreadable", now=NOW)

    @rule(choice=CHOICE)
    def receipt(self, choice: int) -> None:
        deliveries = self.journal.open_deliveries(100)
        if deliveries:
            statement = deliveries[choice % len(deliveries)].statement
            self.journal.settle_receipt(statement, b"receipt", b"note", NOW)

    @invariant()
    def every_row_is_in_exactly_one_state(self) -> None:
        accounts = [self.journal.accounting(visit) for visit in self.visits]
        accounts += [self.journal.inventory_accounting(inventory) for inventory in self.inventories]
        for account in accounts:
            parts = account.stored + account.pending + account.unreadable + account.excluded
            assert account.listed == parts
            assert account.unread <= account.pending
            assert account.bytes_unread <= account.bytes_listed

    @invariant()
    def a_visit_waits_only_for_what_its_last_inventory_lists(self) -> None:
        if self.inventories:
            unread = self.journal.accounting(self.visits[-1]).unread
            assert unread == len(self.journal.rows_to_read(self.inventories[-1]))


Recorders.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAccounting = Recorders.TestCase
