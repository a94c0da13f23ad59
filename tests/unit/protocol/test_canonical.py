"""Is there one byte form per object, and is everything refused on which honest JSON readers disagree?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import Fields, canonical, parse_canonical, parse_json
from protocol.digest import Digest
from protocol.errors import LimitError, MalformedError, ProtocolError, UnknownCriticalError, UnknownKindError
from protocol.limits import MAX_JSON_DEPTH, MAX_TEXT_CHARS


def parse(data: bytes) -> object:
    return parse_json(data, max_bytes=1 << 20, what="thing")


def fields(**members: object) -> Fields:
    return Fields(members, "thing")


def test_members_are_sorted_and_nothing_is_added_between() -> None:
    assert canonical({"b": [1, None, True], "a": "执"}) == '{"a":"执","b":[1,null,true]}'.encode()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**54), 2**54)
    | st.floats()
    | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_every_value_is_written_as_the_reference_writes_it(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        with pytest.raises(MalformedError):
            canonical(value)
    else:
        assert canonical(value) == expected


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=6), st.characters(max_codepoint=0x20))
def test_control_characters_are_escaped_as_the_reference_escapes_them(text: str, control: str) -> None:
    assert canonical({"a": text + control + '"\\/\x7f'}) == rfc8785.dumps({"a": text + control + '"\\/\x7f'})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, b"bytes", {1: 2}, "\ud800", {"\udfff": 1}, object()]
)
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(MalformedError):
        canonical(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b"// comment\n1",
        b"\xef\xbb\xbf1",
        b"\xff",
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        '{"a":1}'.encode("utf-16"),
        b'"\x01"',
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"0x10",
    ],
)
def test_what_is_not_json_in_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="thing"):
        parse(data)


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":2}', b'[{"b":{"a":1,"\\u0061":1}}]'],
    ids=["plain", "nested and spelled otherwise"],
)
def test_a_member_named_twice_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="twice"):
        parse(data)


@pytest.mark.parametrize("data", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"1e400", b"-1e400"])
def test_numbers_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)


@pytest.mark.parametrize("data", [b"9007199254740992", b"-9007199254740992", b"[1" + b"0" * 5_000 + b"]"])
def test_integers_that_readers_round_differently_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)


def test_the_largest_exact_integers_are_read() -> None:
    assert parse(b"[9007199254740991,-9007199254740991]") == [2**53 - 1, -(2**53) + 1]


@pytest.mark.parametrize("data", [b'"\\ud800"', b'{"\\udc00":1}', b'["\\ude00\\ud83d"]'])
def test_lone_surrogates_are_refused_in_values_and_names(data: bytes) -> None:
    with pytest.raises(MalformedError, match="surrogate"):
        parse(data)


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("inside", [b"", b"1"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":[', b"]}")])
def test_nesting_is_limited_to_the_level(opening: bytes, closing: bytes, inside: bytes) -> None:
    times = MAX_JSON_DEPTH // opening.count(b"[") // len(closing)
    parse(opening * times + inside + closing * times)
    with pytest.raises(LimitError, match="nested"):
        parse(b"[" + opening * times + inside + closing * times + b"]")


@pytest.mark.parametrize("data", [b"[" * 500_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_nesting_cannot_exhaust_the_parser(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(data)


def test_the_size_is_judged_before_the_content() -> None:
    assert parse_json(b"[1]", max_bytes=3, what="thing") == [1]
    with pytest.raises(LimitError, match="thing has 4 bytes, more than 3"):
        parse_json(b"[12]", max_bytes=3, what="thing")


@pytest.mark.parametrize(
    "data", [b' {"a":1}', b'{"b":1,"a":1}', b'{"a":1.0}', b'{"a":"\\u0061"}', b'{"a":1}\n', b"-0", b"1E2"]
)
def test_a_second_spelling_is_not_canonical(data: bytes) -> None:
    parse(data)
    with pytest.raises(MalformedError, match="canonical form"):
        parse_canonical(data, max_bytes=100, what="thing")


def test_canonical_bytes_are_read_as_what_was_written() -> None:
    value = {"a": [1, 0.5, "执", None], "é": {"😀": False}}
    assert parse_canonical(canonical(value), max_bytes=100, what="thing") == value


READERS: dict[str, Callable[[Fields], object]] = {
    "text": lambda some: some.text("a"),
    "integer": lambda some: some.integer("a"),
    "boolean": lambda some: some.boolean("a"),
    "digest": lambda some: some.digest("a"),
    "time": lambda some: some.time("a"),
    "items": lambda some: some.items("a", max_items=2),
    "object": lambda some: some.object("a"),
    "binary": lambda some: some.binary("a", max_bytes=3),
    "one of": lambda some: some.one_of("a", frozenset({"x", "y"})),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("value", [None, 1.5, -1, "", "z" * 2_000, [1, 2, 3]], ids=repr)
def test_a_member_of_another_type_or_range_is_refused_by_name(kind: str, value: object) -> None:
    with pytest.raises(MalformedError, match=r"thing.*\ba\b"):
        READERS[kind](fields(a=value))


@pytest.mark.parametrize("kind", sorted(READERS.keys() - {"text"}))
def test_a_text_of_another_form_is_refused_by_name(kind: str) -> None:
    with pytest.raises(MalformedError, match=r"thing.*\ba\b"):
        READERS[kind](fields(a="?"))


def test_an_integer_is_neither_a_float_nor_a_boolean() -> None:
    for value in (1.0, True):
        with pytest.raises(MalformedError):
            fields(a=value).integer("a")
    with pytest.raises(MalformedError):
        fields(a=1).boolean("a")


def test_ranges_include_their_ends() -> None:
    both = fields(low=1, high=3, text="x" * MAX_TEXT_CHARS)
    assert (both.integer("low", minimum=1), both.integer("high", maximum=3)) == (1, 3)
    assert len(both.text("text")) == MAX_TEXT_CHARS
    with pytest.raises(MalformedError, match="from 2 to 5"):
        both.integer("low", minimum=2, maximum=5)
    with pytest.raises(MalformedError, match="at most 1 items"):
        fields(a=[1, 2]).items("a", max_items=1)


def test_an_optional_member_may_be_null_or_absent_but_not_of_another_type() -> None:
    for empty in (fields(a=None), fields()):
        assert empty.optional_text("a") is None
        assert empty.optional_integer("a") is None
        assert empty.optional_time("a") is None
    for read in (Fields.optional_text, Fields.optional_integer, Fields.optional_time):
        with pytest.raises(MalformedError):
            read(fields(a=False), "a")


def test_values_are_read_as_their_types() -> None:
    digest = Digest.of(b"x")
    read = fields(d=str(digest), t="2026-01-31T08:15:30.123Z", b="AAE=", o={"x": "y"}, k="y")
    assert read.digest("d") == digest
    assert read.time("t") == datetime(2026, 1, 31, 8, 15, 30, 123_000, tzinfo=UTC)
    assert read.binary("b", max_bytes=2) == b"\x00\x01"
    assert read.object("o").text("x") == "y"
    assert read.one_of("k", frozenset({"x", "y"})) == "y"


def test_an_inner_object_is_named_with_its_outer_one() -> None:
    with pytest.raises(MalformedError, match=r"thing\.o: x must be"):
        fields(o={}).object("o").text("x")


def test_a_digest_of_another_algorithm_is_unknown_not_malformed() -> None:
    with pytest.raises(UnknownKindError, match="sm3"):
        fields(d="sm3:" + "0" * 64).digest("d")


@pytest.mark.parametrize("value", [None, "text", 1, [], True])
def test_only_an_object_has_fields(value: object) -> None:
    with pytest.raises(MalformedError, match="must be an object"):
        Fields(value, "thing")


def test_members_nobody_asks_for_are_tolerated() -> None:
    some = fields(a="x", new=1)
    some.text("a")
    some.check_critical()


def test_a_critical_member_must_have_been_read() -> None:
    some = fields(a="x", b=1, critical=["a", "b"])
    some.text("a")
    with pytest.raises(UnknownCriticalError, match=r"\['b'\]"):
        some.check_critical()
    some.integer("b")
    some.check_critical()


def test_a_critical_member_that_is_not_even_there_is_refused() -> None:
    with pytest.raises(UnknownCriticalError):
        fields(critical=["gone"]).check_critical()


@pytest.mark.parametrize("critical", ["a", {"a": 1}, [1], [["a"]], [None], None, 0])
def test_critical_is_a_list_of_names(critical: object) -> None:
    with pytest.raises(MalformedError, match="critical"):
        fields(critical=critical).check_critical()


@pytest.mark.parametrize("members", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_a_closed_object_has_exactly_its_members(members: dict[str, object]) -> None:
    Fields({"a": 1, "b": 2}, "thing").only(frozenset({"a", "b"}))
    with pytest.raises(MalformedError, match="exactly"):
        Fields(members, "thing").only(frozenset({"a", "b"}))
