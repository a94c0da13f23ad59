"""A station that died with work undone: does a rescue from another machine deliver all of it, and say what is left?"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from protocol.digest import Digest
from tests.support.audit import Auditor
from tests.support.cards import MIB, files_of, make_card
from tests.support.processes import AGENCY, BIN, CollectorHost, Site, StationHost, needs_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site]


class DeadStation:
    """Killed when two recorders were read: the collector had vanished in the middle of delivering the first, and the
    second was never offered. Its data directory was moved away."""

    def __init__(self, site: Site, tmp_path: Path) -> None:
        self.work = tmp_path / "work"
        first = make_card(tmp_path / "ZFY0001", [*[300_000] * 6, 9 * MIB, *[200_000] * 6], seed=7)
        second = make_card(tmp_path / "ZFY0002", [100_000] * 4, seed=8, recorder="ZFY0002")
        self.docked = files_of(first) + files_of(second)
        self.never_offered = [digest for _, digest in files_of(second)]
        site.enrol()
        site.station.start()
        receipts = site.station.folder / "spool/receipts"
        bays = [site.station.dock(first)]
        wait_until(lambda: any(receipts.glob("*.jsonl")), "a first receipt", watch=site.children)
        site.collector.child.end(signal.SIGKILL)
        bays.append(site.station.dock(second))
        for bay in bays:
            wait_until(partial(_may_be_taken, site, bay), "all read", watch=[site.station.child])
        site.station.child.end(signal.SIGKILL)
        self.folder = tmp_path / "saved" / "disk"
        self.folder.parent.mkdir()
        site.station.folder.rename(self.folder)
        self.before = contents(self.folder)
        site.collector.start()

    def original(self, digest: str) -> Path:
        return self.folder / "spool/originals" / digest[:2] / digest


def _may_be_taken(site: Site, bay: str) -> object:
    return site.station.bay(bay).get("may_be_taken")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def dead(site: Site, tmp_path: Path) -> DeadStation:
    return DeadStation(site, tmp_path)


def rescue(dead: DeadStation, *words: str | Path) -> tuple[int, dict[str, Any]]:
    arguments = ["rescue", "--data", dead.folder, "--work", dead.work, "--patience-s", "20", *words, "--json"]
    done = subprocess.run(
        [BIN / "zhilu-agent", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def neighbour(site: Site, tmp_path: Path, *agencies: str) -> StationHost:
    station = StationHost(tmp_path / "neighbour")
    station.enrol(site.collector.enrolment_code("dock-9", *agencies))
    return station


def audited(collector: CollectorHost, docked: Counter[tuple[str, str]]) -> None:
    Auditor(collector.config.log_dir, collector.config.objects_dir).check_each_file_once(docked)


def test_everything_the_dead_station_held_is_delivered_and_nothing_touched(
    site: Site, dead: DeadStation
) -> None:
    code, answer = rescue(dead)
    assert (code, answer["complete"], answer["station"]) == (0, True, "dock-1"), answer
    assert answer["receipted_before"] >= 1
    assert answer["receipted_now"] >= 1
    assert answer["receipted_before"] + answer["receipted_now"] == len(list(dead.docked)) + 2
    audited(site.collector, dead.docked)
    assert contents(dead.folder) == dead.before

    lost = objects_of(site, dead.docked)[:2]
    for path in lost:
        path.unlink()
    report = dead.work.with_name("missing.json")
    report.write_text(json.dumps({"object-missing": [f"sha256:{path.name}" for path in lost]}))
    code, again = rescue(dead, "--again", report)
    assert (code, again["receipted_now"]) == (0, 0)
    assert sorted(again["sent_again"]) == sorted(f"sha256:{path.name}" for path in lost)
    token = site.collector.token("auditor", "clips:read")
    mended = "/api/v1/findings?code=object-missing&open=false"
    wait_until(  # the log's word comes after the object, and is an object itself
        lambda: len(site.collector.get(mended, token).json()["findings"]) == len(lost),
        "the log to say that the lost objects are whole",
        watch=[site.collector.child],
    )
    assert all(path.exists() for path in lost)
    audited(site.collector, dead.docked)

    shutil.rmtree(dead.work)
    assert rescue(dead)[0] == 0
    audited(site.collector, dead.docked)


def objects_of(site: Site, docked: Counter[tuple[str, str]]) -> list[Path]:
    auditor = Auditor(site.collector.config.log_dir, site.collector.config.objects_dir)
    return [auditor.object_path(AGENCY, "originals", Digest.sha256(digest)) for _, digest in docked]


def test_a_neighbour_lends_its_identity_when_the_keys_are_lost(
    site: Site, dead: DeadStation, tmp_path: Path
) -> None:
    shutil.rmtree(dead.folder / "keys")
    code, answer = rescue(dead)
    assert (code, answer["error"]["code"]) == (1, "rescue-impossible")
    assert "--identity" in answer["error"]["detail"]
    code, answer = rescue(dead, "--identity", neighbour(site, tmp_path).folder)
    assert (code, answer["complete"]) == (0, True), answer
    audited(site.collector, dead.docked)


def test_what_cannot_be_delivered_is_named_and_the_rest_delivered(site: Site, dead: DeadStation) -> None:
    lost, damaged, *_ = map(dead.original, dead.never_offered)
    lost.unlink()
    damaged.chmod(0o600)
    damaged.write_bytes(b"?" + damaged.read_bytes()[1:])
    stray = dead.folder / "spool/originals/aa" / ("aa" + "0" * 62)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"whole, and in no manifest")
    half = dead.folder / "spool/partial/half-read"
    half.write_bytes(b"half")
    code, answer = rescue(dead)
    assert (code, answer["complete"]) == (1, False)
    assert (len(answer["lost"]), len(answer["open"])) == (1, 1)
    findings = {line.partition(":")[0] for line in answer["findings"]}
    assert {"upload-source", "spool-damaged"} <= findings
    assert answer["receipted_before"] + answer["receipted_now"] == len(list(dead.docked)) + 2 - 2
    assert answer["unjournalled"] == [str(stray)]
    assert str(half) in answer["unfinished"]


def test_a_station_that_lives_is_not_rescued(site: Site) -> None:
    site.start()
    wait_until(site.station.status, "the station's status", watch=site.children)
    done = subprocess.run(
        [BIN / "zhilu-agent", "rescue", "--data", site.station.folder, "--work", site.folder / "w", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["error"]["code"] == "already-running"


def test_an_absent_collector_ends_a_rescue_that_can_be_repeated(site: Site, dead: DeadStation) -> None:
    site.collector.child.end()
    code, answer = rescue(dead, "--patience-s", "2")
    assert code == 1
    assert answer["open"]
    assert any(line.startswith("collector-away") for line in answer["findings"])
    site.collector.start()
    assert rescue(dead)[0] == 0
    audited(site.collector, dead.docked)
