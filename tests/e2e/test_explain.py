"""``zhilu-collector explain`` with a real collector: the audit follows, and a rebuild says the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.digest import Digest
from tests.support.attacker import EnrolledStation
from tests.support.processes import AGENCY, BIN, CollectorHost, call, needs_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorHost]:
    """One with a finding: a manifest whose inventory never came."""
    host = CollectorHost(tmp_path / "collector")
    try:
        host.start()
        station = EnrolledStation.enrol(host, tmp_path / "dock", "dock-1", AGENCY)
        never_came = Digest.of(b"an inventory")
        (result,) = station.say(station.manifest(b"clip", never_came, "0" * 32))
        assert result["outcome"] == "admitted"
        yield host
    finally:
        host.child.make_sure_it_ended()
        print(host.child.last_words())


def run(collector: CollectorHost, command: str, *words: str) -> tuple[int, Any]:
    done = subprocess.run(
        [BIN / "zhilu-collector", command, "--data", collector.folder, *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def open_findings(collector: CollectorHost, token: str) -> list[str]:
    page = collector.get("/api/v1/findings?open=true", token).json()
    return [finding["finding"] for finding in page["findings"]]


def conservation(report: Any) -> tuple[list[str], list[str]]:
    (section,) = (one for one in report["sections"] if one["name"] == "conservation")
    return [one["code"] for one in section["problems"]], [one["code"] for one in section["notes"]]


def test_what_is_explained_is_no_failure_any_more_until_it_is_withdrawn(collector: CollectorHost) -> None:
    token = collector.token("auditor", "clips:read")
    wait_until(lambda: open_findings(collector, token), "the finding", watch=[collector.child])
    (finding,) = open_findings(collector, token)
    code, report = run(collector, "audit")
    assert (code, conservation(report)[0]) == (3, ["manifest-before-inventory"])

    words = (finding, "--by", "李审核", "--reason", "采集站已报废 the station was scrapped")
    code, said = run(collector, "explain", *words)
    assert (code, said["actor"], said["event"]) == (0, "李审核", "explained")
    assert run(collector, "explain", *words) == (0, said)
    wait_until(lambda: not open_findings(collector, token), "the explanation", watch=[collector.child])
    code, report = run(collector, "audit")
    assert (code, conservation(report)) == (0, ([], ["explained"]))
    detail = report["sections"][-1]["notes"][0]["detail"]
    assert "李审核" in detail
    assert "采集站已报废" in detail
    assert call("zhilu-collector", "rebuild", "--data", str(collector.folder), "--compare")["identical"]

    code, refused = run(collector, "explain", finding, "--by", "王", "--reason", "other")
    assert (code, refused["error"]["code"]) == (1, "finding-explained")
    assert run(collector, "explain", finding, "--by", "王", "--reason", "it was found", "--withdraw")[0] == 0
    wait_until(lambda: open_findings(collector, token) == [finding], "the finding", watch=[collector.child])
    assert run(collector, "audit")[0] == 3
    assert call("zhilu-collector", "rebuild", "--data", str(collector.folder), "--compare")["identical"]


def test_without_a_collector_nothing_is_explained(collector: CollectorHost) -> None:
    collector.child.end()
    code, refused = run(
        collector, "explain", "sha256:" + "0" * 64, "--by", "li", "--reason", "nobody is there"
    )
    assert (code, refused["error"]["code"]) == (1, "collector-away")
