"""Does every value in a text have one spelling only?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LimitError, MalformedError
from protocol.lines import check_line, decode_base64, encode_base64, parse_decimal


@given(st.binary(max_size=100))
def test_base64_is_read_as_it_was_written(data: bytes) -> None:
    assert decode_base64(encode_base64(data), "x") == data


@given(st.text(alphabet="AB+/=-_ \né", max_size=12))
def test_two_base64_texts_never_mean_the_same_bytes(text: str) -> None:
    try:
        data = decode_base64(text, "x")
    except MalformedError:
        return
    assert encode_base64(data) == text


@pytest.mark.parametrize("text", ["AB==", "AAA", "AA=A", "AAAA\n", " AAAA", "AA-_", "AAAA====", "ÄAAA"])
def test_another_spelling_of_base64_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        decode_base64(text, "x")


@given(st.integers(min_value=0, max_value=10**6))
def test_a_decimal_is_read_as_it_was_written(number: int) -> None:
    assert parse_decimal(str(number), "x", 10**6) == number


@pytest.mark.parametrize("text", ["", "00", "01", "+1", "-1", "1 ", " 1", "1_0", "0x1", "1\n", "٣", "1e3"])
def test_another_spelling_of_a_number_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_decimal(text, "x", 10**6)


@pytest.mark.parametrize("text", ["1000001", "9999999", "1" + "0" * 10_000])
def test_a_number_above_the_limit_is_refused(text: str) -> None:
    with pytest.raises(LimitError):
        parse_decimal(text, "x", 10**6)


@pytest.mark.parametrize("text", ["", "a\nb", "a\r", "\x00", "a\tb", "\ud800"])
def test_what_cannot_be_one_line_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        check_line(text, "x")


def test_a_line_may_hold_any_script() -> None:
    assert check_line("执法记录 log.example", "x") == "执法记录 log.example"
