"""Does the journal still know everything after it was closed, and is everything in it there or not at all?"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.spool import database
from agent.spool.database import Database
from agent.spool.errors import JournalError, JournalNewerError, JournalStorageError
from agent.spool.eviction import evict
from agent.spool.files import Publication
from agent.spool.journal import Journal
from agent.spool.records import (
    FileKey,
    NewRow,
    OriginalRecord,
    Priority,
    Purpose,
    RowToRead,
    VerifiedDelivery,
    VisitRecord,
)
from protocol.claims import Claim
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from tests.support.lossy_spool import LossySpool
from tests.support.visit_lab import SEED

NOW = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=2)
VISIT = VisitRecord(
    visit="0" * 32,
    dock="folder",
    bay="bay-1",
    generation="boot:1:2",
    recorder_key="recorder:7",
    profile="dcf@1",
    agency="agency-1",
    opened_at=NOW,
)


def envelope(text: str) -> Envelope:
    return Envelope.sign(STATEMENT_TYPE, text.encode(), SEED)


def new_row(name: str, size_bytes: int = 10, **changes: object) -> NewRow:
    row = NewRow(
        path=name.encode(), shown=name, size_bytes=size_bytes, modified_ns=1_000_000_007, state="to_read"
    )
    return replace(row, **changes)  # type: ignore[arg-type]


class Bench:
    """A journal that can be closed and opened again, as after a kill."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.spool = LossySpool()
        self.journal = Journal(self.path, self.spool)

    def reopen(self) -> Journal:
        self.journal.close()
        self.journal = Journal(self.path, self.spool)
        return self.journal

    def inventory(self, *rows: NewRow, sequence: int = 1, visit: VisitRecord = VISIT) -> Digest:
        return self.journal.record_inventory(
            envelope(f"inventory {visit.visit} {sequence}"),
            visit=visit,
            sequence=sequence,
            listing=Digest.of(f"listing {visit.visit} {sequence}".encode()),
            listing_size_bytes=100,
            rows=rows,
            now=NOW,
        )

    def original(self, row: RowToRead, data: bytes = b"bytes", *, marked: bool = False) -> Digest:
        digest = Digest.of(data)
        partial = self.spool.open_brief(str(digest))
        partial.append(memoryview(bytearray(data)), len(data))
        partial.flush()
        self.spool.publish([Publication(partial=str(digest), purpose=Purpose.ORIGINAL, digest=digest)])
        return self.journal.record_original(
            OriginalRecord(
                row=row,
                envelope=envelope(f"manifest {row.id}"),
                digest=digest,
                size_bytes=len(data),
                media_type="video/mp4",
                marked=marked,
                recorder=Claim("7", "name"),
            ),
            NOW,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.journal.close()


# Outbox


def test_a_statement_is_kept_once_and_until_it_is_answered(bench: Bench) -> None:
    first = bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=NOW)
    assert bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=LATER) == first
    second = bench.journal.put_statement(envelope("b"), kind="media", agency="agency-1", now=NOW)
    bench.journal.note_sent([first], LATER)
    rows = bench.reopen().unsettled_statements(10)
    assert [(row.statement, row.sent_at, row.attempts) for row in rows] == [
        (first, LATER, 1),
        (second, None, 0),
    ]
    assert rows[0].envelope == envelope("a").to_bytes()
    bench.journal.settle_admitted({first: 5}, LATER)
    bench.journal.settle_refused(second, "chain-broken", "no inventory", LATER)
    assert bench.reopen().unsettled_statements(10) == []
    assert bench.journal.backlog().statements_refused == 1


def test_an_admission_overrides_a_refusal_but_not_the_other_way_round(bench: Bench) -> None:
    statement = bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=NOW)
    bench.journal.settle_refused(statement, "not-enrolled", "", NOW)
    bench.journal.settle_admitted({statement: 5}, NOW)
    bench.journal.settle_refused(statement, "not-enrolled", "", NOW)
    assert bench.journal.backlog().statements_refused == 0


def test_a_foreign_statement_is_known_as_such(bench: Bench) -> None:
    own = bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=NOW)
    foreign = Digest.of(b"foreign")
    bench.journal.settle_admitted({own: 5, foreign: 6}, NOW)
    assert bench.journal.known_statements([foreign, own]) == {own}
    assert bench.journal.known_statements([]) == set()


