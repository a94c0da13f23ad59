"""Does a new station believe in its enrolment only if the log it was told of proves it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from protocol import ed25519
from protocol.enrolment_proof import ProvenEnrolment, enrolment_proof_json, verify_enrolment_proof
from protocol.errors import ChainError, EnrolmentError, MalformedError, ProtocolError, SignatureError
from protocol.ids import COLLECTOR
from protocol.note import SignerKey, VerifierKey
from protocol.receipt import ReceiptItem
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    OTHER_SEED,
    STATION,
    STATION_SEED,
    EvidenceLog,
    enrolled,
    inventory,
)

OTHER_AGENCY = "water-bureau"


def a_log() -> EvidenceLog:
    """Collector, another station, our station for two agencies, its first inventory: entries 0 to 4."""
    log = EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(OTHER_SEED, name="station-2"), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED, agency=OTHER_AGENCY), COLLECTOR_SEED)
    log.add(inventory(), STATION_SEED)
    return log


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What the station goes by when it checks the proof."""

    log_key: VerifierKey
    seed: bytes = STATION_SEED
    station: str = STATION
    agencies: Sequence[str] = (AGENCY, OTHER_AGENCY)


LOG = a_log()
CLAIMED = Claimed(log_key=LOG.log_key.verifier)


def items(*indices: int) -> list[ReceiptItem]:
    return [LOG.item(index) for index in indices]


def proven(proof: Sequence[ReceiptItem], claimed: Claimed = CLAIMED) -> ProvenEnrolment:
    return verify_enrolment_proof(
        enrolment_proof_json(proof),
        log_key=claimed.log_key,
        public_key=ed25519.public_from_seed(claimed.seed),
        station=claimed.station,
        agencies=claimed.agencies,
    )


def test_the_proof_tells_the_collectors_key_and_a_checkpoint_to_keep() -> None:
    found = proven(items(0, 2, 3))
    assert found.collector_public_key == ed25519.public_from_seed(COLLECTOR_SEED)
    assert found.checkpoint_note == LOG.note


def test_other_stations_in_the_proof_do_no_harm() -> None:
    proven(items(0, 1, 2, 3))


def test_the_other_agency_need_not_be_proved_if_it_is_not_claimed() -> None:
    proven(items(0, 2), replace(CLAIMED, agencies=[AGENCY]))


@pytest.mark.parametrize("indices", [(0,), (0, 2), (0, 3), (0, 1)])
def test_every_agency_must_be_proved(indices: tuple[int, ...]) -> None:
    with pytest.raises(ChainError, match="does not enrol this station"):
        proven(items(*indices))


@pytest.mark.parametrize("indices", [(), (2, 3), (2, 0, 3)])
def test_the_proof_begins_with_entry_0(indices: tuple[int, ...]) -> None:
    with pytest.raises(ChainError, match="entry 0"):
        proven(items(*indices))


@pytest.mark.parametrize(
    "claimed", [replace(CLAIMED, seed=OTHER_SEED), replace(CLAIMED, station="station-2")]
)
def test_the_enrolment_of_another_key_or_name_is_not_mine(claimed: Claimed) -> None:
    with pytest.raises(ChainError, match="does not enrol this station"):
        proven(items(0, 1, 2, 3), claimed)


def test_the_log_is_the_one_the_enrolment_code_named() -> None:
    for other in (
        SignerKey(name=LOG.log_key.name, seed=b"x" * 32),
        SignerKey(name="log.example/other", seed=LOG.log_key.seed),
    ):
        with pytest.raises(SignatureError):
            proven(items(0, 2, 3), replace(CLAIMED, log_key=other.verifier))


def test_only_enrolments_prove_an_enrolment() -> None:
    with pytest.raises(ChainError, match="enrolments only"):
        proven(items(0, 2, 3, 4))


def test_an_envelope_that_is_not_in_the_log_proves_nothing() -> None:
    stranger = EvidenceLog()
    stranger.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    stranger.add(enrolled(OTHER_SEED), COLLECTOR_SEED)
    forged = replace(LOG.item(2), envelope=stranger.envelopes[1])
    with pytest.raises(ProtocolError):
        proven([LOG.item(0), forged, LOG.item(3)])


def test_a_collector_that_did_not_found_the_log_cannot_enrol() -> None:
    log = EvidenceLog()
    log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
    log.add(enrolled(STATION_SEED), OTHER_SEED)
    with pytest.raises(EnrolmentError):
        proven([log.item(0), log.item(1)], replace(CLAIMED, agencies=[AGENCY]))


def test_all_proofs_are_under_one_checkpoint() -> None:
    early = items(0, 2)
    later = a_log()
    later.add(inventory(9), STATION_SEED)
    with pytest.raises(ChainError, match="one checkpoint"):
        proven([*early, later.item(3)])


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"items": None}, {"items": {}}, {"items": [1]}, {"items": [{}]}, {"items": [{}] * 66}],
)
def test_what_is_no_proof_is_malformed(value: object) -> None:
    with pytest.raises(MalformedError):
        verify_enrolment_proof(
            value,
            log_key=CLAIMED.log_key,
            public_key=ed25519.public_from_seed(STATION_SEED),
            station=STATION,
            agencies=[AGENCY],
        )
