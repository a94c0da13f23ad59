"""Can a profile's expression stop a bay, whatever it says and whatever a card shows?"""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.expressions import AnyOf, Expression
from firmware_profiles.globs import compile_globs

GROUPS = frozenset({"recorder"})


def compiled(source: str) -> Expression:
    return Expression.compile(source, GROUPS, "key")


@pytest.mark.parametrize(
    "source",
    [
        "(?P<recorder>(a+)+)!",
        "(?P<recorder>(a|a)*)!",
        "(?P<recorder>(a|aa)+)!",
        "(?P<recorder>a*a*a*a*a*a*a*a*)!",
        "(?P<recorder>(a*)*)!",
        "((?P<recorder>a?){30}a{30})!",
    ],
)
def test_what_would_take_a_backtracking_matcher_for_ever_answers_at_once(source: str) -> None:
    assert compiled(source).read_whole("a" * 255) is None
    assert not compiled(source).fits("a" * 255)


@pytest.mark.parametrize(
    "source",
    [
        "(?P<recorder>a)(?=b)",
        "(?P<recorder>a)(?!b)",
        "(?<=b)(?P<recorder>a)",
        r"(?P<recorder>a)\1",
        "(?P<recorder>a)(?P=recorder)",
        "(?P<recorder>a{1001})",
        "(?P<recorder>((a{99}){99}){99})",
        "(?P<recorder>(a{500}){20})",
        "(?P<recorder>[0-9]",
        "(?P<colour>a)",
        "a",
        "\ud800(?P<recorder>a)",
    ],
)
def test_what_needs_a_way_back_is_too_large_or_names_nothing_is_refused(source: str) -> None:
    with pytest.raises(ProfileMalformedError) as caught:
        compiled(source)
    assert caught.value.key == "key"


def test_letter_case_does_not_matter_and_the_spelling_is_kept() -> None:
    assert compiled("zfy(?P<recorder>[a-z]+)").read_whole("ZFYabC") == {"recorder": "abC"}


def test_the_first_place_in_a_text_is_read() -> None:
    found = compiled(r"(?m)^id=(?P<recorder>\w+)$").read_first("执法记录仪\nid=A1\nid=B2\n")
    assert found == {"recorder": "A1"}


def test_a_group_that_took_no_part_is_left_out() -> None:
    assert compiled("x|(?P<recorder>y)").read_whole("x") == {}


@given(st.text())
def test_any_text_can_be_held_against_an_expression(text: str) -> None:
    found = compiled("(?s)(?P<recorder>.*)").read_whole(text)
    assert found is not None
    if max(text, default="") < "\ud800" or text.isascii():
        assert found == {"recorder": text}


@given(
    st.text(st.sampled_from("ab*+?{1,}()|[]^$.\\<>P:recorder-d"), max_size=60), st.text("ab1", max_size=60)
)
def test_any_source_is_an_expression_or_refused(source: str, text: str) -> None:
    try:
        expression = compiled(source)
    except ProfileMalformedError:
        return
    assert expression.fits(text) is (expression.read_whole(text) is not None)


SOURCES = ["(?P<recorder>a+)b", "(?i)x(?P<recorder>.)", "(?s)(?P<recorder>..)|c"]


@given(st.lists(st.sampled_from(SOURCES), min_size=1, max_size=3), st.text("abcxX|\n)", max_size=4))
def test_one_look_for_several_forms_says_what_each_would(sources: list[str], text: str) -> None:
    expressions = [compiled(source) for source in sources]
    assert AnyOf(expressions).may_fit(text) is any(expression.fits(text) for expression in expressions)


def test_forms_that_cannot_be_one_are_looked_at_each() -> None:
    open_quotation = compiled(r"(?P<recorder>a)\Q|b")
    assert AnyOf([open_quotation, compiled("(?P<recorder>c)")]).may_fit("anything")
    assert AnyOf([compiled("(?P<recorder>[0-9]{100})[0-9a-z]{100}")] * 200).may_fit("anything")


# --- path patterns: the same answers as a plain reading of the rules, in linear time --------------------------------


def reads_as(pattern: str, name: str) -> bool:
    """One name by the rules, slowly: a star is any number of characters."""

    @cache
    def fits(at: int, of: int) -> bool:
        if at == len(pattern):
            return of == len(name)
        if pattern[at] == "*":
            return fits(at + 1, of) or (of < len(name) and fits(at, of + 1))
        return of < len(name) and pattern[at] in ("?", name[of]) and fits(at + 1, of + 1)

    return fits(0, 0)


PATTERNS = st.text("ab*?", min_size=1, max_size=8)
NAMES = st.text("ab", min_size=1, max_size=8)


@given(st.lists(PATTERNS, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=4))
def test_an_anchored_pattern_fits_name_by_name_from_the_root(patterns: list[str], names: list[str]) -> None:
    found = compile_globs(["/" + "/".join(patterns)], "key").search("/".join(names)) is not None
    whole = len(patterns) <= len(names)
    assert found is (whole and all(reads_as(p, n) for p, n in zip(patterns, names, strict=False)))


@given(PATTERNS, st.lists(NAMES, min_size=1, max_size=4))
def test_a_pattern_without_slash_fits_a_name_at_any_depth(pattern: str, names: list[str]) -> None:
    found = compile_globs([pattern], "key").search("/".join(names)) is not None
    assert found is any(reads_as(pattern, name) for name in names)


def test_a_pattern_of_stars_answers_at_once() -> None:
    glob = "*a" * 60 + "b"
    assert compile_globs([glob, "/" + glob], "key").search("a" * 4096) is None
    assert compile_globs([glob], "key").search("a" * 4000 + "b") is not None


@pytest.mark.parametrize("glob", ["[a&&b]", "[a||b]", "[a~~b]", "[+-9]"])
def test_a_set_is_only_its_members_and_never_a_slash(glob: str) -> None:
    pattern = compile_globs([f"/x{glob}y"], "key")
    assert pattern.search("x/y") is None
    assert (pattern.search("xay") is not None) is ("a" in glob)
