"""The conservation of clips over time (清点守恒): what successive listings of one recorder must agree on (pure).

Everything here is a function of listings and statements. Lists of any length are streams in the order of their raw
paths, as listings are; memory is that of one row, or of one folder's gaps.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from protocol.listing import RowState

EARLIEST_TIME: Final = datetime(2005, 1, 1, tzinfo=UTC)
"""No recorder of this kind is older: an earlier time is a clock that was never set (1970, 1980, 2000)."""

PLAUSIBLE_LEAD: Final = timedelta(hours=24)
"""A time so far ahead of a later one cannot be explained by zones or drift."""

CLOCK_TOLERANCE_MS: Final = 120_000
"""Reading a recorder's clock is good to seconds; files on FAT carry two."""

CLOCK_DRIFT_MS_A_DAY: Final = 5_000
"""A bad quartz: 58 parts per million."""

DELIVERY_PATIENCE: Final = timedelta(days=7)
"""From a signed promise to its bytes: a station that has no network over a holiday is no alarm yet."""

MAX_GAPS: Final = 100
"""Gaps told of one folder; a card with more was not numbered by a recorder."""

MAX_FOLDERS: Final = 100
"""Numbered folders of one card, of 10,000 numbers each: 12 MB, which no listing can make more."""

_NONE: Final = -1
_MAX_NUMBER: Final = 9999
_MILLISECOND: Final = timedelta(milliseconds=1)
_DCF: Final = re.compile(
    r"(?:.*/)?DCIM/([1-9][0-9]{2}[0-9A-Z_]{5})/[0-9A-Z_]{4}([0-9]{4})\.[0-9A-Z]{2,4}", re.I
)
"""A file by the DCF standard (JEITA CP-3461, 3.2): free characters, then the number the camera counts up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A row of a listing, as far as it matters here."""

    row: int
    raw_path: bytes
    path: str
    size_bytes: int
    is_evidence: bool


def is_evidence(state: RowState) -> bool:
    """Whether the file's going away matters: everything but what a rule excludes."""
    return state is not RowState.EXCLUDED


def still_there(earlier: ListedFile, later: ListedFile) -> bool:
    """Whether the file now at this path can be the one that was there. Recorders append to files; a smaller one is
    another file in its place."""
    return later.size_bytes >= earlier.size_bytes


def gone(earlier: Iterable[ListedFile], later: Iterable[ListedFile]) -> Iterator[ListedFile]:
    """The files of ``earlier`` that ``later`` lists no more. Both in rising order of raw paths."""
    rest = iter(later)
    other = next(rest, None)
    for file in earlier:
        while other is not None and other.raw_path < file.raw_path:
            other = next(rest, None)
        is_there = other is not None and other.raw_path == file.raw_path and still_there(file, other)
        if file.is_evidence and not is_there:
            yield file


@dataclass(frozen=True, slots=True)
class NumberedFolder:
    """Files of one folder that count up: ``ranges`` of consecutive numbers (first, last, row of the first), rising;
    ``set_back_row`` is the first row whose time is a day or more before that of a lower number."""

    folder: str
    ranges: tuple[tuple[int, int, int], ...]
    set_back_row: int | None

    @property
    def highest(self) -> int:
        return self.ranges[-1][1]


class Numbering:
    """Collects what the names of one listing count: numbers are one series for a folder, whatever stands before
    them (``IMG_0001``, ``MVI_0002``). Folders beyond ``MAX_FOLDERS`` are not looked at."""

    def __init__(self) -> None:
        self._rows: dict[str, array[int]] = {}
        self._times: dict[str, array[int]] = {}

    def add(self, row: int, path: str, modified_at: datetime | None) -> None:
        match = _DCF.fullmatch(path)
        if match is None:
            return
        folder, number = match[1].upper(), int(match[2])
        if folder not in self._rows:
            if len(self._rows) == MAX_FOLDERS:
                return
            self._rows[folder] = array("l", [_NONE]) * (_MAX_NUMBER + 1)
            self._times[folder] = array("q", [_NONE]) * (_MAX_NUMBER + 1)
        if self._rows[folder][number] == _NONE:  # else it is the same picture in a second format
            self._rows[folder][number] = row
            if modified_at is not None and modified_at >= EARLIEST_TIME:
                self._times[folder][number] = (modified_at - EARLIEST_TIME) // _MILLISECOND

    def folders(self) -> Iterator[NumberedFolder]:
        """One for each folder, by name."""
        for folder, rows in sorted(self._rows.items()):
            yield NumberedFolder(folder, tuple(_ranges(rows)), _set_back(rows, self._times[folder]))


def _ranges(rows: array[int]) -> Iterator[tuple[int, int, int]]:
    numbers = [number for number, row in enumerate(rows) if row != _NONE]
    first, count = numbers[0], 0
    for number, following in pairwise([*numbers, _MAX_NUMBER + 2]):
        if following != number + 1:
            count += 1
            if count > MAX_GAPS:
                return
            yield first, number, rows[first]
            first = following


def _set_back(rows: array[int], times: array[int]) -> int | None:
    latest = _NONE
    for row, time_ms in zip(rows, times, strict=True):
        if time_ms == _NONE:
            continue
        if latest - time_ms > PLAUSIBLE_LEAD // _MILLISECOND:
            return row
        latest = max(latest, time_ms)
    return None


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers ``first`` to ``last`` that no listing ever had, and the row that follows them."""

    first: int
    last: int
    row: int

    @property
    def files(self) -> int:
        return self.last - self.first + 1


def gaps(folder: NumberedFolder, earlier_highest: int | None) -> Iterator[Gap]:
    """Numbers skipped above what earlier listings of this recorder went to; what is missing below was listed once,
    and its going away is told by the listing it is missing from. A first listing may begin with any number."""
    if earlier_highest == _MAX_NUMBER:
        return  # the counter has started again
    highest = earlier_highest
    for low, high, row in folder.ranges:
        if highest is not None and low > highest + 1:
            yield Gap(highest + 1, low - 1, row)
        highest = high if highest is None else max(highest, high)


def clock_was_set(earlier_ms: int | None, later_ms: int | None, between: timedelta) -> bool:
    """Whether two measured offsets of one recorder, ``between`` apart, differ by more than error and drift."""
    if earlier_ms is None or later_ms is None:
        return False
    days = abs(between) / timedelta(days=1)
    return abs(later_ms - earlier_ms) > CLOCK_TOLERANCE_MS + CLOCK_DRIFT_MS_A_DAY * days


def is_implausible(moment: datetime, at_latest: datetime) -> bool:
    """Whether something that was over ``at_latest`` can have been at ``moment``."""
    return moment < EARLIEST_TIME or moment - at_latest > PLAUSIBLE_LEAD
