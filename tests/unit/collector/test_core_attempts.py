"""How long must a guesser wait, and whom does it cost?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.attempts import Attempts

ONE, OTHER = "192.0.2.1", "192.0.2.2"


def exhausted(address: str = ONE, *, at_s: float = 0.0) -> Attempts:
    attempts = Attempts(burst=3, refill_s=10.0)
    for _ in range(3):
        assert attempts.wait_s(address, at_s) == 0
        attempts.failed(address, at_s)
    return attempts


def test_a_few_wrong_guesses_cost_nothing_and_the_next_must_wait() -> None:
    attempts = exhausted()
    assert attempts.wait_s(ONE, 0.0) == 10.0
    assert attempts.wait_s(ONE, 4.0) == 6.0
    assert attempts.wait_s(ONE, 10.0) == 0
    attempts.failed(ONE, 10.0)
    assert attempts.wait_s(ONE, 10.0) == 10.0


def test_after_a_pause_all_guesses_are_there_again() -> None:
    attempts = exhausted()
    for _ in range(3):
        assert attempts.wait_s(ONE, 30.0) == 0
        attempts.failed(ONE, 30.0)
    assert attempts.wait_s(ONE, 30.0) == 10.0


def test_others_do_not_pay() -> None:
    assert exhausted().wait_s(OTHER, 0.0) == 0


@pytest.mark.parametrize(
    ("guessed_from", "tried_from"),
    [
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("::ffff:192.0.2.1", ONE),
        ("", "no address"),
    ],
)
def test_who_owns_one_address_owns_its_neighbours(guessed_from: str, tried_from: str) -> None:
    assert exhausted(guessed_from).wait_s(tried_from, 0.0) > 0


def test_another_network_is_another_guesser() -> None:
    assert exhausted("2001:db8:0:1::1").wait_s("2001:db8:0:2::1", 0.0) == 0


def test_the_table_is_bounded_and_forgets_who_has_been_quiet_longest() -> None:
    attempts = Attempts(burst=1, refill_s=10.0, most=100)
    for number in range(1000):
        attempts.failed(f"10.0.{number // 250}.{number % 250}", float(number) / 1000)
    assert len(attempts) == 100
    assert attempts.wait_s("10.0.3.249", 1.0) > 0
    assert attempts.wait_s("10.0.0.0", 1.0) == 0


@given(
    pauses=st.lists(st.floats(0, 50), max_size=60),
    burst=st.integers(1, 5),
)
def test_however_guesses_are_spread_no_more_get_through_than_were_promised(
    pauses: list[float], burst: int
) -> None:
    attempts, now_s, through = Attempts(burst=burst, refill_s=10.0), 0.0, 0
    for pause_s in pauses:
        now_s += pause_s
        if attempts.wait_s(ONE, now_s) == 0:
            attempts.failed(ONE, now_s)
            through += 1
    assert through <= burst + now_s / 10.0 + 1e-6
