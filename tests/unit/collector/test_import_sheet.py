"""Is a table read as what it says, in the forms agencies have, and never as more?"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.importing.errors import SheetError
from collector.importing.sheet import Sheet, SheetRow, parse_sheet

ZONE = ZoneInfo("Asia/Shanghai")
CHINESE = (
    "文件名,记录仪编号,警号,开始时间,案件编号,备注\n"
    "现场\\1.mp4,ZFY0001,031415,2023/5/6 7:08,城管〔2023〕7号,占道经营\n"
)
ENGLISH = (
    "File Path;Device ID;Badge;Start Time;Case No;Notes\n"
    "现场/1.mp4;ZFY0001;031415;2023-05-06 07:08:00;城管〔2023〕7号;占道经营\n"
)
EXPECTED = SheetRow(
    line=2,
    path="现场/1.mp4",
    recorder="ZFY0001",
    officer="031415",
    started_at=datetime(2023, 5, 6, 7, 8, tzinfo=ZONE),
    case="城管〔2023〕7号",
    remarks="占道经营",
)


def parse(text: str, encoding: str = "utf-8") -> Sheet:
    return parse_sheet(text.encode(encoding), ZONE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize(
    "text", [CHINESE, ENGLISH, ENGLISH.replace(";", "\t"), CHINESE.replace("\n", "\r\n")]
)
def test_every_form_says_the_same(text: str, encoding: str) -> None:
    sheet = parse(text, encoding)
    assert sheet.rows == {EXPECTED.path: EXPECTED}
    assert (sheet.problems, sheet.ignored) == ([], ())


def test_headers_are_known_however_they_are_written() -> None:
    sheet = parse(" ＦＩＬＥ＿ＮＡＭＥ ,（警号）\na.mp4,1\n")
    assert sheet.rows["a.mp4"].officer == "1"


def test_columns_nobody_knows_are_named() -> None:
    assert parse("file,天气\na.mp4,晴\n").ignored == ("天气",)


def test_empty_cells_claim_nothing() -> None:
    (row,) = parse("file,device,badge,start time\na.mp4,, ,\n").rows.values()
    assert row.claims() == ("a.mp4", None, None, None, None, None)


@pytest.mark.parametrize(
    "text",
    ["2023-05-06", "06/05/2023 07:08", "yesterday", "2023-13-01 00:00", "7:08", "2023-02-30 10:00:00"],
)
def test_a_time_that_is_unclear_is_a_problem_and_no_claim(text: str) -> None:
    sheet = parse(f"file,start time\na.mp4,{text}\n")
    assert sheet.rows["a.mp4"].started_at is None
    assert [(problem.line, problem.code) for problem in sheet.problems] == [(2, "time-unclear")]


def test_a_time_with_its_own_zone_keeps_it() -> None:
    sheet = parse("file,start time\na.mp4,2023-05-06T07:08:00Z\n")
    assert sheet.rows["a.mp4"].started_at == datetime(2023, 5, 6, 7, 8, tzinfo=UTC)


def test_rows_that_contradict_each_other_claim_nothing() -> None:
    sheet = parse("file,badge\na.mp4,1\na.mp4,2\nb.mp4,3\nb.mp4,3\n")
    assert sheet.rows["a.mp4"].officer is None
    assert sheet.rows["b.mp4"].officer == "3"
    assert [(problem.line, problem.code) for problem in sheet.problems] == [(3, "row-contradicts")]


def test_a_row_without_a_path_is_named() -> None:
    sheet = parse("file,badge\n,1\n\n  ,  \na.mp4,2\n")
    assert list(sheet.rows) == ["a.mp4"]
    assert [problem.code for problem in sheet.problems] == ["row-without-path"]


def test_an_endless_cell_is_no_claim() -> None:
    sheet = parse(f"file,badge\na.mp4,{'9' * 2000}\n")
    assert sheet.rows["a.mp4"].officer is None
    assert [problem.code for problem in sheet.problems] == ["cell-too-long"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no column"),
        ("名称,警号\nx,1\n".encode(), "no column"),
        (b"file,path\na,b\n", "two columns"),
        (b"file\n\xff\xff\xff\n", "neither UTF-8"),
        (b'file\n"open\n', "damaged"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(SheetError, match=why):
        parse_sheet(data, ZONE)


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data: bytes) -> None:
    for head in (b"", b"file,badge\n"):
        with contextlib.suppress(SheetError):
            parse_sheet(head + data, ZONE)
