"""The index of clips that are not stored names the column it is about: without statistics SQLite prefers an index with
more columns fixed, and walked all clips of the agency instead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "catalogue_4"
down_revision = "catalogue_3"


def upgrade() -> None:
    op.drop_index("ix_clips_unstored", "clips")
    op.create_index(
        "ix_clips_unstored",
        "clips",
        ["agency", "stored_index", "started_at", "log_index"],
        sqlite_where=sa.text("stored_index IS NULL"),
        postgresql_where=sa.text("stored_index IS NULL"),
    )
