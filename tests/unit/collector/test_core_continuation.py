"""When may a log that came from a backup be written again?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.core.continuation import Continue, Decision, Hold, decide_continuation
from protocol.checkpoint import Checkpoint


def of(size: int) -> Checkpoint:
    return Checkpoint(origin="log", size=size, root=b"r" * 32)


SIZES = st.integers(1, 50)


def test_nothing_shown_is_no_proof() -> None:
    assert isinstance(decide_continuation(of(9), [], even_if_older=False), Hold)


def test_the_same_checkpoint_is_enough() -> None:
    outcome = decide_continuation(of(9), [of(9)], even_if_older=False)
    assert outcome == Continue(decision=Decision.NEWEST_KNOWN, newest_seen=9)


@given(SIZES, st.lists(SIZES, min_size=1))
def test_one_newer_checkpoint_holds_it_whatever_else_was_shown(size: int, seen: list[int]) -> None:
    outcome = decide_continuation(of(size), [of(one) for one in seen], even_if_older=False)
    assert isinstance(outcome, Hold) == (max(seen) > size)


@given(SIZES, st.lists(SIZES))
def test_a_person_can_decide_and_is_named_for_it_only_where_needed(size: int, seen: list[int]) -> None:
    outcome = decide_continuation(of(size), [of(one) for one in seen], even_if_older=True)
    assert isinstance(outcome, Continue)
    known = bool(seen) and max(seen) <= size
    assert outcome.decision is (Decision.NEWEST_KNOWN if known else Decision.OPERATOR)
