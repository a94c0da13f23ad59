"""Pages of findings by station and by code, and the count of the open ones, without reading all the others."""

from __future__ import annotations

from alembic import op

revision = "catalogue_3"
down_revision = "catalogue_2"


def upgrade() -> None:
    op.create_index("ix_findings_station", "findings", ["agency", "station", "opened_index", "id"])
    op.create_index("ix_findings_code", "findings", ["agency", "code", "opened_index", "id"])
    op.create_index("ix_findings_open_code", "findings", ["is_open", "code"])
