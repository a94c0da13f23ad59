"""Footage from before, through a running collector: is it stored and receipted like everything else, and told apart?"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.digest import Digest
from protocol.listing import RowState
from protocol.statements import Custody, Enrolled, Manifest
from tests.support.audit import Auditor
from tests.support.cards import MIB, sha256_of
from tests.support.processes import AGENCY, BIN, Site, needs_site, open_site

pytestmark = [pytest.mark.e2e, needs_site]

TABLE = (
    "文件路径,设备编号,警号,开始时间,案件编号,备注\r\n"
    "2019\\现场一.mp4,ZFY0001,031415,2019/5/6 7:08,城管〔2019〕7号,占道经营\r\n"
    "2019\\现场二.mp4,ZFY0002,,不详,,\r\n"
    "2018\\遗失.mp4,ZFY0003,,,,\r\n"
)


class Legacy:
    """A folder as it was kept for years, with its table in GBK."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "旧视频"
        self.table = folder / "清单.csv"
        for name, size in (("2019/现场一.mp4", 3 * MIB), ("2019/现场二.mp4", 5), ("别处/无表.mp4", 0)):
            self.write(name, size)
        (self.folder / "link.mp4").symlink_to("/etc/passwd")
        self.table.write_bytes(TABLE.encode("gbk"))

    def write(self, name: str, size: int) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        return path

    def files(self) -> Counter[tuple[str, str]]:
        found = Counter(
            (path.relative_to(self.folder).as_posix(), sha256_of(path))
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
        return found + Counter({(f"import-table/{self.table.name}", sha256_of(self.table)): 1})

    def state(self) -> dict[str, tuple[int, int, int]]:
        facts = {path: path.lstat() for path in [self.table, *self.folder.rglob("*")]}
        return {str(path): (one.st_mtime_ns, one.st_ctime_ns, one.st_size) for path, one in facts.items()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("import") / "site") as site:
        site.collector.start()
        yield site


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Legacy:
    return Legacy(tmp_path_factory.mktemp("legacy"))


def bring_in(site: Site, legacy: Legacy, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [
            BIN / "zhilu-collector", "import", "--data", site.collector.folder, "--agency", AGENCY,
            "--from", legacy.folder, "--csv", legacy.table, "--json", *words,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def audited(site: Site) -> Auditor:
    return Auditor(site.collector.config.log_dir, site.collector.config.objects_dir)


def test_a_folder_and_its_table_become_originals(running: Site, legacy: Legacy) -> None:
    before = legacy.state()
    code, answer = bring_in(running, legacy)
    assert legacy.state() == before
    assert (code, answer["imported"], answer["failed"]) == (1, 4, [])
    assert Counter(problem["code"] for problem in answer["problems"]) == Counter(
        ["not-a-file", "file-without-row", "row-without-file", "time-unclear"]
    )
    assert {"code": "row-without-file", "about": "line 4: 2018/遗失.mp4"} in answer["problems"]
    audited(running).check_each_file_once(legacy.files())


def test_its_provenance_is_in_every_statement(running: Site, legacy: Legacy) -> None:
    auditor = audited(running)
    signers = {manifest.header.signer for _, manifest in auditor.manifests}
    assert signers == {"import"}
    assert {inventory.profile for _, inventory in auditor.inventories} == {"import"}
    (enrolled,) = (
        said.statement
        for said in auditor.said
        if isinstance(said.statement, Enrolled) and said.statement.role == "station"
    )
    assert enrolled.name == "import"
    claimed = claims_of(auditor, "2019/现场一.mp4")
    assert claimed == ("ZFY0001", "imported", "031415", "2019-05-05T23:08:00+00:00")
    assert claims_of(auditor, "2019/现场二.mp4") == ("ZFY0002", "imported", None, None)


def claims_of(auditor: Auditor, path: str) -> tuple[str | None, ...]:
    (manifest,) = (one for _, one in auditor.manifests if one.path == path)
    assert isinstance(manifest, Manifest)
    assert manifest.recorder is not None
    return (
        manifest.recorder.value,
        manifest.recorder.source,
        None if manifest.officer is None else manifest.officer.value,
        None if manifest.started_at is None else manifest.started_at.value.isoformat(),
    )


def test_case_and_remarks_are_custody_events_of_the_original(running: Site, legacy: Legacy) -> None:
    (event,) = (event for event in audited(running).events if event.event == "imported")
    assert isinstance(event, Custody)
    assert event.item == Digest.sha256(sha256_of(legacy.folder / "2019/现场一.mp4"))
    assert event.details["case"] == "城管〔2019〕7号"
    assert event.details["remarks"] == "占道经营"
    assert event.details["table"] == f"sha256:{sha256_of(legacy.table)}"
    assert event.details["line"] == 2


def test_a_second_import_takes_only_what_is_new(running: Site, legacy: Legacy) -> None:
    size = running.collector.log_size()
    code, answer = bring_in(running, legacy)
    assert (answer["imported"], answer["known"]) == (0, 4)
    assert running.collector.log_size() == size
    legacy.write("2020/新增.mp4", 9)
    code, answer = bring_in(running, legacy)
    assert (answer["imported"], answer["known"]) == (1, 4)
    auditor = audited(running)
    auditor.check_each_file_once(legacy.files())
    said, inventory = auditor.inventories[-1]
    states = Counter(row.state for row in auditor.rows(said, inventory))
    assert states == {RowState.KNOWN: 4, RowState.TO_READ: 1}
    assert code == 1


def test_no_station_is_called_import(running: Site) -> None:
    done = subprocess.run(
        [
            BIN / "zhilu-collector", "enrolment-code", "--data", running.collector.folder,
            "--station", "import", "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["error"]["code"] == "name-reserved"


def test_without_a_running_collector_nothing_is_imported(running: Site, legacy: Legacy) -> None:
    running.collector.child.end()
    code, answer = bring_in(running, legacy)
    assert (code, answer["error"]["code"]) == (1, "collector-away")
    running.collector.start()
