"""Does the status tell people the truth, safely?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.commands.output import fit
from agent.core.bay import BayState, BayStatus, sentence_of
from agent.spool.records import Backlog
from agent.status import Snapshot, format_lines, load_status, snapshot
from agent.uplink.state import UplinkState

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def bay(state: BayState, *, recorder: str | None = "ZFY0001", time_left_s: float | None = None) -> BayStatus:
    return BayStatus(
        dock="folder",
        bay="bay-1",
        state=state,
        sentence=sentence_of(state),
        may_be_taken=state in (BayState.DELIVERING, BayState.DONE),
        needs_person=False,
        problem_code=None,
        problem=None,
        advice=None,
        recorder=recorder,
        officer=None,
        profile="generic@1",
        doubts=(),
        files=4,
        files_read=3,
        files_unreadable=0,
        files_receipted=2,
        files_released=0,
        bytes_total=2 * 1024 * 1024,
        bytes_read=1024 * 1024,
        time_left_s=time_left_s,
        since=NOW,
    )


def backlog(*, statements: int = 0, deliveries: int = 0, media_jobs: int = 0) -> Backlog:
    return Backlog(
        statements_unsettled=statements,
        statements_refused=0,
        deliveries_open=deliveries,
        delivery_bytes_open=0,
        media_jobs_open=media_jobs,
        oldest_open_at=None,
    )


def taken(
    *bays: BayStatus,
    owes: Backlog | None = None,
    state: UplinkState | None = None,
    connected: bool = True,
    obstacle: str | None = None,
) -> Snapshot:
    return snapshot(
        station="s1",
        at=NOW,
        bays=bays,
        backlog=owes or backlog(),
        uplink=state or UplinkState(lambda: NOW),
        broker_connected=connected,
        working=None,
        obstacle=obstacle,
    )


@pytest.mark.parametrize(
    ("bays", "owes", "idle"),
    [
        ((), backlog(), True),
        ((bay(BayState.DONE),), backlog(), True),
        ((bay(BayState.RELEASED),), backlog(), True),
        ((bay(BayState.RELEASABLE),), backlog(), False),
        ((bay(BayState.RELEASING),), backlog(), False),
        ((bay(BayState.OFFLOADING),), backlog(), False),
        ((bay(BayState.IDENTIFYING),), backlog(), False),
        ((bay(BayState.DONE),), backlog(statements=1), False),
        ((bay(BayState.DONE),), backlog(deliveries=1), False),
        ((bay(BayState.DONE),), backlog(media_jobs=1), False),
    ],
)
def test_idle_means_that_nothing_is_left_to_do(
    bays: tuple[BayStatus, ...], owes: Backlog, idle: bool
) -> None:
    assert taken(*bays, owes=owes)["idle"] is idle


def test_a_line_says_who_how_far_how_long_and_whether_it_may_be_taken() -> None:
    line, _ = format_lines(taken(bay(BayState.OFFLOADING, time_left_s=95)))
    for part in ("bay-1", "ZFY0001", "3/4", "1.0/2.0 MiB", "1 分 35 秒", "请勿取走"):
        assert part in line
    assert "可取走" in format_lines(taken(bay(BayState.DONE)))[0]


def test_the_station_says_how_it_stands_with_the_collector() -> None:
    away, answering = UplinkState(lambda: NOW), UplinkState(lambda: NOW)
    answering.note_answer()
    assert "正在连接" in format_lines(taken(connected=False))[-1]
    assert "改用 HTTP" in format_lines(taken(state=answering, connected=False))[-1]
    assert "汇聚端已连接" in format_lines(taken(state=answering))[-1]
    away.fork_evidence = Path("contradictions/fork-1")
    assert "前后矛盾" in format_lines(taken(state=away))[-1]


def test_what_keeps_renditions_from_being_made_is_shown() -> None:
    assert "转码暂停" not in format_lines(taken())[-1]
    assert "转码暂停（no sandbox here）" in format_lines(taken(obstacle="no sandbox here"))[-1]


def test_numbers_that_disagree_are_to_be_looked_at() -> None:
    doubtful = replace(bay(BayState.DELIVERING, recorder=None), doubts=("recorder: ZFY0001, ZFY0002",))
    line, _ = format_lines(taken(doubtful))
    assert "编号有矛盾，请核对（recorder: ZFY0001, ZFY0002）" in line


def test_a_status_that_an_earlier_version_wrote_can_be_shown() -> None:
    written = dict(taken(bay(BayState.DONE)))
    written["bays"] = [
        {name: value for name, value in tile.items() if name not in ("doubts", "advice_zh", "advice_en")}
        for tile in written["bays"]
    ]
    assert "可取走" in format_lines(written)[0]


def test_a_recorder_with_a_hostile_name_cannot_drive_the_terminal() -> None:
    (line, _) = format_lines(taken(bay(BayState.DONE, recorder="A\x1b[2J\x07\u202eB")))
    assert line.isprintable()


def test_a_line_is_cut_to_the_terminal_counting_wide_characters() -> None:
    assert fit("可取走abc", 80) == "可取走abc"
    assert fit("可取走abc", 7) == "可取走a"
    assert fit("可取走abc", 5) == "可取"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 2}', "null"])
def test_a_status_file_that_makes_no_sense_is_no_status(tmp_path: Path, text: str) -> None:
    path = tmp_path / "status.json"
    assert load_status(path) is None
    path.write_text(text)
    assert load_status(path) is None
