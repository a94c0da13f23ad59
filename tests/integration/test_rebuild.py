"""Is a catalogue made anew the one there was, and is nothing ever worse for having tried?"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from collector.catalogue import tables
from collector.cli import main
from collector.config import CollectorConfig
from collector.keeping.comparison import differences
from collector.keeping.errors import CatalogueNewerError, LogDamagedError, PayloadsMissingError
from collector.keeping.rebuilding import Comparison, compare, rebuild, remove_database
from collector.log.tile_files import WriterLease
from collector.progress import in_silence
from protocol.digest import Digest
from tests.support.catalogues import dump
from tests.support.holdings import AGENCY, at_work, found_collector, stock


@pytest.fixture
def config(tmp_path: Path) -> CollectorConfig:
    config = found_collector(tmp_path / "collector")
    stock(config, b"one", b"two", b"three")
    return config


def remake(config: CollectorConfig) -> None:
    asyncio.run(rebuild(config, in_silence))


def compared(config: CollectorConfig) -> Comparison:
    return asyncio.run(compare(config, in_silence))


def payload_of(config: CollectorConfig, statement: Digest) -> Path:
    name = statement.hex
    return config.objects_dir / AGENCY / "statements" / name[:2] / name[2:4] / name


def meddle(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)


def test_a_deleted_catalogue_comes_back_the_same(config: CollectorConfig) -> None:
    before = dump(config.catalogue_path)
    remove_database(config.catalogue_path)
    remake(config)
    assert dump(config.catalogue_path) == before
    assert len(before["clips"]) == 3
    assert len(before["listing_rows"]) == 3


def test_even_the_bytes_are_the_same_once_the_pages_are_in_order(
    config: CollectorConfig, tmp_path: Path
) -> None:
    def bytes_of(name: str) -> str:
        with closing(sqlite3.connect(config.catalogue_path)) as connection:
            connection.execute("VACUUM INTO ?", (str(tmp_path / name),))
        return hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()

    before = bytes_of("before")
    remove_database(config.catalogue_path)
    remake(config)
    assert bytes_of("after") == before


def test_nothing_is_left_beside_the_new_one(config: CollectorConfig) -> None:
    names = {path.name for path in config.data_dir.iterdir() if not path.name.startswith("catalogue.sqlite-")}
    remake(config)
    assert {path.name for path in config.data_dir.iterdir()} == names


def test_a_catalogue_that_is_no_database_is_replaced(config: CollectorConfig) -> None:
    before = dump(config.catalogue_path)
    remove_database(config.catalogue_path)
    config.catalogue_path.write_bytes(b"this was a catalogue once" * 1000)
    Path(f"{config.catalogue_path}-wal").write_bytes(b"and this its log" * 1000)
    remake(config)
    assert dump(config.catalogue_path) == before
    assert not Path(f"{config.catalogue_path}.before-wal").exists()


def test_the_collector_goes_on_from_a_remade_catalogue(config: CollectorConfig) -> None:
    remake(config)
    stock(config, b"four")
    assert compared(config).count == 0


def test_comparing_finds_the_same_and_changes_nothing(config: CollectorConfig) -> None:
    found = compared(config)
    assert (found.count, found.first, found.lost) == (0, (), ())
    assert {path.name for path in config.data_dir.glob("catalogue*")} <= {
        "catalogue.sqlite",
        "catalogue.sqlite-wal",
        "catalogue.sqlite-shm",
    }


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("UPDATE clips SET size_bytes = size_bytes + 1 WHERE row_no = 1", ".size_bytes: "),
        ("DELETE FROM clips WHERE row_no = 1", "]: only in the new catalogue"),
        ("INSERT INTO agencies VALUES ('aaa')", "agencies[aaa]: only in the existing catalogue"),
        ("UPDATE clips SET officer = NULL WHERE row_no = 2", ".officer: "),
    ],
)
def test_comparing_names_what_differs(config: CollectorConfig, change: str, shown: str) -> None:
    meddle(config.catalogue_path, change)
    found = compared(config)
    assert found.count == 1
    assert shown in str(found.first[0])


def test_comparing_works_beside_a_running_collector(config: CollectorConfig) -> None:
    async def both() -> Comparison:
        async with at_work(config) as collector:
            deliveries = asyncio.create_task(collector.take_in(*(b"%d" % number for number in range(40))))
            found = await compare(config, in_silence)
            await deliveries
            return found

    assert asyncio.run(both()).count == 0
    assert compared(config).count == 0


def test_every_table_can_be_put_in_order() -> None:
    assert [table.name for table in tables.metadata.sorted_tables if not table.primary_key.columns] == []


def test_a_catalogue_equals_itself(config: CollectorConfig) -> None:
    assert list(differences(config.catalogue_path, config.catalogue_path, in_silence)) == []


def newest_bundle(config: CollectorConfig) -> Path:
    size = int((config.log_dir / "checkpoint").read_text().split("\n")[1])
    return config.log_dir / f"tile/entries/000.p/{size}"


def damage_an_entry(config: CollectorConfig) -> None:
    bundle = newest_bundle(config)
    data = bundle.read_bytes()
    bundle.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


def lose_a_bundle(config: CollectorConfig) -> None:
    newest_bundle(config).unlink()


def falsify_the_checkpoint(config: CollectorConfig) -> None:
    path = config.log_dir / "checkpoint"
    origin, size, *rest = path.read_text().split("\n")
    path.write_text("\n".join([origin, str(int(size) - 1), *rest]))


@pytest.mark.parametrize("harm", [damage_an_entry, lose_a_bundle, falsify_the_checkpoint])
def test_nothing_is_made_from_a_damaged_log(config: CollectorConfig, harm: object) -> None:
    assert callable(harm)
    before = dump(config.catalogue_path)
    harm(config)
    with pytest.raises(LogDamagedError, match="put the files of log/ back"):
        remake(config)
    assert dump(config.catalogue_path) == before
    assert list(config.data_dir.glob("*.rebuilt*")) == []


def test_lost_statements_are_not_lost_silently(config: CollectorConfig) -> None:
    (manifest,) = stock(config, b"soon lost")
    payload_of(config, manifest).unlink()
    before = dump(config.catalogue_path)
    with pytest.raises(PayloadsMissingError, match="1 statements"):
        remake(config)
    assert dump(config.catalogue_path) == before
    asyncio.run(rebuild(config, in_silence, accept_loss=True))
    assert len(dump(config.catalogue_path)["clips"]) == len(before["clips"]) - 1


def test_a_catalogue_that_knows_more_than_the_log_is_evidence(config: CollectorConfig) -> None:
    meddle(config.catalogue_path, "UPDATE projection SET projected_size = projected_size + 1")
    with pytest.raises(CatalogueNewerError):
        remake(config)
    with pytest.raises(CatalogueNewerError):
        compared(config)


def test_a_running_collector_is_left_alone(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = WriterLease(config.log_dir)
    assert main(["rebuild", "--data", str(config.data_dir), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "log-locked"
    assert main(["rebuild", "--data", str(config.data_dir), "--compare", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True
    lease.release()


def test_killed_at_any_moment_there_is_a_catalogue(config: CollectorConfig) -> None:
    """The change of the two is one rename: whatever is there when the process is gone can be opened and is right."""
    before = dump(config.catalogue_path)
    for marker in ("quick_check", "os.link", "new.rename", "remove_database(before)"):
        script = _dying_at(marker, config.data_dir)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 9, done.stderr
        assert dump(config.catalogue_path) == before
    remake(config)
    assert compared(config).count == 0
    assert list(config.data_dir.glob("catalogue.sqlite.*")) == []


def _dying_at(marker: str, data: Path) -> str:
    """A process that ends without a word just before the line that has ``marker``."""
    return f"""
import inspect, os, sys
from collector.keeping import rebuilding
lines = inspect.getsource(rebuilding).splitlines()
start = next(i for i, line in enumerate(lines) if line.startswith("def _put_in_place"))
target = next(i for i, line in enumerate(lines) if {marker!r} in line and i > start) + 1
def tracer(frame, event, arg):
    if frame.f_code.co_filename == rebuilding.__file__ and frame.f_lineno == target and event == "line":
        os._exit(9)
    return tracer
import threading
threading.settrace(tracer)
from collector.cli import main
sys.exit(main(["rebuild", "--data", {str(data)!r}]))
"""