def test_a_statement_offered_a_moment_ago_rests_unless_the_clock_was_set_back(bench: Bench) -> None:
    first = bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=NOW)
    second = bench.journal.put_statement(envelope("b"), kind="media", agency="agency-1", now=NOW)
    bench.journal.note_sent([first], LATER)

    def offered(*resting: datetime) -> list[Digest]:
        start, end = resting
        rows = bench.journal.unsettled_statements(10, resting=(start, end))
        return [row.statement for row in rows]

    assert offered(NOW, LATER) == [second]
    assert offered(LATER + (LATER - NOW), LATER + 2 * (LATER - NOW)) == [first, second]
    assert offered(NOW - (LATER - NOW), NOW) == [first, second]


# Inventories


def test_an_inventory_is_there_with_its_rows_listing_and_statement(bench: Bench) -> None:
    inventory = bench.inventory(
        new_row("a", order=(1, -5)), new_row("b", order=(0, 3)), new_row("c", state="excluded", rule="trash")
    )
    journal = bench.reopen()
    assert [row.shown for row in journal.rows_to_read(inventory)] == ["b", "a"]
    assert journal.last_inventory(VISIT.visit) == (inventory, 1)
    assert journal.open_visits() == [VISIT]
    (delivery,) = journal.open_deliveries(10)
    assert (delivery.statement, delivery.purpose, delivery.priority) == (
        inventory,
        Purpose.LISTING,
        Priority.LISTING,
    )
    assert next(journal.listed_files(inventory)) == (b"a", 10, 1_000_000_007)


def test_rows_can_be_taken_page_by_page(bench: Bench) -> None:
    inventory = bench.inventory(*[new_row(f"{number:03}", order=(0, -number % 7)) for number in range(50)])
    whole = bench.journal.rows_to_read(inventory)
    paged: list[RowToRead] = []
    while page := bench.journal.rows_to_read(inventory, 8, after=paged[-1] if paged else None):
        paged += page
    assert paged == whole
    assert len(whole) == 50


def test_half_an_inventory_is_none(bench: Bench) -> None:
    def rows() -> Iterator[NewRow]:
        yield new_row("a")
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        bench.journal.record_inventory(
            envelope("inventory"),
            visit=VISIT,
            sequence=1,
            listing=Digest.of(b""),
            listing_size_bytes=0,
            rows=rows(),
            now=NOW,
        )
    journal = bench.reopen()
    assert journal.unsettled_statements(10) == []
    assert journal.open_visits() == []
    assert journal.open_deliveries(10) == []


def test_a_next_inventory_takes_over_what_it_lists_again(bench: Bench) -> None:
    first = bench.inventory(new_row("same"), new_row("changed"), new_row("gone"))
    second = bench.inventory(new_row("same"), new_row("changed", 11), sequence=2)
    journal = bench.journal
    assert [row.shown for row in journal.rows_missing(VISIT.visit, second)] == ["gone"]
    account = journal.accounting(VISIT.visit)
    assert (account.listed, account.pending, account.excluded, account.unread) == (4, 3, 1, 3)
    same = journal.rows_to_read(second)[0]
    bench.original(same)
    whole = journal.inventory_accounting(first)
    assert (whole.listed, whole.pending, whole.excluded, whole.known) == (3, 2, 1, 1)


def test_a_closed_visit_is_not_open(bench: Bench) -> None:
    bench.inventory(new_row("a"))
    bench.journal.close_visit(VISIT.visit, LATER)
    assert bench.reopen().open_visits() == []


# Reads


