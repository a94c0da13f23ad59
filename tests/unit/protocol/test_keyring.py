"""Who may say what, for whom, at which place in the log? Nobody else, nothing else, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import pytest

from protocol import ed25519
from protocol.digest import Digest
from protocol.dsse import ADMISSION_TYPE, Envelope
from protocol.errors import (
    AgencyNotAllowedError,
    ChainError,
    EnrolmentError,
    ProtocolError,
    RevokedError,
    SignatureError,
)
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRecord, KeyRing, check_authority, required_role
from protocol.statements import Enrolled, Revoked, Statement, encode, sign_statement
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
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
from tests.support.specimens import SPECIMENS

Told: TypeAlias = tuple[Statement, bytes]

SECOND_SEED = b"2" * 32
OTHER_AGENCY = "water-bureau"
ROOT = enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR)
CLAIM = manifest(b"clip", Digest.of(b"inventory"))


def revoked_collector(seed: bytes) -> Revoked:
    return replace(revoked(seed, agency=COLLECTOR), name=COLLECTOR)


def ring(*told: Told) -> KeyRing:
    """A ring that has accepted entry 0, the station's enrolment, and then ``told``."""
    made = KeyRing()
    for index, (statement, seed) in enumerate(
        [(ROOT, COLLECTOR_SEED), (enrolled(STATION_SEED), COLLECTOR_SEED), *told]
    ):
        made.accept(index, sign_statement(statement, seed), statement)
    return made


def accept(told: Sequence[Told], statement: Statement, seed: bytes) -> None:
    ring(*told).accept(len(told) + 2, sign_statement(statement, seed), statement)


def test_the_station_speaks_once_the_collector_has_enrolled_it() -> None:
    accept([], CLAIM, STATION_SEED)
    accept([(inventory(), STATION_SEED)], CLAIM, STATION_SEED)


def test_an_enrolment_is_found_by_key_and_agency_and_a_collectors_for_every_agency() -> None:
    made = ring()
    station = ed25519.key_id(ed25519.public_from_seed(STATION_SEED))
    collector = ed25519.key_id(ed25519.public_from_seed(COLLECTOR_SEED))
    assert made.find(station, AGENCY) == KeyRecord(
        key_id=station,
        public_key=ed25519.public_from_seed(STATION_SEED),
        role="station",
        name=STATION,
        agency=AGENCY,
        enrolled_index=1,
    )
    assert made.find(station, OTHER_AGENCY) is None
    assert made.find(collector, OTHER_AGENCY) == made.find(collector, COLLECTOR)
    assert made.find("ed25519:" + "0" * 64, AGENCY) is None


@pytest.mark.parametrize(
    "first", [enrolled(STATION_SEED), CLAIM, revoked(STATION_SEED), stored(CLAIM, Digest.of(b""))]
)
def test_entry_0_enrols_a_collector_and_nothing_else(first: Statement) -> None:
    with pytest.raises(ChainError, match="entry 0"):
        KeyRing().accept(0, sign_statement(first, COLLECTOR_SEED), first)


def test_entry_0_is_signed_by_the_very_key_it_enrols() -> None:
    with pytest.raises(SignatureError):
        KeyRing().accept(0, sign_statement(ROOT, OTHER_SEED), ROOT)


def test_without_entry_0_nobody_may_speak() -> None:
    with pytest.raises(EnrolmentError):
        KeyRing().accept(1, sign_statement(ROOT, COLLECTOR_SEED), ROOT)


def test_an_unknown_key_may_not_speak() -> None:
    with pytest.raises(EnrolmentError, match="no enrolment is known") as caught:
        accept([], CLAIM, OTHER_SEED)
    assert caught.value.code == "not-enrolled"


def test_a_station_may_not_speak_for_an_agency_it_is_not_enrolled_for() -> None:
    for_another = replace(CLAIM, header=header(4, agency=OTHER_AGENCY))
    with pytest.raises(AgencyNotAllowedError, match=OTHER_AGENCY):
        accept([], for_another, STATION_SEED)
    accept([(enrolled(STATION_SEED, agency=OTHER_AGENCY), COLLECTOR_SEED)], for_another, STATION_SEED)


def test_a_station_may_not_speak_as_another_station() -> None:
    as_another = replace(CLAIM, header=header(4, signer="station-2"))
    with pytest.raises(EnrolmentError, match="speaks as station-2"):
        accept([], as_another, STATION_SEED)


def test_a_stations_key_does_not_speak_as_the_collector() -> None:
    as_collector = stored(CLAIM, Digest.of(encode(CLAIM)))
    with pytest.raises(EnrolmentError, match="signed by a collector, this key is a station's"):
        accept([], as_collector, STATION_SEED)


def test_a_station_cannot_enrol_or_revoke() -> None:
    for statement in (enrolled(OTHER_SEED, name="station-2"), revoked(COLLECTOR_SEED)):
        with pytest.raises(EnrolmentError):
            accept([], statement, STATION_SEED)


