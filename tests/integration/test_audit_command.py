"""``zhilu-collector audit`` on a real data directory: what it says and answers with, and that it changes nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from collector.cli import main
from collector.config import CollectorConfig
from collector.core import findings as codes
from collector.log.tile_files import WriterLease
from collector.objects import ObjectClass
from collector.objects.directory import object_path
from protocol.digest import Digest
from tests.support.holdings import AGENCY, found_collector, stock


@pytest.fixture
def config(tmp_path: Path) -> CollectorConfig:
    config = found_collector(tmp_path / "collector")
    stock(config, b"one", b"two")
    return config


def audit(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, Any]]:
    code = main(["audit", "--data", str(config.data_dir), "--json", *words])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, report


def problems(report: dict[str, Any]) -> set[str]:
    return {problem["code"] for section in report["sections"] for problem in section["problems"]}


def meddle(config: CollectorConfig, change: str) -> None:
    with closing(sqlite3.connect(config.catalogue_path)) as connection, connection:
        connection.execute(change)


def everything(config: CollectorConfig) -> dict[str, bytes]:
    """All evidence and settings; not the side files SQLite keeps while it is read."""
    return {
        str(path.relative_to(config.data_dir)): path.read_bytes()
        for path in config.data_dir.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_sound_collector_is_clean_also_beside_a_running_one(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(config)
    lease = WriterLease(config.log_dir)  # as a running collector holds it
    code, report = audit(config, capsys)
    lease.release()
    assert (code, report["clean"]) == (0, True), report
    assert {section["name"]: section["checked"] for section in report["sections"]} == {
        "log": 8,
        "statements": 8,
        "objects": 3,
        "receipts": 3,
        "conservation": 2,
    }
    assert [section["note_count"] for section in report["sections"]] == [0] * 5
    assert everything(config) == before


def test_in_words_it_says_how_much_and_ends_with_a_verdict(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--data", str(config.data_dir)]) == 0
    said, progress = capsys.readouterr()
    assert "对象 objects: 3," in said
    assert said.endswith("审计通过 CLEAN\n")
    assert "\r" not in progress, "progress is for terminals"


def test_a_damaged_object_is_answered_with_three(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    path = object_path(config.objects_dir, AGENCY, ObjectClass.ORIGINALS, Digest.of(b"one"))
    path.chmod(0o640)
    path.write_bytes(b"two")
    code, report = audit(config, capsys)
    assert (code, problems(report)) == (3, {"object-altered", "object-writable"})


def test_a_finding_is_a_problem_and_says_where(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    stock(config, b"one")
    code, report = audit(config, capsys)
    assert (code, problems(report)) == (3, {codes.GONE_WITHOUT_RELEASE})
    (problem,) = report["sections"][-1]["problems"]
    assert problem["where"].startswith(f"{AGENCY} dock-1 ABC1234 ")
    assert "1.mp4" in problem["where"]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM findings",
        "UPDATE findings SET closed_index = 3, is_open = 0",
        "UPDATE findings SET id = CAST(x'12' || zeroblob(32) AS BLOB)",
    ],
)
def test_a_catalogue_that_hides_a_finding_is_found_out(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    stock(config, b"one")
    meddle(config, change)
    _, report = audit(config, capsys)
    assert "catalogue-differs" in problems(report)


def test_a_catalogue_that_shows_more_than_the_log_is_found_out(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    meddle(config, "UPDATE projection SET projected_size = 99")
    assert problems(audit(config, capsys)[1]) == {"log-rolled-back"}


def test_findings_still_to_be_computed_are_not_compared(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    stock(config, b"one")
    meddle(config, "INSERT INTO unreconciled SELECT agency, about, 1 FROM findings")
    meddle(config, "DELETE FROM findings")
    code, report = audit(config, capsys)
    assert problems(report) == {codes.GONE_WITHOUT_RELEASE}
    assert report["sections"][-1]["notes"][0]["code"] == "catalogue-behind"
    assert code == 3


@pytest.mark.parametrize("change", ["DROP TABLE findings", "UPDATE findings SET id = x'00'"])
def test_a_catalogue_that_cannot_be_read_is_a_problem_and_the_rest_is_audited(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    stock(config, b"one")
    meddle(config, change)
    code, report = audit(config, capsys)
    assert (code, problems(report)) == (3, {"catalogue-unreadable", codes.GONE_WITHOUT_RELEASE})


def test_without_a_catalogue_the_rest_is_audited(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config.catalogue_path.unlink()
    assert audit(config, capsys)[0] == 0
    assert main(["audit", "--data", str(config.data_dir)]) == 0
    assert "no catalogue to compare with" in capsys.readouterr().out


def test_a_key_got_elsewhere_decides(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = found_collector(tmp_path / "other", name="other")
    assert audit(config, capsys, "--log-key", str(config.log_dir / "vkey"))[0] == 0
    code, report = audit(config, capsys, "--log-key", (other.log_dir / "vkey").read_text().strip())
    assert (code, report["error"]["code"]) == (1, "signature-invalid")


def test_from_an_earlier_checkpoint_and_in_a_sample(
    config: CollectorConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    earlier = tmp_path / "checkpoint"
    earlier.write_bytes((config.log_dir / "checkpoint").read_bytes())
    stock(config, b"one", b"two", b"three")
    code, report = audit(config, capsys, "--since", str(earlier), "--sample", "2")
    assert (code, report["since"], report["sampled"]) == (0, 8, 2)


def test_nothing_to_audit_is_answered_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--data", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "config-invalid"
