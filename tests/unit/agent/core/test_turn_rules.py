"""Is urgent footage read first, and does no hub starve another one?"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.turns import Asking, hub_of, next_turn

HUBS = st.sampled_from(["1", "1-2", "1-3"])
ASKING = st.lists(st.builds(Asking, hub=HUBS, urgent=st.booleans()), min_size=1, max_size=12)


@given(
    asking=ASKING,
    at_work=st.dictionaries(HUBS, st.integers(0, 5)),
    last_turn=st.dictionaries(HUBS, st.integers(0, 9)),
)
def test_urgent_first_then_the_idlest_hub_then_who_waited_longest(
    asking: list[Asking], at_work: dict[str, int], last_turn: dict[str, int]
) -> None:
    chosen = next_turn(asking, at_work, last_turn)
    one = asking[chosen]
    assert one.urgent or not any(other.urgent for other in asking)
    equals = [(place, other) for place, other in enumerate(asking) if other.urgent == one.urgent]
    assert all(at_work.get(other.hub, 0) >= at_work.get(one.hub, 0) for _, other in equals)
    assert all(place >= chosen for place, other in equals if other.hub == one.hub)


@given(at_once=st.integers(1, 4), recorders=st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_hubs_that_always_have_somebody_waiting_get_the_same(at_once: int, recorders: list[int]) -> None:
    """Recorders ask again as soon as they had their turn; turns end in the order in which they began."""
    waiting = [f"1-{hub}" for hub, count in enumerate(recorders) for _ in range(count)]
    at_work: list[str] = []
    turns: list[str] = []
    for _ in range(60 * at_once):
        if len(at_work) == at_once or not waiting:
            waiting.append(at_work.pop(0))
        last_turn = {hub: at for at, hub in enumerate(turns, start=1)}
        index = next_turn([Asking(hub=hub) for hub in waiting], Counter(at_work), last_turn)
        at_work.append(waiting.pop(index))
        turns.append(at_work[-1])
    had = [turns.count(f"1-{hub}") for hub, count in enumerate(recorders) if count > at_once]
    assert not had or max(had) - min(had) <= at_once


@pytest.mark.parametrize(
    ("port", "hub"), [("1-2.4", "1-2"), ("1-2.4.1", "1-2.4"), ("1-2", "1"), ("12-3", "12")]
)
def test_a_port_belongs_to_the_hub_before_it(port: str, hub: str) -> None:
    assert hub_of(port) == hub
