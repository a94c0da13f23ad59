"""A station is brought up to date in the middle of its work: does its journal of any age go on where it was?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from agent.spool import database
from agent.spool.database import SCHEMA_STEPS
from agent.spool.errors import JournalError
from agent.spool.journal import Journal
from agent.spool.records import FileKey, RowToRead
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from tests.support.lossy_spool import LossySpool
from tests.support.visit_lab import SEED

NOW: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
AT: Final = "2026-01-31T08:15:30.000Z"
FOLDER: Final = Path(database.__file__).parent

RECEIPTED, UPLOADED, BEGUN, LOOSE_1, LOOSE_2 = (Digest.of(b"manifest %d" % n) for n in range(5))
INVENTORY, INTENT = Digest.of(b"inventory"), Digest.of(b"intent")
MANIFESTS: Final = {
    RECEIPTED: ("/api/v1/uploads/1", AT, AT),
    UPLOADED: ("/api/v1/uploads/2", AT, None),
    BEGUN: ("/api/v1/uploads/3", None, None),
    LOOSE_1: (None, None, None),
    LOOSE_2: (None, None, None),
}
"""What an earlier version had done for each: where it was sent, when it was there, when its receipt was kept."""

TO_READ: Final = FileKey(recorder_key="recorder:7", path=b"9", size_bytes=900, modified_ns=1)


def fill(connection: sqlite3.Connection, version: int) -> None:
    """A visit half done, in the words of version 1, and a release under way, in those of version 2."""
    run = connection.execute
    run(
        "INSERT INTO visits VALUES ('v', 'folder', 'bay-1', 'g', 'recorder:7', 'dcf@1', 'hz', ?, NULL)", (AT,)
    )
    for kind, statement in [("inventory", INVENTORY), *(("manifest", one) for one in MANIFESTS)]:
        run(
            "INSERT INTO statements (statement, kind, agency, envelope, created_at, outcome, log_index, settled_at)"
            " VALUES (?, ?, 'hz', X'7B7D', ?, 'admitted', 7, ?)",
            (str(statement), kind, AT, AT),
        )
    run("INSERT INTO inventories VALUES (?, 'v', 1)", (str(INVENTORY),))
    for number, (manifest, (url, uploaded_at, receipted_at)) in enumerate(MANIFESTS.items()):
        digest = str(Digest.of(b"%d" % number))
        run(
            "INSERT INTO rows (inventory, row, path, shown, size_bytes, modified_ns, state, manifest, order_1, order_2)"
            " VALUES (?, ?, ?, 'x', 1, '1', 'read', ?, 0, 0)",
            (str(INVENTORY), number, b"%d" % number, str(manifest)),
        )
        run("INSERT INTO reads VALUES ('recorder:7', ?, 1, '1', ?)", (b"%d" % number, str(manifest)))
        run("INSERT INTO blobs VALUES ('original', ?, 1, ?, NULL)", (digest, AT))
        run(
            "INSERT INTO deliveries VALUES (?, 'original', 'hz', ?, 1, 2, ?, ?, ?, ?)",
            (str(manifest), digest, AT, url, uploaded_at, receipted_at),
        )
        run(
            "INSERT INTO media_jobs (manifest, agency, digest, size_bytes, media_type, created_at)"
            " VALUES (?, 'hz', ?, 1, 'image/jpeg', ?)",
            (str(manifest), digest, AT),
        )
    run(
        "INSERT INTO rows (inventory, row, path, shown, size_bytes, modified_ns, state, order_1, order_2)"
        " VALUES (?, 9, ?, '9', 900, '1', 'to_read', 0, 0)",
        (str(INVENTORY), TO_READ.path),
    )
    run(
        "INSERT INTO partials VALUES ('recorder:7', ?, 900, '1', 'p', 512, ?, 1, 0, ?, NULL)",
        (TO_READ.path, str(Digest.of(b"prefix")), AT),
    )
    run("INSERT INTO last_checkpoint VALUES (1, X'6E')")
    if version >= 2:
        run(
            "INSERT INTO statements (statement, kind, agency, envelope, created_at)"
            " VALUES (?, 'release-intent', 'hz', X'7B7D', ?)",
            (str(INTENT), AT),
        )
        run("INSERT INTO read_as VALUES (?, 's', 1, '1', '18446744073709551615')", (str(RECEIPTED),))
        run(
            "INSERT INTO release_intents (statement, visit, inventory, generation, created_at)"
            " VALUES (?, 'v', ?, 'g', ?)",
            (str(INTENT), str(INVENTORY), AT),
        )
        run("INSERT INTO release_items VALUES (?, 0, ?, NULL)", (str(INTENT), str(RECEIPTED)))


def make(path: Path, version: int) -> None:
    """A journal as the agent of that version left it."""
    with closing(sqlite3.connect(path)) as connection:
        for step in SCHEMA_STEPS[:version]:
            connection.executescript((FOLDER / step).read_text(encoding="utf-8"))
        fill(connection, version)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    journal = Journal(path, LossySpool())
    try:
        yield journal
    finally:
        journal.close()


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture(params=range(1, len(SCHEMA_STEPS)))
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def path(tmp_path: Path, version: int) -> Path:
    make(tmp_path / "journal.sqlite", version)
    return tmp_path / "journal.sqlite"


def test_what_was_receipted_stays_so_and_the_rest_is_still_owed(path: Path) -> None:
    with opened(path) as journal:
        assert {one.statement for one in journal.open_deliveries(99)} == MANIFESTS.keys() - {RECEIPTED}
        assert [one.statement for one in journal.sent_deliveries(99)] == [UPLOADED]
        assert journal.last_checkpoint() == b"n"


def test_what_was_on_its_way_goes_on_there_and_what_was_loose_is_bundled(path: Path) -> None:
    with opened(path) as journal:
        taken = journal.take_shipments(99, NOW)
        found = {tuple(one.statement for one in shipment.deliveries): shipment for shipment in taken}
        assert found[BEGUN,].upload_url == MANIFESTS[BEGUN][0]
        assert found[BEGUN,].bundle is None
        (together,) = (members for members in found if len(members) > 1)
        assert set(together) == {LOOSE_1, LOOSE_2}
        journal.settle_receipt(LOOSE_1, b"receipt", b"note", NOW)
        assert journal.receipt(LOOSE_1) == b"receipt"


def test_a_receipt_of_before_is_not_looked_for_where_it_does_not_lie(path: Path) -> None:
    with opened(path) as journal:
        assert journal.receipt(RECEIPTED) is None
        assert journal.receipted_statements() == []


def test_reading_goes_on_at_the_byte_of_before(path: Path) -> None:
    with opened(path) as journal:
        (row,) = journal.rows_to_read(INVENTORY)
        assert (type(row), row.key) == (RowToRead, TO_READ)
        partial = journal.partial(TO_READ)
        assert partial is not None
        assert (partial.name, partial.durable_bytes) == ("p", 512)
        assert len(journal.open_media_jobs(99)) == len(MANIFESTS)


def test_a_release_under_way_is_still_open(path: Path, version: int) -> None:
    with opened(path) as journal:
        intents = [intent.statement for intent in journal.open_intents("v")]
        assert intents == ([INTENT] if version >= 2 else [])


def test_new_statements_find_their_place(path: Path) -> None:
    with opened(path) as journal:
        envelope = Envelope.sign(STATEMENT_TYPE, b"new", SEED)
        statement = journal.put_statement(envelope, kind="media", agency="hz", now=NOW)
        assert statement in {row.statement for row in journal.unsettled_statements(99)}


def test_references_hold_and_a_second_opening_changes_nothing(path: Path) -> None:
    with opened(path) as journal:
        assert journal.all("PRAGMA foreign_key_check") == []
        assert journal.all("PRAGMA integrity_check")[0][0] == "ok"
        assert journal.all("PRAGMA user_version")[0][0] == len(SCHEMA_STEPS)
    before = content(path)
    with opened(path):
        pass
    assert content(path) == before


def test_a_step_that_fails_half_way_leaves_the_journal_as_it_was(
    path: Path, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.sql"
    broken.write_text("CREATE TABLE half (a TEXT) STRICT;\nDELETE FROM deliveries;\nno SQL;\n")
    before = content(path)
    with monkeypatch.context() as patched:
        patched.setattr(database, "SCHEMA_STEPS", (*SCHEMA_STEPS[:version], str(broken)))
        with pytest.raises(JournalError):
            Journal(path, LossySpool())
    assert content(path) == before
    with opened(path) as journal:
        assert len(journal.open_deliveries(99)) == len(MANIFESTS) - 1
