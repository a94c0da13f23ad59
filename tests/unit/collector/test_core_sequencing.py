"""What a batch adds to the log: each thing once, in order, and nothing judged by keys of its own batch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from collector.core.admission import Candidate, Known, Refuse
from collector.core.sequencing import BatchPlan, Question, ends_batch, plan_batch
from protocol import ed25519
from protocol.digest import Digest
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRecord
from protocol.statements import Statement, sign_statement, statement_id
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    NOW,
    OTHER_SEED,
    STATION,
    STATION_SEED,
    enrolled,
    header,
    inventory,
    manifest,
    revoked,
    stored,
)

PROMISE = manifest(b"clip", Digest.of(b"inventory"))
PROMISE_ID = statement_id(sign_statement(PROMISE, STATION_SEED))


def ask(statement: Statement, seed: bytes = STATION_SEED, *, known_index: int | None = None) -> Question:
    public_key = ed25519.public_from_seed(seed)
    by_collector = seed == COLLECTOR_SEED
    record = KeyRecord(
        key_id=ed25519.key_id(public_key),
        public_key=public_key,
        role="collector" if by_collector else "station",
        name=COLLECTOR if by_collector else STATION,
        agency=COLLECTOR if by_collector else AGENCY,
        enrolled_index=0,
    )
    candidate = Candidate.read(sign_statement(statement, seed))
    return Question(candidate=candidate, record=record, known_index=known_index)


def plan(*questions: Question) -> BatchPlan:
    return plan_batch(questions, next_index=10, now=NOW)


def indices(made: BatchPlan) -> list[int | str]:
    return [
        decision.index if isinstance(decision, Known) else decision.error.code for decision in made.decisions
    ]


def test_places_follow_one_another_and_refusals_take_none() -> None:
    refused = ask(manifest(b"x", PROMISE_ID, agency="others"))
    made = plan(ask(inventory(1)), refused, ask(inventory(2)), ask(inventory(3), known_index=4))
    assert indices(made) == [10, "agency-not-allowed", 11, 4]
    assert [candidate.statement.header.nonce[-1] for candidate in made.admitted] == ["1", "2"]


def test_the_same_statement_twice_in_a_batch_has_one_place() -> None:
    made = plan(ask(PROMISE), ask(inventory()), ask(PROMISE))
    assert indices(made) == [10, 11, 10]
    assert len(made.admitted) == 2


def test_two_stored_for_one_promise_have_one_place() -> None:
    made = plan(
        ask(stored(PROMISE, PROMISE_ID, 1), COLLECTOR_SEED),
        ask(stored(PROMISE, PROMISE_ID, 2), COLLECTOR_SEED),
        ask(stored(PROMISE, Digest.of(b"another promise"), 3), COLLECTOR_SEED),
    )
    assert indices(made) == [10, 10, 11]


def test_stored_by_a_station_does_not_pass_for_the_collectors() -> None:
    forged = ask(stored(PROMISE, PROMISE_ID, 2))
    made = plan(ask(stored(PROMISE, PROMISE_ID, 1), COLLECTOR_SEED), forged)
    assert indices(made) == [10, "not-enrolled"]


def test_the_same_payload_by_two_keys_is_two_statements() -> None:
    """Each signs for itself; whether the second may is its own question."""
    made = plan(ask(PROMISE), ask(PROMISE, OTHER_SEED))
    assert indices(made) == [10, 11]


def test_a_refused_statement_is_not_known_to_the_rest() -> None:
    forged = replace(ask(PROMISE), record=None)
    assert indices(plan(forged, ask(PROMISE))) == ["not-enrolled", 10]


def test_implausible_times_are_reported_once_each() -> None:
    head = replace(header(7), issued_at=NOW + timedelta(days=400))
    dead_clock = ask(replace(inventory(), header=head))
    made = plan(dead_clock, ask(inventory()), dead_clock)
    assert [candidate.statement.header for candidate in made.implausible] == [head]
    assert indices(made) == [10, 11, 10]


def test_an_empty_batch_is_an_empty_plan() -> None:
    assert plan() == BatchPlan(decisions=(), admitted=(), implausible=())


def test_a_batch_ends_behind_statements_about_keys() -> None:
    """A statement behind a revocation in one batch would be judged by the keys before it."""
    ends = [ends_batch(ask(statement).candidate) for statement in (enrolled(OTHER_SEED), revoked(OTHER_SEED))]
    goes_on = [ends_batch(ask(statement).candidate) for statement in (inventory(), PROMISE)]
    assert (ends, goes_on) == ([True, True], [False, False])


def test_refusals_keep_their_reason() -> None:
    decision = plan(replace(ask(PROMISE), record=None)).decisions[0]
    assert isinstance(decision, Refuse)
    assert not decision.authenticated
