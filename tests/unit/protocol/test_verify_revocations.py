"""Does a copy of the log give away a revocation that a receipt keeps silent about, and only that?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.ids import COLLECTOR
from protocol.statements import Statement
from protocol.verify import FAILED, PASSED, accepted, check_receipt
from tests.support.evidence import (
    COLLECTOR_SEED,
    OTHER_SEED,
    STATION_SEED,
    EvidenceLog,
    enrolled,
    inventory,
    manifest,
    revoked,
    stored,
)

SECOND_SEED = b"2" * 32
SECOND = enrolled(SECOND_SEED, name=COLLECTOR, agency=COLLECTOR)
FIRST_REVOKED = replace(revoked(COLLECTOR_SEED, agency=COLLECTOR), name=COLLECTOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One entry: what is said with which key, and whether the receipt tells it."""

    statement: Statement
    seed: bytes
    in_receipt: bool = True


def verdict(before: list[Told], *, storing_seed: bytes = COLLECTOR_SEED) -> tuple[bool, str]:
    """Tell ``before``, then announce and store a clip; the outcome of the step ``log-revocations``."""
    log = EvidenceLog()
    root = Told(statement=enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), seed=COLLECTOR_SEED)
    for told in (root, *before):
        log.add(told.statement, told.seed)
    inventory_id = log.add(inventory(), STATION_SEED)
    claim = manifest(b"clip", inventory_id)
    claim_id = log.add(claim, STATION_SEED)
    log.add(stored(claim, claim_id), storing_seed)
    size = len(log.envelopes)
    shown = [index for index, told in enumerate((root, *before)) if told.in_receipt]
    receipt = log.receipt(claim, claim_id, [*shown, size - 3, size - 2, size - 1])
    checks = check_receipt(receipt.to_bytes(), log.log_key.verifier, log=log.copy())
    outcomes = {check.name: check for check in checks}
    assert outcomes["log-history"].outcome == PASSED, outcomes
    return accepted(checks), outcomes["log-revocations"].outcome


STATION = Told(statement=enrolled(STATION_SEED), seed=COLLECTOR_SEED)


def test_a_silent_revocation_of_the_station_is_found() -> None:
    silent = Told(statement=revoked(STATION_SEED), seed=COLLECTOR_SEED, in_receipt=False)
    assert verdict([STATION, silent]) == (False, FAILED)


def test_a_silent_revocation_of_the_collectors_key_is_found_though_it_concerns_no_agency() -> None:
    second = Told(statement=SECOND, seed=COLLECTOR_SEED, in_receipt=False)
    silent = Told(statement=FIRST_REVOKED, seed=SECOND_SEED, in_receipt=False)
    assert verdict([STATION, second, silent]) == (False, FAILED)


def test_a_revoked_collector_key_does_not_harm_what_its_successor_stored() -> None:
    second = Told(statement=SECOND, seed=COLLECTOR_SEED)
    gone = Told(statement=FIRST_REVOKED, seed=SECOND_SEED)
    assert verdict([STATION, second, gone], storing_seed=SECOND_SEED) == (True, PASSED)


def test_a_key_that_was_enrolled_again_after_its_revocation_may_be_used() -> None:
    gone = Told(statement=revoked(STATION_SEED), seed=COLLECTOR_SEED, in_receipt=False)
    assert verdict([STATION, gone, STATION]) == (True, PASSED)


def test_revocations_of_other_keys_and_for_other_agencies_do_no_harm() -> None:
    other = Told(statement=revoked(OTHER_SEED), seed=COLLECTOR_SEED, in_receipt=False)
    elsewhere = Told(
        statement=revoked(STATION_SEED, agency="water-bureau"), seed=COLLECTOR_SEED, in_receipt=False
    )
    assert verdict([STATION, other, elsewhere]) == (True, PASSED)
