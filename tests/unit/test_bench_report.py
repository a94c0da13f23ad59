"""What the bench says about a run: verdicts, and whether they are about the sizes of the bars."""

from __future__ import annotations

import pytest

from scripts.bench_report import Bar, Report


@pytest.mark.parametrize(
    ("found", "at_least", "met"),
    [(0.8, False, True), (0.81, False, False), (0.8, True, True), (0.79, True, False)],
)
def test_a_bar_is_met_on_its_own_side_and_by_equality(found: float, at_least: bool, met: bool) -> None:
    assert Bar(what="speed", found=found, limit=0.8, at_least=at_least).met is met


def test_verdicts_come_first_and_say_when_they_are_not_about_the_full_sizes() -> None:
    report = Report(scale=0.05)
    report.add_bar(Bar(what="announce", found=1.2, limit=1.0, unit="s"))
    verdicts = report.text().split("\n\n")[1]
    assert "0.05 of the data" in verdicts
    assert "NOT MET" in verdicts


def test_markdown_has_the_same_rows_as_text() -> None:
    report = Report()
    report.add_bar(Bar(what="announce", found=0.5, limit=1.0, unit="s"))
    assert "| announce | 0.50 s | ≤ 1 s | met |" in report.markdown()
