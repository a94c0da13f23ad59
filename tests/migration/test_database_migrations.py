"""Databases of every age: made, brought up to date, refused, and left alone when something fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import Engine, MetaData, inspect

from collector.catalogue import tables as catalogue_tables
from collector.catalogue.catalogue import MIGRATIONS as CATALOGUE
from collector.database.engine import open_engine, reading, sqlite_url, writing
from collector.database.errors import DatabaseError, DatabaseNewerError
from collector.database.migrating import upgrade
from collector.registers import tables as registers_tables
from collector.registers.registers import MIGRATIONS as REGISTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    migrations: str
    metadata: MetaData


@pytest.fixture(params=["catalogue", "registers"])
def schema(request: pytest.FixtureRequest) -> Schema:
    if request.param == "catalogue":
        return Schema(migrations=CATALOGUE, metadata=catalogue_tables.metadata)
    return Schema(migrations=REGISTERS, metadata=registers_tables.metadata)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(sqlite_url(tmp_path / "some.sqlite"))
    yield engine
    engine.dispose()


def test_the_migrations_make_the_tables_of_the_program(engine: Engine, schema: Schema) -> None:
    upgrade(engine, schema.migrations)
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert _partial_indexes(connection.engine) == _partial_indexes_of(schema.metadata)


def _partial_indexes(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type='index' AND sql LIKE '% WHERE %'"
        )
        return {row.name for row in rows}


def _partial_indexes_of(metadata: MetaData) -> set[str]:
    """Alembic does not compare the condition of an index."""
    indexes = (index for table in metadata.tables.values() for index in table.indexes)
    return {str(index.name) for index in indexes if index.dialect_options["sqlite"]["where"] is not None}


def test_a_second_upgrade_changes_nothing(engine: Engine, schema: Schema, tmp_path: Path) -> None:
    upgrade(engine, schema.migrations)
    before = _schema(engine)
    upgrade(engine, schema.migrations)
    assert _schema(engine) == before


def test_a_database_of_a_later_version_is_refused_untouched(engine: Engine, schema: Schema) -> None:
    upgrade(engine, schema.migrations)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'from_the_future'")
    with pytest.raises(DatabaseNewerError, match="from_the_future"):
        upgrade(engine, schema.migrations)
    assert "from_the_future" in _schema(engine)[1]


BREAKS = (
    "\ndef upgrade():\n    op.create_table('half', sa.Column('a', sa.Integer))\n    op.execute('no SQL')\n"
)


def test_a_migration_that_fails_half_way_leaves_the_database_as_it_was(
    engine: Engine, schema: Schema, tmp_path: Path
) -> None:
    upgrade(engine, schema.migrations)
    before = _schema(engine)
    folder = tmp_path / "migrations"
    package, name = schema.migrations.split(":")
    shutil.copytree(Path(str(import_module(package).__file__)).parent / name, folder)
    head = before[1][0]
    (folder / "versions" / "broken.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = 'broken'\ndown_revision = {head!r}\n{BREAKS}"
    )
    with pytest.raises(DatabaseError):
        upgrade(engine, str(folder))
    assert _schema(engine) == before


def test_a_first_migration_that_fails_leaves_an_empty_database(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(
        "from collector.catalogue.tables import metadata\n"
        "from collector.database.migrating import run_migrations\nrun_migrations(metadata)\n"
    )
    (folder / "versions" / "first.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = 'first'\ndown_revision = None\n{BREAKS}"
    )
    with pytest.raises(DatabaseError):
        upgrade(engine, str(folder))
    with reading(engine) as connection:
        assert inspect(connection).get_table_names() == []


def test_what_is_no_database_is_refused(tmp_path: Path, schema: Schema) -> None:
    path = tmp_path / "some.sqlite"
    path.write_bytes(b"this is text" * 100)
    engine = open_engine(sqlite_url(path))
    try:
        with pytest.raises((DatabaseError, CommandError)):
            upgrade(engine, schema.migrations)
    finally:
        engine.dispose()
    assert path.read_bytes() == b"this is text" * 100


def test_a_new_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    open_engine(sqlite_url(tmp_path / "new.sqlite")).dispose()
    assert (tmp_path / "new.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_missing_is_a_database_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError):
        open_engine(sqlite_url(tmp_path / "missing" / "new.sqlite"))


def test_commits_are_durable_and_readers_do_not_wait(engine: Engine) -> None:
    with reading(engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def _schema(engine: Engine) -> tuple[list[tuple[str, str]], list[str]]:
    with reading(engine) as connection:
        objects = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master ORDER BY name")
        versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version")
        return [(row.name, row.sql) for row in objects], [row.version_num for row in versions]
