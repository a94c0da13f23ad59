"""Tables of legacy footage that are none, or say what no calendar has."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from collector.importing.errors import SheetError
from collector.importing.sheet import parse_sheet

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff\xff\xff",
        b"a,b\n1,2\n",
        b"path,path\n1,2\n",
        b'path\n"open\n',
        b"\xef\xbb\xbf\xff",
    ],
    ids=["empty", "NUL", "no text", "no path", "two paths", "open quote", "broken behind its mark"],
)
def test_what_is_no_table_is_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(SheetError) as refused:
        parse_sheet(data, ZONE)
    assert refused.value.code == "import-table"


@pytest.mark.parametrize(
    "text", ["0001-01-01 00:00:00", "9999-12-31T23:59:59-14:00", "2026-02-30 08:00", "soon"]
)
def test_a_time_that_utc_does_not_have_is_pointed_out(text: str) -> None:
    sheet = parse_sheet(f"path,start time\na.mp4,{text}\n".encode(), ZONE)
    assert sheet.rows["a.mp4"].started_at is None
    assert [problem.code for problem in sheet.problems] == ["time-unclear"]
