"""Bringing a database to the schema of this program, in one transaction: whole or not at all."""

from __future__ import annotations

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData

from collector.database.engine import writing
from collector.database.errors import DatabaseNewerError


def upgrade(engine: Engine, migrations: str) -> None:
    """Run what is missing of ``migrations``, a ``package:folder``. Raises DatabaseNewerError, DatabaseError; the
    database is then as it was."""
    config = Config()
    config.set_main_option("script_location", migrations)
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        _refuse_newer(connection, ScriptDirectory.from_config(config))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _refuse_newer(connection: Connection, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise DatabaseNewerError(
                f"the database has schema {revision}, which a later version of this program made"
            )


def run_migrations(metadata: MetaData) -> None:
    """The body of an Alembic ``env.py``: migrate on the connection that ``upgrade`` handed over."""
    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    context.run_migrations()
