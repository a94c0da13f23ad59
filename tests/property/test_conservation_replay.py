"""Findings are a function of log and objects: any cut, any delay of what follows commits, any order of statements."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.catalogue import Catalogue, FindingFilter, LoggedStatement, RecordedFinding
from collector.core import findings as codes
from collector.core.findings import ClosedBy, Finding, Severity
from protocol.statements import Custody, Statement
from tests.support.catalogues import dump
from tests.support.statements import Log, digest, id_of, unreadable
from tests.support.succession import AGENCY, Succession, file


def _story() -> Succession:
    """Visits, releases, damage and explanations that can be shuffled into many kinds of trouble."""
    story = Succession()
    numbered = [f"DCIM/100MEDIA/DSCN{number:04}.JPG" for number in (1, 2, 5)]
    first = story.visit(file("a.mp4"), file("b.mp4", 20), *map(file, numbered), offset_ms=0)
    clips = {row: story.read(first, row) for row in range(3)}
    story.later()
    second = story.visit(file("b.mp4", known=clips[2]), file("c.mp4"), offset_ms=500_000)
    story.log.add(unreadable(second, 1))
    intent = story.intend(second, {0: clips[2]})
    after = story.visit(file("c.mp4"), visit=int(second.visit, 16), sequence=2)
    story.release(intent, after)
    story.later(timedelta(days=8))
    late = story.visit(file("x.mp4"), recorder="R2")
    story.read(late)
    third = story.visit(file("a.mp4"), file("b.mp4", known=clips[2]), file("d.mp4", 5), declared=9)
    story.read(third, 0, content="back")
    bad = story.intend(third, {0: clips[0], 1: clips[1]}, claimed=1)
    story.later()
    story.release(bad, story.visit(file("d.mp4", 4)), 1)
    for event in ("damaged", "repaired", "damaged"):
        story.say(event, digest("object"), {"code": "object-missing"}, "originals")
    gone = Finding(
        code=codes.GONE_WITHOUT_RELEASE,
        severity=Severity.ALARM,
        agency=AGENCY,
        subject=id_of(second),
        place="row 0",
        opened_index=0,
    )
    for event in ("explained", "explanation-withdrawn", "explained"):
        story.say(event, gone.id, {"finding": str(gone.id), "reason": "known"})
    return story


STORY = _story()
POOL: list[Statement] = [logged.statement for logged in STORY.log.entries if logged.statement is not None]


def project(path: Path, batches: Sequence[Sequence[LoggedStatement]], pauses: set[int]) -> object:
    catalogue = Catalogue.open(path, read_listing=STORY.listings)
    try:
        for number, batch in enumerate(batches):
            catalogue.apply(batch)
            if number in pauses:
                catalogue.catch_up()
            elif number % 4 == 2:
                catalogue.read_listing()
        catalogue.catch_up()
    finally:
        catalogue.close()
    return dump(path)


def found_after(folder: Path, entries: Sequence[LoggedStatement]) -> list[RecordedFinding]:
    catalogue = Catalogue.open(folder / f"{len(entries)}.sqlite", read_listing=STORY.listings)
    try:
        catalogue.apply(entries)
        catalogue.catch_up()
        return list(catalogue.findings(FindingFilter(), limit=500).findings)
    finally:
        catalogue.close()


def event_of(logged: LoggedStatement) -> str | None:
    return logged.statement.event if isinstance(logged.statement, Custody) else None


def log_of(statements: Sequence[Statement]) -> Log:
    log = Log()
    log.add(*statements)
    return log


def test_the_story_has_nearly_everything_in_it(tmp_path: Path) -> None:
    found = {finding.code for finding in found_after(tmp_path, STORY.log.entries)}
    assert found >= set(codes.KINDS) - {
        codes.UNDELIVERED,
        codes.MANIFEST_BEFORE_INVENTORY,
        codes.IMPLAUSIBLE_TIME,
        codes.OBJECT_ALTERED,
        codes.LEFT_UNREAD,
        codes.RELEASE_UNCONFIRMED,
    }


@settings(max_examples=15, deadline=None)
@given(
    statements=st.one_of(st.just(POOL), st.permutations(POOL), st.lists(st.sampled_from(POOL), max_size=50)),
    places=st.sets(st.integers(min_value=1, max_value=60)),
    pauses=st.sets(st.integers(min_value=0, max_value=60)),
)
def test_however_the_log_is_cut_and_whenever_it_is_followed_the_catalogue_is_the_same(
    statements: list[Statement], places: set[int], pauses: set[int]
) -> None:
    entries = log_of(statements).entries
    ends = [0, *sorted(place for place in places if place < len(entries)), len(entries)]
    with tempfile.TemporaryDirectory() as folder:
        whole = project(Path(folder) / "whole.sqlite", [entries], set())
        cut = project(
            Path(folder) / "cut.sqlite", [entries[start:end] for start, end in pairwise(ends)], pauses
        )
        single = project(
            Path(folder) / "single.sqlite", [[entry] for entry in entries], set(range(len(entries)))
        )
    assert whole == cut
    assert whole == single


@settings(max_examples=10, deadline=None)
@given(
    statements=st.one_of(st.just(POOL), st.permutations(POOL)),
    size=st.integers(min_value=1, max_value=len(POOL)),
)
def test_what_was_evident_then_is_in_what_is_evident_now(statements: list[Statement], size: int) -> None:
    """A finding is not taken back, it is closed: what a shorter log showed, the longer one shows with its end. Only an
    explanation can be withdrawn, and then what was closed by it is open, or closed by other words or evidence."""
    entries = log_of(statements).entries
    with tempfile.TemporaryDirectory() as folder:
        then = found_after(Path(folder), entries[:size])
        now = {finding.id: finding for finding in found_after(Path(folder), entries)}
    for finding in then:
        later = now[finding.id]
        assert later.opened_index == finding.opened_index
        if finding.closed_index is None:
            assert later.closed_index is None or later.closed_index >= size
        elif finding.closed_by is ClosedBy.EVIDENCE:
            assert later.closed_index == finding.closed_index
        elif later.closed_index != finding.closed_index:
            assert "explanation-withdrawn" in {event_of(entry) for entry in entries[size:]}
