"""Are the uplink's pure decisions right: when to retry, which way, in what order, and what a checkpoint must prove?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.retry import Backoff, Failure, Report, TryAgain, decide_retry
from agent.core.uplink import (
    ASK_FIRST_BYTES,
    MANY_RECEIPTS,
    MAX_BATCH_BYTES,
    MAX_BATCH_STATEMENTS,
    PUSH_GRACE_S,
    STAGING_CHECK_POLLS,
    StatementPace,
    StatementPlan,
    Ways,
    choose_shipments,
    decide_pending,
    plan_statements,
    should_ask_first,
    split_batches,
)
from agent.core.witness import Relation, compare_checkpoints
from agent.spool.records import Delivery, OutboxRow, Purpose, Shipment
from protocol.checkpoint import Checkpoint
from protocol.digest import Digest
from protocol.merkle import EMPTY_ROOT

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ALL_WAYS = Ways(broker=True, http=True, http_failing=False)
BACKOFF = Backoff()
units = st.floats(0, 1, exclude_max=True)


def failure(**known: object) -> Failure:
    facts: dict[str, object] = {"code": "x", "detail": "x", "retryable": True} | known
    return Failure(**facts)  # type: ignore[arg-type]


@given(st.integers(1, 10**9), units)
def test_delay_is_always_positive_and_never_beyond_the_cap(attempt: int, unit: float) -> None:
    assert 0 < BACKOFF.delay_s(attempt, unit) <= BACKOFF.cap_s


@given(st.integers(1, 50), units)
def test_delay_never_shrinks_with_more_failures(attempt: int, unit: float) -> None:
    assert BACKOFF.delay_s(attempt, unit) <= BACKOFF.delay_s(attempt + 1, unit)


def test_delays_of_two_stations_differ() -> None:
    assert BACKOFF.delay_s(5, 0.1) != BACKOFF.delay_s(5, 0.9)


def test_backoff_that_shrinks_is_refused() -> None:
    with pytest.raises(ValueError, match="grows"):
        Backoff(first_s=40, cap_s=30)


def test_what_time_does_not_heal_is_reported_and_looked_at_rarely() -> None:
    verdict = decide_retry(failure(retryable=False), attempt=1, unit=0.5, backoff=BACKOFF)
    assert verdict == Report(BACKOFF.report_s)


@pytest.mark.parametrize(("asked_s", "expected_s"), [(7.0, 7.0), (3600.0, 30.0), (0.0, 0.375)])
def test_wait_the_collector_asks_for_is_honoured_up_to_the_cap(asked_s: float, expected_s: float) -> None:
    verdict = decide_retry(failure(retry_after_s=asked_s), attempt=1, unit=0.5, backoff=BACKOFF)
    assert verdict == TryAgain(expected_s)


def row(
    number: int = 0, *, sent_ago_s: float | None = None, attempts: int = 0, size: int = 2000
) -> OutboxRow:
    return OutboxRow(
        statement=Digest.of(b"%d" % number),
        agency="hz",
        kind="manifest",
        envelope=b"x" * size,
        created_at=NOW,
        sent_at=None if sent_ago_s is None else NOW - timedelta(seconds=sent_ago_s),
        attempts=attempts,
    )


def plan(rows: list[OutboxRow], ways: Ways = ALL_WAYS, *, hurry: bool = False) -> StatementPlan:
    return plan_statements(rows, now=NOW, ways=ways, pace=StatementPace(), hurry=hurry)


def test_new_statement_goes_by_the_broker() -> None:
    new = row()
    assert (plan([new]).publish, plan([new]).post) == ((new,), ())


def test_new_statement_goes_by_http_without_a_broker() -> None:
    new = row()
    planned = plan([new], Ways(broker=False, http=True, http_failing=False))
    assert (planned.publish, planned.post) == ((), (new,))


def test_statement_just_sent_is_waited_for() -> None:
    planned = plan([row(sent_ago_s=2, attempts=1)])
    assert (planned.publish, planned.post, planned.wait_s) == ((), (), 3.0)


def test_statement_without_admission_goes_by_http() -> None:
    late = row(sent_ago_s=6, attempts=1)
    assert plan([late]).post == (late,)


def test_statement_the_broker_may_have_lost_is_published_again_while_http_fails() -> None:
    late = row(sent_ago_s=31, attempts=1)
    planned = plan([late], Ways(broker=True, http=False, http_failing=True))
    assert (planned.publish, planned.post) == ((late,), ())


def test_statement_put_off_again_and_again_is_offered_more_slowly() -> None:
    often = row(sent_ago_s=6, attempts=9)
    assert plan([often]).post == ()


def test_way_that_opens_lets_everything_go_at_once() -> None:
    waiting = [row(n, sent_ago_s=1, attempts=9) for n in range(3)]
    assert plan(waiting, hurry=True).publish == tuple(waiting)


def test_clock_set_back_does_not_hold_statements_up() -> None:
    future = row(sent_ago_s=-3600, attempts=3)
    assert plan([future]).publish == (future,)


@given(st.lists(st.integers(1, 65_536), max_size=300))
def test_batches_keep_order_and_limits_and_lose_nothing(sizes: list[int]) -> None:
    rows = [row(number, size=size) for number, size in enumerate(sizes)]
    batches = list(split_batches(rows))
    assert [one for batch in batches for one in batch] == rows
    for batch in batches:
        body = b'{"envelopes":[' + b",".join(one.envelope for one in batch) + b"]}"
        assert 0 < len(batch) <= MAX_BATCH_STATEMENTS
        assert len(body) <= MAX_BATCH_BYTES


def delivery(
    number: int = 0, *, size: int = 100, admitted: bool = True, upload_url: str | None = None
) -> Delivery:
    return Delivery(
        statement=Digest.of(b"%d" % number),
        purpose=Purpose.ORIGINAL,
        agency="hz",
        digest=Digest.of(b"content %d" % number),
        size_bytes=size,
        path=Path("/spool"),
        upload_url=upload_url,
        uploaded=False,
        admitted=admitted,
        created_at=NOW,
        priority=20,
    )


def shipment(number: int) -> Shipment:
    return Shipment(deliveries=(delivery(number),))


def test_shipments_start_in_the_journals_order_as_slots_allow() -> None:
    rows = [shipment(n) for n in range(5)]
    choice = choose_shipments(rows, busy={rows[0].key}, due_s={}, now_s=10, free=2, period_s=30)
    assert choice.start == (rows[1], rows[2])


def test_shipment_that_failed_waits_its_turn_and_lets_others_pass() -> None:
    first, second = shipment(1), shipment(2)
    choice = choose_shipments(
        [first, second], busy=(), due_s={first.key: 12.5}, now_s=10, free=2, period_s=30
    )
    assert (choice.start, choice.wait_s) == ((second,), 2.5)


@pytest.mark.parametrize(
    ("known", "asks"),
    [
        (delivery(size=ASK_FIRST_BYTES), True),
        (delivery(size=ASK_FIRST_BYTES - 1), False),
        (delivery(size=ASK_FIRST_BYTES, admitted=False), False),
        (delivery(size=ASK_FIRST_BYTES, upload_url="/api/v1/uploads/1"), False),
    ],
)
def test_only_a_large_announced_untouched_blob_is_asked_about_first(known: Delivery, asks: bool) -> None:
    assert should_ask_first(known) is asks


def test_question_waits_for_the_push_where_there_is_one() -> None:
    def delay_s(*, pushed: bool, waiting: int) -> float:
        return decide_pending(polls=1, unit=0, backoff=BACKOFF, pushed=pushed, waiting=waiting).delay_s

    assert delay_s(pushed=True, waiting=MANY_RECEIPTS - 1) == PUSH_GRACE_S
    assert delay_s(pushed=False, waiting=1) < PUSH_GRACE_S
    assert delay_s(pushed=True, waiting=MANY_RECEIPTS) < PUSH_GRACE_S


def test_staging_is_checked_now_and_then_not_every_time() -> None:
    checks = [
        decide_pending(polls=n, unit=0, backoff=BACKOFF, pushed=True, waiting=1).check_staging
        for n in range(1, 13)
    ]
    assert sum(checks) == 12 // STAGING_CHECK_POLLS


def checkpoint(size: int, root: bytes) -> Checkpoint:
    return Checkpoint(origin="log", size=size, root=root if size else EMPTY_ROOT)


@pytest.mark.parametrize(
    ("seen", "offered", "relation"),
    [
        (checkpoint(5, b"a" * 32), checkpoint(5, b"a" * 32), Relation.FITS),
        (checkpoint(5, b"a" * 32), checkpoint(5, b"b" * 32), Relation.CONTRADICTS),
        (checkpoint(0, b""), checkpoint(5, b"a" * 32), Relation.FITS),
        (checkpoint(5, b"a" * 32), checkpoint(7, b"b" * 32), Relation.PROVE),
        (checkpoint(7, b"a" * 32), checkpoint(5, b"b" * 32), Relation.PROVE),
    ],
)
def test_checkpoints_relate(seen: Checkpoint, offered: Checkpoint, relation: Relation) -> None:
    question = compare_checkpoints(seen, offered)
    assert question.relation is relation
    assert question.smaller.size <= question.larger.size
