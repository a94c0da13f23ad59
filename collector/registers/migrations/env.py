"""Alembic's entry; ``collector.database.migrating`` runs it."""

from collector.database.migrating import run_migrations
from collector.registers.tables import metadata

run_migrations(metadata)
