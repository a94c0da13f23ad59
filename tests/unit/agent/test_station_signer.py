"""For whom does a station speak?"""

from __future__ import annotations

import pytest

from agent.signer import StationSigner
from protocol import ed25519
from protocol.claims import Claim
from protocol.dsse import STATEMENT_TYPE
from protocol.statements import parse_statement
from tests.support.evidence import STATION_SEED, inventory

SIGNER = StationSigner(
    station="dock-1",
    agencies=("jing-an", "pu-tuo"),
    seed=STATION_SEED,
    holders={"ZFY2": "pu-tuo", "ZFY3": "chang-ning"},
)


@pytest.mark.parametrize(
    ("recorder", "agency"),
    [(None, "jing-an"), ("ZFY1", "jing-an"), ("ZFY2", "pu-tuo"), ("ZFY3", None)],
    ids=["nobody's", "not in the list", "in the list", "of an agency the station may not speak for"],
)
def test_the_holder_of_a_recorder_decides(recorder: str | None, agency: str | None) -> None:
    assert SIGNER.agency_for(None if recorder is None else Claim(recorder, "name")) == agency


def test_a_statement_is_signed_with_the_stations_key() -> None:
    statement = inventory()
    envelope = SIGNER.sign(statement)
    envelope.verify(ed25519.public_from_seed(STATION_SEED), STATEMENT_TYPE)
    assert parse_statement(envelope.payload) == statement


def test_the_key_does_not_show_when_a_signer_is_printed() -> None:
    assert repr(STATION_SEED) not in repr(SIGNER)
