"""Alembic's entry; ``collector.database.migrating`` runs it."""

from collector.catalogue.tables import metadata
from collector.database.migrating import run_migrations

run_migrations(metadata)
