"""What may be said of a finding: at most one explanation stands, and saying it again changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.explanations import (
    EXPLAINED,
    WITHDRAWN,
    Refuse,
    Said,
    Say,
    Wish,
    Word,
    decide,
    standing,
)
from protocol.digest import Digest
from protocol.errors import MalformedError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def wish(event: str = EXPLAINED, actor: str = "li", reason: str = "card was replaced") -> Wish:
    return Wish(event=event, actor=actor, reason=reason)


def word(said: Wish, index: int) -> Word:
    return Word(
        event=said.event,
        index=index,
        statement=Digest.of(str(index).encode()),
        actor=said.actor,
        reason=said.reason,
        said_at=NOW,
    )


def log_of(*said: Wish) -> list[Word]:
    return [word(one, index) for index, one in enumerate(said)]


def test_the_first_word_is_taken_and_the_same_again_is_known() -> None:
    assert decide(wish(), [], closed_by_evidence=False) == Say()
    words = log_of(wish())
    assert decide(wish(), words, closed_by_evidence=False) == Said(words[0])


@pytest.mark.parametrize("other", [wish(actor="wang"), wish(reason="another")])
def test_nobody_talks_over_what_stands(other: Wish) -> None:
    refused = decide(other, log_of(wish()), closed_by_evidence=False)
    assert isinstance(refused, Refuse)
    assert refused.code == "finding-explained"
    assert decide(other, log_of(wish(), wish(WITHDRAWN)), closed_by_evidence=False) == Say()


def test_what_evidence_has_closed_needs_no_words_but_they_can_still_be_withdrawn() -> None:
    refused = decide(wish(), [], closed_by_evidence=True)
    assert isinstance(refused, Refuse)
    assert refused.code == "finding-closed"
    assert decide(wish(WITHDRAWN), log_of(wish()), closed_by_evidence=True) == Say()


def test_only_what_stands_is_withdrawn_and_once() -> None:
    refused = decide(wish(WITHDRAWN), [], closed_by_evidence=False)
    assert isinstance(refused, Refuse)
    assert refused.code == "finding-not-explained"
    words = log_of(wish(), wish(WITHDRAWN))
    assert decide(wish(WITHDRAWN), words, closed_by_evidence=False) == Said(words[1])


@pytest.mark.parametrize("reason", ["", "  ", "\n", "two\nlines", "a\x00b", "\ud800"])
def test_a_reason_is_a_line_of_text(reason: str) -> None:
    with pytest.raises(MalformedError):
        wish(reason=reason)


@given(
    st.lists(
        st.builds(wish, st.sampled_from([EXPLAINED, WITHDRAWN]), st.sampled_from("ab"), st.sampled_from("xy"))
    )
)
def test_whatever_is_asked_in_whatever_order_words_take_turns_and_repeats_are_free(asked: list[Wish]) -> None:
    words: list[Word] = []
    for one in asked:
        decision = decide(one, words, closed_by_evidence=False)
        if decision == Say():
            words.append(word(one, len(words)))
            assert decide(one, words, closed_by_evidence=False) == Said(words[-1])
        elif isinstance(decision, Said):
            assert (decision.word.actor, decision.word.reason) == (one.actor, one.reason)
    assert [said.event for said in words] == [EXPLAINED, WITHDRAWN] * (len(words) // 2) + [EXPLAINED] * (
        len(words) % 2
    )
    assert (standing(words) is not None) == (len(words) % 2 == 1)
