"""Does a bay always say whether its recorder may be taken, and why not?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.bay import (
    MAY_BE_TAKEN,
    NEEDS_PERSON,
    BayEvent,
    BayState,
    Sample,
    sentence_of,
    step,
    time_left_s,
)

NOW = datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)


def walk(*events: BayEvent) -> BayState:
    state = BayState.EMPTY
    for event in events:
        state = step(state, event)
    return state


READ = (BayEvent.APPEARED, BayEvent.IDENTIFIED, BayEvent.LISTED)
RELEASING = (*READ, BayEvent.READ_ALL, BayEvent.RELEASE_ANNOUNCED, BayEvent.RELEASE_BEGUN)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        (READ, BayState.OFFLOADING),
        ((*READ, BayEvent.READ_ALL), BayState.DELIVERING),
        ((*READ, BayEvent.READ_ALL, BayEvent.RECEIPTED_ALL), BayState.DONE),
        ((*READ, BayEvent.READ_ALL, BayEvent.RECEIPTED_ALL, BayEvent.CHANGED), BayState.INVENTORY),
        ((*READ, BayEvent.SPOOL_FULL), BayState.FULL),
        ((*READ, BayEvent.SPOOL_FULL, BayEvent.SPOOL_HAS_ROOM), BayState.OFFLOADING),
        ((*READ, BayEvent.READ_ALL_BUT_SOME), BayState.UNREADABLE),
        ((*READ, BayEvent.LEFT_UNFINISHED), BayState.LOST_CONTACT),
        ((*READ, BayEvent.LEFT_UNFINISHED, BayEvent.APPEARED), BayState.IDENTIFYING),
        (
            (BayEvent.APPEARED, BayEvent.SWITCH_BEGUN, BayEvent.MOUNT_BEGUN, BayEvent.IDENTIFIED),
            BayState.INVENTORY,
        ),
        ((BayEvent.APPEARED, BayEvent.PASSWORD_REFUSED), BayState.WRONG_PASSWORD),
        ((BayEvent.APPEARED, BayEvent.PASSWORD_REFUSED, BayEvent.CHANGED), BayState.IDENTIFYING),
        ((BayEvent.APPEARED, BayEvent.REFUSED), BayState.REFUSED),
        ((*READ, BayEvent.READ_ALL, BayEvent.LEFT), BayState.EMPTY),
        ((*READ, BayEvent.READ_ALL, BayEvent.RELEASE_ANNOUNCED), BayState.RELEASABLE),
        (RELEASING, BayState.RELEASING),
        ((*RELEASING, BayEvent.RELEASED), BayState.RELEASED),
        ((*RELEASING, BayEvent.RELEASED, BayEvent.CHANGED), BayState.INVENTORY),
        ((*RELEASING, BayEvent.RELEASE_ANNOUNCED), BayState.RELEASABLE),
        ((*RELEASING, BayEvent.MORE_TO_READ), BayState.OFFLOADING),
        ((*RELEASING, BayEvent.RELEASE_FAILED), BayState.NOT_RELEASED),
        ((*RELEASING, BayEvent.LEFT_UNFINISHED), BayState.RELEASE_INTERRUPTED),
        ((*RELEASING, BayEvent.LEFT_UNFINISHED, BayEvent.APPEARED), BayState.IDENTIFYING),
        ((*READ, BayEvent.READ_ALL_BUT_SOME, BayEvent.RELEASE_BEGUN), BayState.RELEASING),
    ],
)
def test_a_visit_goes_through_its_states(events: tuple[BayEvent, ...], state: BayState) -> None:
    assert walk(*events) is state


def test_an_impossible_event_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="empty"):
        step(BayState.EMPTY, BayEvent.READ_ALL)


@pytest.mark.parametrize("state", BayState)
def test_from_every_state_the_recorder_may_leave_and_people_are_told_something(state: BayState) -> None:
    assert step(state, BayEvent.LEFT) is BayState.EMPTY
    assert sentence_of(state).zh
    assert sentence_of(state).en


@pytest.mark.parametrize("state", BayState)
def test_the_tile_says_may_be_taken_exactly_when_it_may(state: BayState) -> None:
    assert sentence_of(state).zh.startswith("可取走") == (state in MAY_BE_TAKEN)
    assert sentence_of(state).en.startswith("May be taken") == (state in MAY_BE_TAKEN)
    needs_both = state is BayState.NOT_RELEASED  # nothing is lost, but somebody has to look at the recorder
    assert (state in MAY_BE_TAKEN and state in NEEDS_PERSON) is needs_both


def test_time_left_follows_the_measured_rate() -> None:
    samples = [Sample(NOW, 0), Sample(NOW + timedelta(seconds=4), 200)]
    assert time_left_s(samples, 100) == 2.0
    assert time_left_s(samples, 0) == 0.0


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [Sample(NOW, 5)],
        [Sample(NOW, 5), Sample(NOW + timedelta(seconds=1), 5)],
        [Sample(NOW, 5), Sample(NOW, 9)],
    ],
    ids=["none", "one", "no progress", "no time"],
)
def test_without_a_rate_nothing_is_promised(samples: list[Sample]) -> None:
    assert time_left_s(samples, 100) is None