def test_progress_of_a_read_outlives_the_process(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a", 10_000_000))
    key = bench.journal.rows_to_read(inventory)[0].key
    assert bench.journal.partial(key) is None
    assert bench.journal.begin_read(key, "name-1", NOW).attempts == 1
    bench.journal.note_durable_bytes(key, 4096, Digest.of(b"prefix"))
    bench.journal.note_early_upload(key, "https://collector/1")
    again = bench.reopen().begin_read(key, "name-2", LATER)
    assert (again.name, again.attempts, again.durable_bytes) == ("name-1", 2, 4096)
    assert (again.prefix, again.upload_url, again.read_started_at) == (
        Digest.of(b"prefix"),
        "https://collector/1",
        NOW,
    )
    bench.journal.note_restarted(key, LATER)
    restarted = bench.journal.partial(key)
    assert restarted is not None
    assert (restarted.durable_bytes, restarted.prefix, restarted.upload_url) == (0, None, None)


def test_a_recorded_original_is_everything_at_once(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"))
    row = bench.journal.rows_to_read(inventory)[0]
    bench.journal.begin_read(row.key, "name-1", NOW)
    bench.journal.note_early_upload(row.key, "https://collector/1")
    manifest = bench.original(row, marked=True)
    journal = bench.reopen()
    assert journal.rows_to_read(inventory) == []
    assert journal.known_manifest(row.key) == manifest
    assert journal.partial(row.key) is None
    delivery = journal.delivery(manifest)
    assert delivery is not None
    assert (delivery.upload_url, delivery.priority) == ("https://collector/1", Priority.MARKED)
    (job,) = journal.open_media_jobs(10)
    assert (job.manifest, job.recorder, job.attempts) == (manifest, Claim("7", "name"), 0)


def test_an_early_address_that_comes_late_goes_to_the_delivery(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"))
    row = bench.journal.rows_to_read(inventory)[0]
    manifest = bench.original(row)
    bench.journal.note_early_upload(row.key, "https://collector/late")
    delivery = bench.journal.delivery(manifest)
    assert delivery is not None
    assert delivery.upload_url == "https://collector/late"


def test_a_file_without_a_time_is_never_known(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a", modified_ns=None))
    row = bench.journal.rows_to_read(inventory)[0]
    bench.original(row)
    assert bench.journal.known_manifest(row.key) is None


@pytest.mark.parametrize(
    "other",
    [{"recorder_key": "recorder:8"}, {"path": b"b"}, {"size_bytes": 11}, {"modified_ns": 1_000_000_008}],
    ids=["recorder", "path", "size", "time"],
)
def test_a_file_that_differs_in_anything_is_not_known(bench: Bench, other: dict[str, object]) -> None:
    inventory = bench.inventory(new_row("a"))
    row = bench.journal.rows_to_read(inventory)[0]
    bench.original(row)
    changed: FileKey = replace(row.key, **other)  # type: ignore[arg-type]
    assert bench.journal.known_manifest(changed) is None


def test_a_later_read_settles_the_same_file_of_an_earlier_visit(bench: Bench) -> None:
    bench.inventory(new_row("a"))
    bench.journal.close_visit(VISIT.visit, NOW)
    later = replace(VISIT, visit="1" * 32, generation="boot:1:3")
    inventory = bench.inventory(new_row("a"), visit=later)
    bench.original(bench.journal.rows_to_read(inventory)[0])
    account = bench.journal.accounting(VISIT.visit)
    assert (account.unread, account.pending, account.known) == (0, 1, 1)


def test_an_unreadable_file_is_signed_off_for_this_visit_only(bench: Bench) -> None:
    bench.inventory(new_row("a"))
    second = bench.inventory(new_row("a"), sequence=2)
    later = replace(VISIT, visit="1" * 32)
    third = bench.inventory(new_row("a"), visit=later)
    row = bench.journal.rows_to_read(second)[0]
    bench.journal.begin_read(row.key, "name-1", NOW)
    bench.journal.record_unreadable(row, envelope("unreadable"), code="file-unreadable", now=NOW)
    assert bench.reopen().partial(row.key) is None
    assert bench.journal.inventory_accounting(second).unreadable == 1
    assert bench.journal.accounting(VISIT.visit).unreadable == 1
    assert len(bench.journal.rows_to_read(third)) == 1


# Deliveries


def test_deliveries_come_by_priority_then_age_and_leave_with_their_receipt(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"), new_row("b"))
    plain, marked = bench.journal.rows_to_read(inventory)
    first = bench.original(plain, b"plain")
    second = bench.original(marked, b"marked", marked=True)
    order = [delivery.statement for delivery in bench.journal.open_deliveries(10)]
    assert order == [inventory, second, first]
    bench.journal.note_uploaded(second, NOW)
    assert [delivery.statement for delivery in bench.journal.open_deliveries(10, uploaded=True)] == [second]
    bench.journal.note_upload_lost(second)
    assert bench.journal.open_deliveries(10, uploaded=True) == []
    bench.journal.settle_receipt(second, b"receipt", b"note 1", NOW)
    bench.journal.settle_receipts(
        [VerifiedDelivery(statement=first, receipt=b"other", checkpoint_note=b"note 2")], LATER
    )
    journal = bench.reopen()
    assert [delivery.statement for delivery in journal.open_deliveries(10)] == [inventory]
    assert journal.last_checkpoint() == b"note 2"
    assert [journal.receipt(statement) for statement in (second, first, inventory)] == [
        b"receipt",
        b"other",
        None,
    ]
    assert journal.receipted_statements() == sorted([first, second])
    assert journal.receipted_statements_of(first) == [first]
    assert journal.receipted_statements_of(Digest.of(b"plain")) == [first]
    assert journal.accounting(VISIT.visit).stored == 2


def test_what_the_collector_refused_is_not_delivered_and_stays(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"))
    manifest = bench.original(bench.journal.rows_to_read(inventory)[0])
    bench.journal.settle_refused(manifest, "agency-not-allowed", "", NOW)
    assert [delivery.statement for delivery in bench.journal.open_deliveries(10)] == [inventory]
    bench.journal.close_media_job(manifest, NOW)
    assert bench.journal.evictable(LATER, 10) == []
    assert bench.journal.accounting(VISIT.visit).pending == 1


def test_only_receipted_originals_nobody_needs_are_evicted(bench: Bench) -> None:
    rows = [new_row(name) for name in "abc"]
    inventory = bench.inventory(*rows)
    receipted, wanted, open_one = bench.journal.rows_to_read(inventory)
    gone = bench.original(receipted, b"may go")
    for row, data in ((wanted, b"media wants it"), (open_one, b"no receipt yet")):
        bench.original(row, data)
    for delivery in bench.journal.open_deliveries(10):
        if delivery.digest != Digest.of(b"no receipt yet"):
            bench.journal.settle_receipt(delivery.statement, b"receipt", b"note", NOW)
    bench.journal.close_media_job(gone, NOW)
    hour = timedelta(hours=1)
    assert evict(bench.journal, NOW, wanted_free_bytes=2**50, minimum_age=hour) == 0, "too young"
    assert evict(bench.journal, LATER, wanted_free_bytes=0, minimum_age=hour) == 0, "enough is free"
    assert evict(bench.journal, LATER, wanted_free_bytes=2**50, minimum_age=hour) == len(b"may go")
    assert not bench.spool.has(Purpose.ORIGINAL, Digest.of(b"may go"))
    assert bench.spool.has(Purpose.ORIGINAL, Digest.of(b"media wants it"))
    assert bench.spool.has(Purpose.ORIGINAL, Digest.of(b"no receipt yet"))
    assert evict(bench.reopen(), LATER, wanted_free_bytes=2**50, minimum_age=hour) == 0
    assert bench.journal.accounting(VISIT.visit).stored == 2, "eviction forgets no fact"
    unrendered = evict(bench.journal, LATER, wanted_free_bytes=2**50, minimum_age=hour, also_unrendered=True)
    assert unrendered == len(b"media wants it")
    assert bench.spool.has(Purpose.ORIGINAL, Digest.of(b"no receipt yet"))


def test_a_row_whose_commit_was_wrongly_reported_as_failed_keeps_its_one_manifest(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"))
    (row,) = bench.journal.rows_to_read(inventory)
    first = bench.original(row, b"clip")
    again = bench.journal.record_original(
        OriginalRecord(
            row=row,
            envelope=envelope("manifest of the second reading"),
            digest=Digest.of(b"clip"),
            size_bytes=4,
            media_type="video/mp4",
            marked=False,
            recorder=None,
        ),
        NOW,
    )
    assert again == first
    assert [out.kind for out in bench.reopen().unsettled_statements(10)] == ["inventory", "manifest"]


def test_a_doubted_receipt_is_asked_for_again_and_its_bytes_are_not_sent_again(bench: Bench) -> None:
    (row,) = bench.journal.rows_to_read(bench.inventory(new_row("a")))
    manifest = bench.original(row, b"gone from the spool")
    bench.journal.settle_receipt(manifest, b"receipt", b"note", NOW)
    bench.journal.doubt_receipts([manifest])
    assert bench.journal.receipt(manifest) is None
    assert [sent.statement for sent in bench.reopen().open_deliveries(10, uploaded=True)] == [manifest]
    bench.journal.settle_receipt(manifest, b"receipt", b"note", LATER)
    assert bench.journal.receipt(manifest) == b"receipt"


def test_bytes_read_again_are_not_evicted_by_an_older_plan(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"), new_row("b"))
    first, second = bench.journal.rows_to_read(inventory)
    manifest = bench.original(first, b"twice")
    bench.journal.settle_receipt(manifest, b"receipt", b"note", NOW)
    bench.journal.close_media_job(manifest, NOW)
    (planned,) = bench.journal.evictable(LATER, 10)
    bench.original(second, b"twice")
    assert not bench.journal.note_evicted(planned, LATER)


def test_media_jobs_are_tried_fairly_and_remember_what_they_made(bench: Bench) -> None:
    inventory = bench.inventory(new_row("a"), new_row("b"))
    first, second = (bench.original(row, row.key.path) for row in bench.journal.rows_to_read(inventory))
    bench.journal.begin_media_job(first)
    assert [job.manifest for job in bench.journal.open_media_jobs(10)] == [second, first]
    bench.journal.record_media(first, envelope("media"), agency="agency-1", now=NOW)
    made = (Digest.of(b"rendition"), 9)
    bench.journal.record_rendition(first, envelope("rendition"), agency="agency-1", rendered=made, now=NOW)
    bench.journal.record_rendition(first, envelope("no rendition"), agency="agency-1", rendered=None, now=NOW)
    assert len(bench.reopen().media_statements(first)) == 3
    bench.journal.close_media_job(first, NOW)
    assert [job.manifest for job in bench.journal.open_media_jobs(10)] == [second]
    assert [delivery.purpose for delivery in bench.journal.open_deliveries(10)][-1] is Purpose.RENDITION


# The file itself


def test_transactions_inside_one_another_are_one(bench: Bench) -> None:
    def two_and_a_kill() -> None:
        with bench.journal.transaction():
            bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=NOW)
            with bench.journal.transaction():
                bench.journal.put_statement(envelope("b"), kind="media", agency="agency-1", now=NOW)
            raise RuntimeError("after the inner one")

    with pytest.raises(RuntimeError):
        two_and_a_kill()
    assert bench.reopen().unsettled_statements(10) == []


def test_an_error_caught_inside_a_transaction_still_undoes_it(bench: Bench) -> None:
    def one_and_a_swallowed_failure() -> None:
        with bench.journal.transaction():
            bench.journal.put_statement(envelope("a"), kind="media", agency="agency-1", now=NOW)
            with contextlib.suppress(JournalError):
                bench.journal.record_media(Digest.of(b"no job"), envelope("b"), agency="agency-1", now=NOW)

    with pytest.raises(JournalError, match="nothing of it"):
        one_and_a_swallowed_failure()
    assert bench.reopen().unsettled_statements(10) == []


def test_every_commit_reaches_the_disk(bench: Bench) -> None:
    settings = {name: bench.journal.all(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")}
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_a_journal_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalNewerError):
        Database(path)


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(JournalError):
        Database(path)


def test_a_step_that_breaks_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    Database(path).close()
    step = tmp_path / "broken.sql"
    step.write_text("CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as broken:
        broken.setattr(database, "SCHEMA_STEPS", (*database.SCHEMA_STEPS, str(step)))
        with pytest.raises(JournalError):
            Database(path)
    reopened = Database(path)
    assert reopened.all("SELECT name FROM sqlite_master WHERE name = 'half'") == []
    reopened.close()


def test_a_journal_without_room_says_that_it_can_be_tried_again(tmp_path: Path) -> None:
    """As large as it may ever be: SQLite says what it says on a full disk."""
    journal = Journal(tmp_path / "journal.db", LossySpool())
    (pages,) = journal.one("PRAGMA page_count")  # type: ignore[misc]
    journal.one(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalStorageError) as refused:
        journal.execute("CREATE TABLE more AS SELECT zeroblob(1000000) AS data")
    assert (refused.value.code, refused.value.retryable) == ("journal-storage", True)
    journal.one("PRAGMA max_page_count = 1000000")
    journal.execute("CREATE TABLE more (data BLOB)")
    journal.close()
