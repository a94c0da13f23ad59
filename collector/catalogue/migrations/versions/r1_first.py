"""The first catalogue.

A migration is never changed once released: it says what databases in the field look like. It therefore names plain
column types and does not use the tables of the program, which move on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "catalogue_1"
down_revision = None

LOG_INDEX = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_agencies()
    _create_clips()
    _create_custody()
    _create_enrolments()
    _create_entries()
    _create_inventories()
    _create_listing_rows()
    _create_media()
    _create_projection()
    _create_renditions()
    _create_revocations()
    _create_unreadable_rows()


def _create_agencies() -> None:
    op.create_table(
        "agencies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_agencies")),
    )


def _create_clips() -> None:
    op.create_table(
        "clips",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("inventory", sa.LargeBinary(), nullable=False),
        sa.Column("row_no", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("recorder", sa.Text(), nullable=True),
        sa.Column("recorder_source", sa.Text(), nullable=True),
        sa.Column("officer", sa.Text(), nullable=True),
        sa.Column("officer_source", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("started_source", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("marked", sa.Boolean(), nullable=False),
        sa.Column("read_started_at", sa.BigInteger(), nullable=False),
        sa.Column("read_finished_at", sa.BigInteger(), nullable=False),
        sa.Column("media_index", sa.BigInteger(), nullable=True),
        sa.Column("stored_index", sa.BigInteger(), nullable=True),
        sa.Column("stored_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_clips")),
        sa.UniqueConstraint("manifest", name=op.f("uq_clips_manifest")),
    )
    op.create_index(
        "ix_clips_awaiting",
        "clips",
        ["log_index"],
        unique=False,
        sqlite_where=sa.text("stored_index IS NULL"),
        postgresql_where=sa.text("stored_index IS NULL"),
    )
    op.create_index("ix_clips_digest", "clips", ["agency", "digest", "started_at", "log_index"], unique=False)
    op.create_index("ix_clips_inventory", "clips", ["inventory", "row_no"], unique=False)
    op.create_index(
        "ix_clips_officer", "clips", ["agency", "officer", "started_at", "log_index"], unique=False
    )
    op.create_index(
        "ix_clips_recorder", "clips", ["agency", "recorder", "started_at", "log_index"], unique=False
    )
    op.create_index("ix_clips_started_at", "clips", ["agency", "started_at", "log_index"], unique=False)
    op.create_index(
        "ix_clips_unstored",
        "clips",
        ["agency", "started_at", "log_index"],
        unique=False,
        sqlite_where=sa.text("stored_index IS NULL"),
        postgresql_where=sa.text("stored_index IS NULL"),
    )


def _create_custody() -> None:
    op.create_table(
        "custody",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("item", sa.LargeBinary(), nullable=False),
        sa.Column("item_name", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_custody")),
    )
    op.create_index("ix_custody_item", "custody", ["agency", "item", "log_index"], unique=False)


def _create_enrolments() -> None:
    op.create_table(
        "enrolments",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_enrolments")),
    )
    op.create_index("ix_enrolments_key_id", "enrolments", ["key_id", "agency", "log_index"], unique=False)
    op.create_index("ix_enrolments_name", "enrolments", ["name", "log_index"], unique=False)


def _create_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_entries")),
    )
    op.create_index("ix_entries_statement", "entries", ["statement"], unique=False)


def _create_inventories() -> None:
    op.create_table(
        "inventories",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("visit", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("dock", sa.Text(), nullable=False),
        sa.Column("bay", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("recorder", sa.Text(), nullable=True),
        sa.Column("officer", sa.Text(), nullable=True),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("listing", sa.LargeBinary(), nullable=False),
        sa.Column("listing_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("declared_rows", sa.BigInteger(), nullable=False),
        sa.Column("stored_index", sa.BigInteger(), nullable=True),
        sa.Column("stored_at", sa.BigInteger(), nullable=True),
        sa.Column("listed_rows", sa.BigInteger(), nullable=True),
        sa.Column("listing_problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_inventories")),
        sa.UniqueConstraint("statement", name=op.f("uq_inventories_statement")),
    )
    op.create_index(
        "ix_inventories_awaiting",
        "inventories",
        ["log_index"],
        unique=False,
        sqlite_where=sa.text("stored_index IS NULL"),
        postgresql_where=sa.text("stored_index IS NULL"),
    )
    op.create_index("ix_inventories_listing", "inventories", ["agency", "listing"], unique=False)
    op.create_index("ix_inventories_visit", "inventories", ["agency", "visit", "log_index"], unique=False)


def _create_listing_rows() -> None:
    op.create_table(
        "listing_rows",
        sa.Column("inventory_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("row_no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("manifest", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("inventory_index", "row_no", name=op.f("pk_listing_rows")),
        sqlite_with_rowid=False,
    )


def _create_media() -> None:
    op.create_table(
        "media",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("original", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("started_source", sa.Text(), nullable=True),
        sa.Column("recorder", sa.Text(), nullable=True),
        sa.Column("recorder_source", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_media")),
    )
    op.create_index("ix_media_manifest", "media", ["manifest", "log_index"], unique=False)


def _create_projection() -> None:
    op.create_table(
        "projection",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("projected_size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projection")),
    )


def _create_renditions() -> None:
    op.create_table(
        "renditions",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("original", sa.LargeBinary(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("rendition", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("stored_index", sa.BigInteger(), nullable=True),
        sa.Column("stored_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_renditions")),
        sa.UniqueConstraint("statement", name=op.f("uq_renditions_statement")),
    )
    op.create_index(
        "ix_renditions_awaiting",
        "renditions",
        ["log_index"],
        unique=False,
        sqlite_where=sa.text("stored_index IS NULL AND digest IS NOT NULL"),
        postgresql_where=sa.text("stored_index IS NULL AND digest IS NOT NULL"),
    )
    op.create_index("ix_renditions_digest", "renditions", ["agency", "digest"], unique=False)
    op.create_index("ix_renditions_manifest", "renditions", ["manifest", "log_index"], unique=False)


def _create_revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_revocations")),
    )
    op.create_index("ix_revocations_key_id", "revocations", ["key_id", "agency", "log_index"], unique=False)


def _create_unreadable_rows() -> None:
    op.create_table(
        "unreadable_rows",
        sa.Column("log_index", LOG_INDEX, autoincrement=False, nullable=False),
        sa.Column("inventory", sa.LargeBinary(), nullable=False),
        sa.Column("row_no", sa.BigInteger(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log_index", name=op.f("pk_unreadable_rows")),
    )
    op.create_index("ix_unreadable_rows_inventory", "unreadable_rows", ["inventory", "row_no"], unique=False)
