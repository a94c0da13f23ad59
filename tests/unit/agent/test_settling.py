"""When is a volume announced, changed, gone?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.volumes.settling import Change, Look, Settling, settle

EMPTY, HALF, FULL = (Look("g1", number) for number in range(3))
OTHER = Look("g2", 2)
A, C, V = Change.APPEARED, Change.CHANGED, Change.VANISHED


def run(looks: list[tuple[float, Look | None]], settle_s: float = 2.0) -> list[tuple[float, Change]]:
    state, told = Settling(), []
    for now_s, look in looks:
        state, changes = settle(state, look, now_s=now_s, settle_s=settle_s)
        told += [(now_s, change) for change in changes]
    return told


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([(0, FULL)], []),
        ([(0, FULL), (1.9, FULL)], []),
        ([(0, FULL), (2, FULL)], [(2, A)]),
        ([(0, FULL), (2, FULL), (9, FULL)], [(2, A)]),
        ([(0, EMPTY), (1, HALF), (2, FULL), (3, FULL), (4, FULL)], [(4, A)]),
        ([(0, HALF), (9, FULL), (10, FULL), (11, FULL)], [(11, A)]),
        ([(0, FULL), (2, FULL), (3, HALF), (4, HALF), (5, HALF)], [(2, A), (5, C)]),
        ([(0, FULL), (2, FULL), (3, HALF), (4, FULL), (9, FULL)], [(2, A)]),
        ([(0, FULL), (1, None)], []),
        ([(0, FULL), (2, FULL), (3, None), (4, None)], [(2, A), (3, V)]),
        ([(0, FULL), (2, FULL), (3, HALF), (4, None)], [(2, A), (4, V)]),
        ([(0, FULL), (2, FULL), (3, OTHER), (5, OTHER)], [(2, A), (3, V), (5, A)]),
        ([(0, FULL), (1, OTHER), (2, OTHER), (3, OTHER)], [(3, A)]),
    ],
)
def test_a_volume_is_told_of_when_it_has_been_quiet(
    looks: list[tuple[float, Look | None]], told: list[tuple[float, Change]]
) -> None:
    assert run(looks) == told


def growing(start_s: int, end_s: int, generation: str = "g1") -> list[tuple[float, Look | None]]:
    """A look a second, and each sees something else."""
    return [(float(now_s), Look(generation, 100 + now_s)) for now_s in range(start_s, end_s)]


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        (growing(0, 60), []),
        (growing(0, 61), [(60, A)]),
        (growing(0, 181), [(60, A), (121, C)]),
        (growing(0, 30) + growing(30, 100, "g2"), [(90, A)]),
        ([(0.0, FULL), (2.0, FULL), *growing(1000, 1061)], [(2, A), (1060, C)]),
        ([*growing(0, 50), (50.0, FULL), (52.0, FULL), *growing(53, 100)], [(52, A)]),
    ],
)
def test_what_never_rests_is_told_of_after_a_minute(
    looks: list[tuple[float, Look | None]], told: list[tuple[float, Change]]
) -> None:
    assert run(looks) == told


def test_the_next_look_is_due_when_it_can_decide_something() -> None:
    state, _ = settle(Settling(), FULL, now_s=5, settle_s=2)
    assert state.due_s(2) == 7
    state, _ = settle(state, FULL, now_s=7, settle_s=2)
    assert state.due_s(2) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.none() | st.builds(Look, st.sampled_from("ab"), st.integers(0, 2))),
        max_size=30,
    )
)
def test_events_of_a_bay_always_alternate_in_order(steps: list[tuple[float, Look | None]]) -> None:
    now_s, looks = 0.0, []
    for pause_s, look in steps:
        now_s += pause_s
        looks.append((now_s, look))
    there = False
    for _, change in run(looks):
        assert there is (change is not A)
        there = change is not V
