"""The conservation of clips: releases, successive listings, findings.

The rows of older versions lack what is kept now, so all of them are thrown away: the collector projects its log
again at its next start, as it does for a lost catalogue.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "catalogue_2"
down_revision = "catalogue_1"

LOG_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PROJECTED = (
    "projection",
    "agencies",
    "entries",
    "enrolments",
    "revocations",
    "inventories",
    "listing_rows",
    "unreadable_rows",
    "clips",
    "media",
    "renditions",
    "custody",
)


def upgrade() -> None:
    for table in PROJECTED:
        op.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    _extend_inventories()
    op.add_column("listing_rows", sa.Column("raw_path", sa.LargeBinary(), nullable=True))
    _create_releases()
    _create_successions()
    _create_findings()


def _extend_inventories() -> None:
    op.add_column("inventories", sa.Column("total_bytes", sa.BigInteger(), nullable=True))
    op.add_column("inventories", sa.Column("earlier_index", sa.BigInteger(), nullable=True))
    op.create_index("ix_inventories_recorder", "inventories", ["agency", "recorder", "issued_at"])
    op.create_index("ix_inventories_bay", "inventories", ["station", "dock", "bay", "log_index"])
    op.create_index("ix_inventories_earlier", "inventories", ["earlier_index"])
    unread = "stored_index IS NOT NULL AND listed_rows IS NULL AND listing_problem IS NULL"
    op.create_index(
        "ix_inventories_unlisted",
        "inventories",
        ["stored_index"],
        sqlite_where=sa.text(unread),
        postgresql_where=sa.text(unread),
    )


def _key(name: str = "log_index") -> sa.Column[int]:
    return sa.Column(name, LOG_INDEX, autoincrement=False, nullable=False)


def _create_releases() -> None:
    op.create_table(
        "release_intents",
        _key(),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("inventory", sa.LargeBinary(), nullable=False),
        sa.Column("released_index", sa.BigInteger(), nullable=True),
        sa.Column("inventory_after", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_release_intents")),
        sa.UniqueConstraint("statement", name=op.f("uq_release_intents_statement")),
    )
    op.create_index("ix_release_intents_inventory", "release_intents", ["inventory"])
    op.create_table(
        "release_items",
        _key("intent_index"),
        sa.Column("row_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("claimed_stored_index", sa.BigInteger(), nullable=False),
        sa.Column("released_index", sa.BigInteger(), nullable=True),
        sa.Column("kept", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("intent_index", "row_no", name=op.f("pk_release_items")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_release_items_manifest", "release_items", ["manifest"])
    op.create_table(
        "releases",
        _key(),
        sa.Column("intent", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("inventory_after", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_releases")),
    )
    op.create_index("ix_releases_intent", "releases", ["intent", "log_index"])
    op.create_table(
        "release_kept",
        _key("release_index"),
        sa.Column("row_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("release_index", "row_no", name=op.f("pk_release_kept")),
        sqlite_with_rowid=False,
    )


def _create_successions() -> None:
    op.create_table(
        "absences",
        _key("inventory_index"),
        sa.Column("row_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("earlier_index", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=True),
        sa.Column("returned_index", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("inventory_index", "row_no", name=op.f("pk_absences")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_absences_earlier", "absences", ["earlier_index", "row_no"])
    op.create_index("ix_absences_manifest", "absences", ["manifest"])
    op.create_table(
        "returns",
        _key("inventory_index"),
        sa.Column("row_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("inventory_index", "row_no", name=op.f("pk_returns")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_returns_manifest", "returns", ["manifest"])
    op.create_table(
        "numberings",
        _key("inventory_index"),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("highest", sa.Integer(), nullable=False),
        sa.Column("ranges", sa.Text(), nullable=False),
        sa.Column("set_back_row", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("inventory_index", "folder", name=op.f("pk_numberings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_clock",
        _key(),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_log_clock")),
    )
    op.create_index("ix_log_clock_at", "log_clock", ["at"])


def _create_findings() -> None:
    op.create_table(
        "unreconciled",
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("marks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agency", "subject", name=op.f("pk_unreconciled")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("about", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=True),
        sa.Column("recorder", sa.Text(), nullable=True),
        sa.Column("visit", sa.Text(), nullable=True),
        sa.Column("inventory", sa.LargeBinary(), nullable=True),
        sa.Column("row_no", sa.Integer(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("opened_index", sa.BigInteger(), nullable=False),
        sa.Column("closed_index", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    op.create_index("ix_findings_agency", "findings", ["agency", "opened_index", "id"])
    op.create_index("ix_findings_open", "findings", ["agency", "is_open", "opened_index", "id"])
    op.create_index("ix_findings_about", "findings", ["agency", "about"])
    op.create_index("ix_findings_visit", "findings", ["agency", "visit", "opened_index", "id"])
    op.create_index("ix_findings_recorder", "findings", ["agency", "recorder", "opened_index", "id"])
