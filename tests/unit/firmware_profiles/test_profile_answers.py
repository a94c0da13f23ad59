"""Are answers read as facts, and what cannot be left out?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from firmware_profiles.answers import (
    FACT_GROUPS,
    AnswerPattern,
    DeviceFacts,
    clock_step,
    compile_answer,
    merge_facts,
    read_local,
)

ZONE = ZoneInfo("Asia/Shanghai")


def facts(
    source: str, answer: bytes, encoding: str = "ascii", clock_format: str | None = None
) -> DeviceFacts:
    regex, _ = compile_answer(source, groups=FACT_GROUPS, key="expect")
    pattern = AnswerPattern(regex=regex, encoding=encoding, clock_format=clock_format)
    texts = pattern.match(answer)
    assert texts is not None
    return pattern.facts(texts, ZONE)


@pytest.mark.parametrize(
    ("text", "percent"),
    [(b"0", 0), (b"100", 100), (b"101", None), (b"-5", None), (b"5%", None), (b"\xb2", None)],
)
def test_a_battery_is_from_0_to_100_percent(text: bytes, percent: int | None) -> None:
    assert facts("(?P<battery_percent>.*)", text).battery_percent == percent


@pytest.mark.parametrize(
    ("answer", "encoding", "officer"),
    [
        ("王伟\0\0".encode("gbk"), "gbk", "王伟"),
        (b"\xff\xff", "gbk", None),
        ("王伟".encode(), "utf-8", "王伟"),
        (b"\xe7", "ascii", None),
        (b"A\x07B", "ascii", None),
        (b"  ", "ascii", None),
        (b"x" * 65, "ascii", None),
    ],
)
def test_text_is_decoded_or_left_out(answer: bytes, encoding: str, officer: str | None) -> None:
    assert facts("(?P<officer>.*)", answer, encoding).officer == officer


def test_a_clock_is_local_time_of_the_station() -> None:
    read = facts("(?P<clock>[0-9]{14})", b"20260102030405", clock_format="%Y%m%d%H%M%S")
    assert read.clock == datetime(2026, 1, 1, 19, 4, 5, tzinfo=UTC)
    assert read.clock_step == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("20261302030405", ZONE),
        ("20260102030465", ZONE),
        ("00010101000000", ZONE),
        ("20261025023000", ZoneInfo("Europe/Berlin")),  # shown twice
        ("20260329023000", ZoneInfo("Europe/Berlin")),  # shown never
    ],
)
def test_a_time_that_cannot_be_is_none(text: str, zone: ZoneInfo) -> None:
    assert read_local(text, "%Y%m%d%H%M%S", zone) is None


def test_a_clock_without_seconds_is_less_sure() -> None:
    assert clock_step("%Y-%m-%d %H:%M") == timedelta(minutes=1)


def test_zero_percent_is_a_fact_that_stands() -> None:
    empty, full = DeviceFacts(battery_percent=0), DeviceFacts(battery_percent=100, firmware="2")
    assert merge_facts(empty, full) == DeviceFacts(battery_percent=0, firmware="2")
