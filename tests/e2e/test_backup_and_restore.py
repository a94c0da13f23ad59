"""A collector's machine is lost and comes back from its backup: do stations go on as if nothing had happened?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from collector.config import CollectorConfig
from tests.support.audit import audit_site
from tests.support.cards import MIB, files_of, make_card
from tests.support.processes import BIN, Child, Site, call, needs_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site]


def collector(command: str, *words: str | Path) -> tuple[int, dict[str, Any]]:
    arguments = [BIN / "zhilu-collector", command, *words, "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def passphrase(folder: Path) -> Path:
    path = folder / "passphrase"
    path.write_text("a passphrase for this test\n")
    path.chmod(0o600)
    return path


def move_to(site: Site, folder: Path) -> None:
    """The site's collector lives in another folder from now on, under the same address."""
    site.collector.folder = folder
    site.collector.config = CollectorConfig.load(folder)
    site.collector.child = Child(folder.with_suffix(".log"), "zhilu-collector", "run", "--data", str(folder))


def checkpoint_of(site: Site, folder: Path) -> Path:
    """What the station has seen of the log, as an administrator would fetch it."""
    path = folder / "station.checkpoint"
    path.write_text(call("zhilu-agent", "checkpoint", "--data", str(site.station.folder))["checkpoint"])
    return path


def test_a_lost_collector_comes_back_and_its_station_goes_on(site: Site, tmp_path: Path) -> None:
    first = make_card(tmp_path / "ZFY0001", [9 * MIB, *[300_000] * 12], seed=1)
    place, secret = tmp_path / "backup", passphrase(tmp_path)
    old, words = site.collector.folder, ("--to", place, "--passphrase-file", secret)
    site.start()
    site.station.dock(first)
    wait_until(lambda: site.collector.log_size() > 5, "the first statements", watch=site.children)
    code, made = collector("backup", "--data", old, *words)
    assert (code, made["problems"], made["keys"]) == (0, [], "sealed"), made
    early = made["entries"]
    second = make_card(tmp_path / "ZFY0002", [300_000] * 3, seed=2, recorder="ZFY0002")
    site.station.dock(second)
    site.wait_done()
    assert collector("rebuild", "--data", old, "--compare")[1]["identical"] is True

    # The early backup is older than what the station has seen: it must not be written.
    seen = checkpoint_of(site, tmp_path)
    code, restored = collector(
        "restore", "--from", place, "--data", tmp_path / "early", "--passphrase-file", secret, "--seen", seen
    )
    assert (code, restored["entries"]) == (0, early)
    assert "second history" in restored["held"]
    assert collector("run", "--data", tmp_path / "early")[1]["error"]["code"] == "log-held"

    # The machine goes, the newest backup comes back elsewhere.
    made = collector("backup", "--data", old, *words)[1]
    assert made["entries"] >= early
    site.collector.child.end()
    new = tmp_path / "restored"
    code, restored = collector(
        "restore", "--from", place, "--data", new, "--passphrase-file", secret,
        "--seen", checkpoint_of(site, tmp_path),
    )  # fmt: skip
    assert (code, restored["held"], restored["problems"]) == (0, None, []), restored
    old.rename(tmp_path / "scrapped")
    move_to(site, new)
    site.collector.start()

    third = make_card(tmp_path / "ZFY0003", [2 * MIB, *[100_000] * 4], seed=3, recorder="ZFY0003")
    site.station.dock(third)
    site.wait_done()
    auditor = audit_site(site, files_of(first) + files_of(second) + files_of(third))
    (event,) = (event for event in auditor.events if event.event == "restored")
    assert event.details["decision"] == "newest-known"
    assert event.details["entries"] == restored["entries"]
    assert not (new / "log/restored.json").exists()
    assert collector("rebuild", "--data", new, "--compare")[1]["identical"] is True
    code, report = collector("audit", "--data", new)
    assert code == 0, report
