"""Successive inventories of one recorder: what is found, when it opens, and what closes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from collector.catalogue import Catalogue, ClipFilter, FindingFilter, Presence, RecordedFinding
from collector.core import findings as codes
from collector.core.findings import ClosedBy, Severity
from protocol.claims import TimeClaim
from protocol.listing import RowState
from tests.support.catalogues import catalogue_in
from tests.support.statements import digest, id_of
from tests.support.succession import AGENCY, Succession, file, found_in, summary


@pytest.fixture
def trail() -> Succession:
    return Succession()


def test_an_ordinary_visit_finds_nothing(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"), file("b.txt", state=RowState.EXCLUDED))
    clip = trail.read(first)
    trail.later()
    trail.visit(file("a.mp4", known=clip), file("c.mp4"))
    assert trail.findings(tmp_path) == []


def test_a_file_that_is_gone_unread_is_an_alarm(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"), file("b.mp4"))
    trail.read(first, 0)
    trail.later()
    second = trail.visit(file("a.mp4"))
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.severity, found.path) == (codes.GONE_WITHOUT_RELEASE, Severity.ALARM, "b.mp4")
    assert (found.inventory, found.row, found.visit) == (id_of(first), 1, second.visit)
    assert (found.recorder, found.station, found.closed_index) == ("R1", "dock-1", None)
    assert found.details == {"size_bytes": 10, "stored": "no"}


def test_a_file_that_is_gone_and_stored_is_a_warning(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"))
    trail.read(first)
    trail.later()
    trail.visit()
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.severity, found.details["stored"]) == (
        codes.GONE_WITHOUT_RELEASE,
        Severity.WARNING,
        "yes",
    )


def test_a_smaller_file_at_the_same_path_is_another_one(trail: Succession, tmp_path: Path) -> None:
    trail.visit(file("a.mp4", 10), file("log.txt", 10))
    trail.later()
    trail.visit(file("a.mp4", 9), file("log.txt", 11))
    assert [found.path for found in trail.findings(tmp_path)] == ["a.mp4"]


def test_an_excluded_file_may_come_and_go(trail: Succession, tmp_path: Path) -> None:
    trail.visit(file("a.tmp", state=RowState.EXCLUDED))
    trail.later()
    trail.visit()
    assert trail.findings(tmp_path) == []


def test_a_file_that_comes_back_closes_its_finding(trail: Succession, tmp_path: Path) -> None:
    trail.visit(file("a.mp4"))
    trail.later()
    trail.visit()
    trail.later()
    third = trail.visit(file("a.mp4"))
    (found,) = trail.findings(tmp_path)
    assert (found.closed_by, found.closed_index) == (ClosedBy.EVIDENCE, len(trail.log.entries) - 1)
    assert third


def test_another_volume_of_the_recorder_is_compared_with_itself(trail: Succession, tmp_path: Path) -> None:
    trail.visit(file("a.mp4"), total_bytes=1)
    trail.visit(file("z.mp4"), total_bytes=2, bay="1-2")
    trail.later()
    trail.visit(file("a.mp4"), total_bytes=1)
    assert trail.findings(tmp_path) == []


def test_recorders_without_a_number_are_compared_within_a_visit_only(
    trail: Succession, tmp_path: Path
) -> None:
    trail.visit(file("a.mp4"), recorder=None, visit=900)
    trail.visit(recorder=None, visit=900, sequence=2)
    trail.visit(recorder=None, visit=901, bay="1-2")
    assert [found.visit for found in trail.findings(tmp_path)] == [f"{900:032x}"]


def test_an_inventory_that_arrives_late_is_no_false_alarm(trail: Succession, tmp_path: Path) -> None:
    """Made at a station without network between two others, delivered after both."""
    first = trail.visit(file("a.mp4"))
    clip = trail.read(first)
    trail.later(timedelta(days=2))
    newest = trail.visit(file("a.mp4", known=clip), file("b.mp4"))
    trail.later(timedelta(days=-1))
    trail.visit(file("a.mp4", known=clip), signer="dock-2")
    trail.later(timedelta(days=2))
    trail.visit(file("a.mp4", known=clip), file("b.mp4"))
    assert trail.findings(tmp_path) == []
    assert newest


# --- releases -------------------------------------------------------------------------------------------------


def test_a_release_is_no_finding(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"), file("b.mp4"))
    clips = {row: trail.read(first, row) for row in range(2)}
    intent = trail.intend(first, clips)
    after = trail.visit(visit=int(first.visit, 16), sequence=2)
    trail.release(intent, after)
    trail.later()
    trail.visit(file("c.mp4"))
    assert trail.findings(tmp_path) == []


def test_a_known_file_can_be_released_at_a_later_visit(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"))
    clip = trail.read(first)
    trail.later()
    second = trail.visit(file("a.mp4", known=clip))
    intent = trail.intend(second, {0: clip})
    trail.release(intent, trail.visit(visit=int(second.visit, 16), sequence=2))
    assert trail.findings(tmp_path) == []


def test_a_kept_file_that_is_gone_is_gone_without_release(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"))
    intent = trail.intend(first, {0: trail.read(first)})
    after = trail.visit(visit=int(first.visit, 16), sequence=2)
    trail.release(intent, after, 0)
    assert summary(trail.findings(tmp_path)) == [(codes.GONE_WITHOUT_RELEASE, True)]


def test_an_interrupted_release_is_unconfirmed_until_the_station_reports(
    trail: Succession, tmp_path: Path
) -> None:
    first = trail.visit(file("a.mp4"), file("b.mp4"))
    clips = {row: trail.read(first, row) for row in range(2)}
    intent = trail.intend(first, clips)
    trail.later()
    second = trail.visit(file("b.mp4", known=clips[1]))
    assert summary(trail.findings(tmp_path)) == [(codes.RELEASE_UNCONFIRMED, True)]
    trail.release(intent, second, 1)
    assert summary(trail.findings(tmp_path)) == [(codes.RELEASE_UNCONFIRMED, False)]


@pytest.mark.parametrize("how", ["never stored", "another place", "another digest"])
def test_an_intent_without_a_receipt_is_an_alarm(trail: Succession, tmp_path: Path, how: str) -> None:
    first = trail.visit(file("a.mp4"))
    clip = trail.read(first, is_stored=how != "never stored")
    if how == "another digest":
        intent = trail.intend(first, {0: clip})
        trail.log.entries.pop()
        trail.log.add(replace(intent, items=(replace(intent.items[0], digest=digest("x")),)))
    else:
        trail.intend(first, {0: clip}, claimed=1)
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.severity, found.path) == (
        codes.RELEASED_WITHOUT_RECEIPT,
        Severity.ALARM,
        "a.mp4",
    )
    assert found.details["erased"] == "no"


def test_a_released_file_that_is_listed_again_is_back(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"))
    clip = trail.read(first)
    intent = trail.intend(first, {0: clip})
    trail.release(intent, trail.visit(visit=int(first.visit, 16), sequence=2))
    trail.later()
    trail.visit(file("a.mp4", known=clip))
    assert summary(trail.findings(tmp_path)) == [(codes.ERASED_BUT_BACK, True)]


def test_a_released_file_that_is_read_again_with_the_same_bytes_is_back(
    trail: Succession, tmp_path: Path
) -> None:
    first = trail.visit(file("a.mp4"))
    clip = trail.read(first, content="the same")
    trail.release(trail.intend(first, {0: clip}), trail.visit(visit=int(first.visit, 16), sequence=2))
    trail.later()
    again = trail.read(trail.visit(file("a.mp4")), content="the same")
    other = trail.read(trail.visit(file("a.mp4"), bay="1-2"), content="new bytes")
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.details["manifest"]) == (codes.ERASED_BUT_BACK, str(id_of(again)))
    assert other


def test_the_same_clip_on_two_recorders_without_numbers_is_not_back(
    trail: Succession, tmp_path: Path
) -> None:
    first = trail.visit(file("a.mp4"), recorder=None)
    clip = trail.read(first, content="the same")
    trail.release(
        trail.intend(first, {0: clip}), trail.visit(visit=int(first.visit, 16), sequence=2, recorder=None)
    )
    trail.later()
    trail.read(trail.visit(file("a.mp4"), recorder=None, bay="1-2"), content="the same")
    assert trail.findings(tmp_path) == []


def test_a_recorder_without_a_number_is_known_again_while_it_stays(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"), recorder=None)
    clip = trail.read(first, content="the same")
    stay = int(first.visit, 16)
    trail.release(trail.intend(first, {0: clip}), trail.visit(visit=stay, sequence=2, recorder=None))
    again = trail.visit(file("a.mp4"), visit=stay, sequence=3, recorder=None)
    trail.read(again, content="the same")
    assert summary(trail.findings(tmp_path)) == [(codes.ERASED_BUT_BACK, True)]


def test_a_clip_tells_whether_it_is_still_on_its_recorder(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(*(file(f"{name}.mp4") for name in "abc"))
    clips = [trail.read(first, row) for row in range(3)]
    trail.later()
    second = trail.visit(*(file(f"{name}.mp4", known=clip) for name, clip in zip("abc", clips, strict=True)))
    intent = trail.intend(second, {0: clips[0]})
    after = [file(f"{name}.mp4", known=clips["abc".index(name)]) for name in "bc"]
    trail.release(intent, trail.visit(*after, visit=int(second.visit, 16), sequence=2))
    trail.later()
    trail.visit(after[1])
    with catalogue_in(tmp_path, trail.listings) as catalogue:
        found_in(catalogue, trail.log.entries)
        page = catalogue.clips(ClipFilter(agencies=None), limit=10)
        assert {clip.path: clip.presence for clip in page.clips} == {
            "a.mp4": Presence.RELEASED,
            "b.mp4": Presence.GONE,
            "c.mp4": Presence.PRESENT,
        }
        account = catalogue.visit(second.visit, None)
        assert account is not None
        counted = [(one.accounting.present, one.accounting.released, one.accounting.gone)
                   for one in account.inventories]  # fmt: skip
        assert counted == [(2, 1, 0), (1, 0, 1)]


# --- listings, deliveries, visits -----------------------------------------------------------------------------


def test_a_listing_that_lacks_declared_rows_is_a_deficit(trail: Succession, tmp_path: Path) -> None:
    trail.visit(file("a.mp4"), declared=3)
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.files, found.details) == (
        codes.DEFICIT,
        2,
        {"declared_rows": 3, "listed_rows": 1},
    )


def test_a_recorder_that_left_unread_files_is_missed_until_it_is_back(
    trail: Succession, tmp_path: Path
) -> None:
    trail.visit(file("a.mp4"), file("b.mp4"))
    assert trail.findings(tmp_path) == []
    trail.later()
    trail.visit(recorder="R2")
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.files, found.path, found.recorder) == (codes.LEFT_UNREAD, 2, "a.mp4", "R1")
    trail.later()
    trail.visit(file("a.mp4"), file("b.mp4"), bay="1-2")
    assert summary(trail.findings(tmp_path)) == [(codes.LEFT_UNREAD, False)]


def test_manifests_that_arrive_after_the_visit_close_what_it_left(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"), file("b.mp4"))
    trail.visit(recorder="R2")
    trail.read(first, 0)
    assert summary(trail.findings(tmp_path)) == [(codes.LEFT_UNREAD, True)]
    trail.read(first, 1)
    (found,) = trail.findings(tmp_path)
    assert (found.closed_index, found.closed_by) == (len(trail.log.entries) - 2, ClosedBy.EVIDENCE)


def test_bytes_that_do_not_arrive_within_a_week_are_missed(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"))
    clip = trail.read(first, is_stored=False)
    trail.later(timedelta(days=6))
    trail.store(trail.read(trail.visit(file("z.mp4"), recorder="R3", bay="2"), is_stored=False))
    assert trail.findings(tmp_path) == []
    trail.later(timedelta(days=2))
    trail.store(trail.read(trail.visit(file("z.mp4"), recorder="R4", bay="3"), is_stored=False))
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.path, found.closed_index) == (codes.UNDELIVERED, "a.mp4", None)
    trail.store(clip)
    (found,) = trail.findings(tmp_path)
    assert found.closed_by is ClosedBy.EVIDENCE


def test_a_manifest_before_its_inventory_is_told_and_ends_with_it(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(file("a.mp4"), is_stored=False)
    trail.read(first)
    at = next(i for i, logged in enumerate(trail.log.entries) if logged.statement == first)
    entries = trail.log.entries
    early = [*entries[:at], *entries[at + 1 :]]
    trail.log.entries = []
    trail.log.add(*(logged.statement for logged in early if logged.statement is not None))
    assert summary(trail.findings(tmp_path)) == [(codes.MANIFEST_BEFORE_INVENTORY, True)]
    trail.log.add(first)
    (found,) = trail.findings(tmp_path)
    assert (found.closed_index, found.path) == (len(trail.log.entries) - 1, "a.mp4")


# --- numbers and clocks ---------------------------------------------------------------------------------------


def pictures(*numbers: int) -> list[str]:
    return [f"DCIM/100MEDIA/DSCN{number:04}.JPG" for number in numbers]


def test_missing_numbers_are_a_gap(trail: Succession, tmp_path: Path) -> None:
    trail.visit(*map(file, pictures(5, 6, 9, 10)))
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.severity, found.files) == (codes.SEQUENCE_GAP, Severity.WARNING, 2)
    assert found.details == {"folder": "100MEDIA", "first": 7, "last": 8}
    assert found.path == "DCIM/100MEDIA/DSCN0009.JPG"


def test_numbers_go_on_where_earlier_listings_ended(trail: Succession, tmp_path: Path) -> None:
    first = trail.visit(*map(file, pictures(5, 6)))
    clips = {row: trail.read(first, row) for row in range(2)}
    trail.release(trail.intend(first, clips), trail.visit(visit=int(first.visit, 16), sequence=2))
    trail.later()
    trail.visit(*map(file, pictures(7, 8)))
    trail.later()
    trail.visit(*map(file, pictures(7, 8, 10)))
    (found,) = trail.findings(tmp_path)
    assert (found.details["first"], found.details["last"]) == (9, 9)


def test_a_gap_of_a_recorder_without_a_number_is_a_note(trail: Succession, tmp_path: Path) -> None:
    trail.visit(*map(file, pictures(1, 3)), recorder=None)
    assert [found.severity for found in trail.findings(tmp_path)] == [Severity.NOTE]


def test_numbers_that_rise_while_times_fall_are_a_clock_set_back(trail: Succession, tmp_path: Path) -> None:
    days = [0, 1, -2]
    trail.visit(
        *(
            file(path, modified_at=trail.now + timedelta(days=day))
            for path, day in zip(pictures(1, 2, 3), days, strict=True)
        )
    )
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.path) == (codes.CLOCK_JUMP, "DCIM/100MEDIA/DSCN0003.JPG")


def test_an_offset_that_changes_by_more_than_drift_is_a_clock_that_was_set(
    trail: Succession, tmp_path: Path
) -> None:
    trail.visit(offset_ms=1_000)
    trail.later(timedelta(days=30))
    trail.visit(offset_ms=200_000)
    assert trail.findings(tmp_path) == []
    trail.later()
    trail.visit(offset_ms=-200_000)
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.details) == (
        codes.CLOCK_JUMP,
        {"clock": "recorder", "before_ms": 200_000, "after_ms": -200_000},
    )


def test_a_stations_clock_that_goes_back_during_a_visit_is_told(trail: Succession, tmp_path: Path) -> None:
    trail.visit(visit=900)
    trail.later(timedelta(hours=-1))
    trail.visit(visit=900, sequence=2)
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.details) == (codes.CLOCK_JUMP, {"clock": "station", "back_ms": 3_600_000})


def test_a_station_from_the_future_is_implausible(trail: Succession, tmp_path: Path) -> None:
    trail.later(timedelta(days=400))
    inventory = trail.visit(is_stored=False)
    trail.later(timedelta(days=-400))
    trail.store(inventory)
    assert summary(trail.findings(tmp_path)) == [(codes.IMPLAUSIBLE_TIME, True)]


@pytest.mark.parametrize("day", [2, -20_000])
def test_a_clip_from_the_future_or_from_before_recorders_is_implausible(
    trail: Succession, tmp_path: Path, day: int
) -> None:
    first = trail.visit(file("a.mp4"), file("b.mp4"))
    trail.read(first, 0)
    clip = trail.read(first, 1, is_stored=False)
    trail.log.entries.pop()
    start = TimeClaim(trail.now + timedelta(days=day), "name")
    trail.log.add(replace(clip, started_at=start))
    (found,) = trail.findings(tmp_path)
    assert (found.code, found.path, found.files) == (codes.IMPLAUSIBLE_TIME, "b.mp4", 1)


# --- objects, explanations, queries ---------------------------------------------------------------------------


def test_damage_is_open_until_the_object_is_whole_again(trail: Succession, tmp_path: Path) -> None:
    item = digest("original")
    trail.say("damaged", item, {"code": "object-missing"}, "originals")
    trail.say("damaged", item, {"code": "object-missing"}, "originals")
    assert summary(trail.findings(tmp_path)) == [(codes.OBJECT_MISSING, True)]
    trail.say("repaired", item, {}, "originals")
    trail.say("damaged", item, {"code": "object-altered"}, "originals")
    assert summary(trail.findings(tmp_path)) == [(codes.OBJECT_MISSING, False), (codes.OBJECT_ALTERED, True)]


def test_a_signed_explanation_closes_a_finding(trail: Succession, tmp_path: Path) -> None:
    trail.visit(file("a.mp4"), file("b.mp4"))
    trail.later()
    trail.visit()
    one, other = trail.findings(tmp_path)
    trail.say("explained", one.id, {"finding": str(one.id), "reason": "card was replaced"})
    by_id = {found.id: found for found in trail.findings(tmp_path)}
    assert by_id[one.id].closed_by is ClosedBy.EXPLANATION
    assert by_id[other.id].closed_index is None


def test_an_explanation_can_be_withdrawn_and_given_anew_and_nobody_replaces_it(
    trail: Succession, tmp_path: Path
) -> None:
    trail.visit(file("a.mp4"))
    trail.later()
    trail.visit()
    (gone,) = trail.findings(tmp_path)

    def say(event: str, reason: str) -> RecordedFinding:
        trail.say(event, gone.id, {"finding": str(gone.id), "reason": reason})
        (found,) = trail.findings(tmp_path)
        return found

    first = say("explained", "card was replaced")
    assert first.explanation is not None
    assert (first.explanation.reason, first.explanation.actor) == ("card was replaced", "an auditor")
    assert say("explained", "something else").explanation == first.explanation
    assert say("explanation-withdrawn", "a mistake") == gone
    again = say("explained", "seen on the video of the desk")
    assert again.closed_by is ClosedBy.EXPLANATION
    assert again.closed_index is not None
    assert first.closed_index is not None
    assert again.closed_index > first.closed_index


def test_a_thousand_files_have_findings_of_their_own_and_the_rest_one(
    trail: Succession, tmp_path: Path
) -> None:
    trail.visit(*(file(f"{number:05}.mp4") for number in range(1_003)))
    trail.later()
    trail.visit()
    with catalogue_in(tmp_path, trail.listings) as catalogue:
        found_in(catalogue, trail.log.entries)
        assert catalogue.open_findings() == {codes.GONE_WITHOUT_RELEASE: 1_001}
        assert sum(found.files for found in _all(catalogue)) == 1_003


def _all(catalogue: Catalogue) -> list[RecordedFinding]:
    found: list[RecordedFinding] = []
    after = None
    while True:
        page = catalogue.findings(FindingFilter(), limit=300, after=after)
        found += page.findings
        if (after := page.next_after) is None:
            return found


def test_findings_are_filtered_and_paged(trail: Succession, tmp_path: Path) -> None:
    for recorder in ("R1", "R2", "R3"):
        trail.visit(file("a.mp4"), recorder=recorder, bay=recorder)
        trail.later()
        trail.visit(recorder=recorder, bay=recorder)
    with catalogue_in(tmp_path, trail.listings) as catalogue:
        everything = found_in(catalogue, trail.log.entries)
        assert len(everything) == 3

        def count(wanted: FindingFilter) -> int:
            return len(catalogue.findings(wanted, limit=10).findings)

        assert count(FindingFilter(recorder="R2")) == 1
        assert count(FindingFilter(recorder="R9")) == 0
        assert count(FindingFilter(visit=everything[0].visit)) == 1
        assert count(FindingFilter(code=codes.DEFICIT)) == 0
        assert count(FindingFilter(station="dock-2")) == 0
        assert count(FindingFilter(agencies=frozenset({AGENCY}), is_open=True)) == 3
        assert count(FindingFilter(agencies=frozenset({"beta"}))) == 0
        assert count(FindingFilter(is_open=False)) == 0
        assert count(FindingFilter(opened_from=everything[1].opened_at)) == 2
        assert count(FindingFilter(opened_before=everything[1].opened_at)) == 1
        assert count(FindingFilter(opened_from=trail.now + timedelta(days=9))) == 0
        pages: list[RecordedFinding] = []
        after = None
        for _ in range(3):
            page = catalogue.findings(FindingFilter(), limit=1, after=after)
            pages += page.findings
            after = page.next_after
        assert after is None
        assert pages == list(reversed(everything))
        assert catalogue.finding(everything[0].id, frozenset({"beta"})) is None
        assert catalogue.finding(everything[0].id) == everything[0]