def test_what_a_refused_enrolment_says_is_not_learned() -> None:
    made, stranger = ring(), enrolled(OTHER_SEED, name="station-2")
    with pytest.raises(ProtocolError):
        made.accept(2, sign_statement(stranger, STATION_SEED), stranger)
    assert made.find(stranger.key_id, AGENCY) is None


def test_a_statement_of_another_purpose_or_content_is_refused() -> None:
    made = ring()
    as_admission = Envelope.sign(ADMISSION_TYPE, encode(CLAIM), STATION_SEED)
    with pytest.raises(SignatureError):
        made.accept(2, as_admission, CLAIM)
    with pytest.raises(SignatureError):
        made.accept(2, replace(sign_statement(CLAIM, STATION_SEED), payload=encode(inventory())), CLAIM)


def test_a_revoked_key_is_silent_from_then_on() -> None:
    told: list[Told] = [(CLAIM, STATION_SEED), (revoked(STATION_SEED), COLLECTOR_SEED)]
    with pytest.raises(RevokedError, match="revoked at index 3") as caught:
        accept(told, inventory(), STATION_SEED)
    assert caught.value.code == "key-revoked"


def test_a_revocation_for_one_agency_leaves_the_others() -> None:
    told: list[Told] = [
        (enrolled(STATION_SEED, agency=OTHER_AGENCY), COLLECTOR_SEED),
        (revoked(STATION_SEED), COLLECTOR_SEED),
    ]
    accept(told, replace(CLAIM, header=header(4, agency=OTHER_AGENCY)), STATION_SEED)
    with pytest.raises(RevokedError):
        accept(told, CLAIM, STATION_SEED)


def test_the_first_revocation_counts() -> None:
    made = ring((revoked(STATION_SEED), COLLECTOR_SEED), (revoked(STATION_SEED), COLLECTOR_SEED))
    record = made.find(revoked(STATION_SEED).key_id, AGENCY)
    assert record is not None
    assert record.revoked_index == 2


def test_a_key_enrolled_again_may_speak_again() -> None:
    told: list[Told] = [(revoked(STATION_SEED), COLLECTOR_SEED), (enrolled(STATION_SEED), COLLECTOR_SEED)]
    accept(told, CLAIM, STATION_SEED)


def test_revoking_a_key_nobody_knows_harms_nobody() -> None:
    accept([(revoked(OTHER_SEED), COLLECTOR_SEED)], CLAIM, STATION_SEED)


def test_a_second_collector_key_is_introduced_by_the_first_and_may_revoke_it() -> None:
    told: list[Told] = [
        (enrolled(SECOND_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED),
        (revoked_collector(COLLECTOR_SEED), SECOND_SEED),
    ]
    accept(told, enrolled(OTHER_SEED, name="station-2"), SECOND_SEED)
    accept(told, CLAIM, STATION_SEED)
    with pytest.raises(RevokedError):
        accept(told, enrolled(OTHER_SEED, name="station-2"), COLLECTOR_SEED)


def test_a_collectors_key_is_not_revoked_for_a_single_agency() -> None:
    told: list[Told] = [(revoked(COLLECTOR_SEED), COLLECTOR_SEED)]
    accept(told, enrolled(OTHER_SEED, name="station-2"), COLLECTOR_SEED)


@pytest.mark.parametrize(("name", "statement"), SPECIMENS.items(), ids=SPECIMENS)
def test_each_kind_has_its_role(name: str, statement: Statement) -> None:
    of_stations = ("inventory", "manifest", "media", "rendition", "release", "custody unreadable")
    assert required_role(statement) == ("station" if name.startswith(of_stations) else "collector")


def record(*, enrolled_index: int = 5, revoked_index: int | None = None) -> KeyRecord:
    key: Enrolled = enrolled(STATION_SEED)
    return KeyRecord(
        key_id=key.key_id,
        public_key=key.public_key,
        role="station",
        name=STATION,
        agency=AGENCY,
        enrolled_index=enrolled_index,
        revoked_index=revoked_index,
    )


@pytest.mark.parametrize("index", [5, 6, 8, None])
def test_a_key_is_good_from_its_enrolment_on(index: int | None) -> None:
    check_authority(record(), CLAIM, index)


def test_a_key_is_good_for_nothing_before_its_enrolment() -> None:
    with pytest.raises(EnrolmentError, match="before it was enrolled at 5"):
        check_authority(record(), CLAIM, 4)


def test_a_key_is_good_until_its_revocation_and_not_now() -> None:
    check_authority(record(revoked_index=9), CLAIM, 8)
    for index in (10, None):
        with pytest.raises(RevokedError):
            check_authority(record(revoked_index=9), CLAIM, index)


def test_a_stations_record_is_good_for_its_own_agency_only() -> None:
    with pytest.raises(AgencyNotAllowedError):
        check_authority(record(), replace(CLAIM, header=header(4, agency=OTHER_AGENCY)), None)
