"""The table that goes with old footage (清单表格): a CSV file as agencies have it, read without guessing.

Encoding: what a byte order mark says, else UTF-8, else GB18030 (of which GBK is a part). Columns are known by the
names in ``columns.toml``; others are reported and kept, since the table itself is imported as a file. A cell that
cannot be understood becomes a problem of its row, never a value.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import cache
from importlib import resources
from typing import Final

from collector.importing.errors import SheetError
from protocol.limits import MAX_TEXT_CHARS

MAX_SHEET_BYTES: Final = 256 << 20
"""A million rows of 250 bytes."""

MAX_ROWS: Final = 1_000_000
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DELIMITERS: Final = ",;\t"
_IGNORED: Final = re.compile(r"[\s_\-()\[\]（）【】:：.*#]+")
_TIME_FORMS: Final = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y年%m月%d日 %H:%M:%S",
    "%Y年%m月%d日 %H:%M",
    "%Y年%m月%d日 %H时%M分%S秒",
    "%Y年%m月%d日 %H时%M分",
    "%Y%m%d%H%M%S",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """What one line says of one file; None where it says nothing."""

    line: int
    path: str
    recorder: str | None
    officer: str | None
    started_at: datetime | None
    case: str | None
    remarks: str | None

    def claims(self) -> tuple[object, ...]:
        """Everything but where it stands."""
        return (self.path, self.recorder, self.officer, self.started_at, self.case, self.remarks)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """Something a person must look at (待核): the line, a stable code, the text in question."""

    line: int
    code: str
    text: str


@dataclass(slots=True)
class Sheet:
    """The rows by path. ``ignored`` are columns that no name is known for."""

    rows: dict[str, SheetRow] = field(default_factory=dict)
    problems: list[RowProblem] = field(default_factory=list)
    ignored: tuple[str, ...] = ()


def parse_sheet(data: bytes, zone: tzinfo) -> Sheet:
    """``zone`` is that of times without one. Raises SheetError when the table as a whole makes no sense."""
    text = _decode(data)
    header, _, _ = text.lstrip("\r\n").partition("\n")
    delimiter = max(_DELIMITERS, key=header.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(lines, [])
        columns, ignored = _columns(names)
        sheet = Sheet(ignored=ignored)
        for cells in lines:
            if len(sheet.rows) >= MAX_ROWS:
                raise SheetError(f"a table has at most {MAX_ROWS} rows")
            if any(cell.strip() for cell in cells):
                _read_row(sheet, lines.line_num, dict(_cells(columns, cells)), zone)
    except csv.Error as error:
        raise SheetError(f"the table is damaged near line {lines.line_num}: {error}") from error
    return sheet


def _decode(data: bytes) -> str:
    if len(data) > MAX_SHEET_BYTES:
        raise SheetError(f"a table has at most {MAX_SHEET_BYTES} bytes")
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SheetError("the table is neither UTF-8 nor GB18030 (GBK): save it as CSV UTF-8")


@cache
def _known_names() -> Mapping[str, str]:
    text = resources.files("collector.importing").joinpath("columns.toml").read_text("utf-8")
    return {_bare(name): column for column, names in tomllib.loads(text).items() for name in names}


def _bare(name: str) -> str:
    return _IGNORED.sub("", unicodedata.normalize("NFKC", name).casefold())


def _columns(names: list[str]) -> tuple[Mapping[str, int], tuple[str, ...]]:
    columns: dict[str, int] = {}
    ignored = []
    for place, name in enumerate(names):
        column = _known_names().get(_bare(name))
        if column is None:
            ignored.append(name.strip())
        elif column in columns:
            raise SheetError(f"two columns mean {column}: {names[columns[column]]!r} and {name!r}")
        else:
            columns[column] = place
    if "path" not in columns:
        raise SheetError(
            f"no column says which file a row is about: the header is {', '.join(names)[:200]!r}; "
            "one must be called path, file, 文件名, 文件路径 or the like"
        )
    return columns, tuple(ignored)


def _cells(columns: Mapping[str, int], cells: list[str]) -> Iterator[tuple[str, str]]:
    for column, place in columns.items():
        if place < len(cells) and (text := cells[place].strip()):
            yield column, text


def _read_row(sheet: Sheet, line: int, cells: Mapping[str, str], zone: tzinfo) -> None:
    path = plain_path(cells.get("path", ""))
    if not path:
        sheet.problems.append(RowProblem(line=line, code="row-without-path", text=""))
        return
    row = SheetRow(
        line=line,
        path=path,
        started_at=_time(sheet, line, cells.get("started_at"), zone),
        **{name: _text(sheet, line, cells.get(name)) for name in ("recorder", "officer", "case", "remarks")},
    )
    known = sheet.rows.get(path)
    if known is not None and known.claims() != row.claims():
        sheet.problems.append(
            RowProblem(line=line, code="row-contradicts", text=f"{path}, as line {known.line}")
        )
        row = SheetRow(
            line=known.line, path=path, recorder=None, officer=None, started_at=None, case=None, remarks=None
        )
    sheet.rows[path] = row


def _nothing_said(row: SheetRow) -> SheetRow:
    """Two lines that say different things of one file say nothing that may be believed."""
    return replace(row, recorder=None, officer=None, started_at=None, case=None, remarks=None)


def plain_path(text: str) -> str:
    """A path as a table has it, relative and with slashes. Drive letters and absolute paths stay what they are, and
    match no file."""
    path = text.replace("\\", "/")
    return path.removeprefix("./")


def _text(sheet: Sheet, line: int, text: str | None) -> str | None:
    if text is not None and len(text) > MAX_TEXT_CHARS:
        sheet.problems.append(RowProblem(line=line, code="cell-too-long", text=text[:80]))
        return None
    return text


def _time(sheet: Sheet, line: int, text: str | None, zone: tzinfo) -> datetime | None:
    if text is None:
        return None
    moment = _in_zone(_parse_time(text), zone)
    if moment is None:
        sheet.problems.append(RowProblem(line=line, code="time-unclear", text=text[:80]))
    return moment


def _in_zone(moment: datetime | None, zone: tzinfo) -> datetime | None:
    """None also for the ends of the calendar, which have no time in UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    try:
        aware.astimezone(UTC)
    except OverflowError:
        return None
    return aware


def _parse_time(text: str) -> datetime | None:
    for form in _TIME_FORMS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007 - the caller gives it its zone
        except ValueError:
            continue
    try:
        return datetime.fromisoformat(text) if len(text) > len("2026-01-31") else None
    except ValueError:
        return None
