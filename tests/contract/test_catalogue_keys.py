"""The catalogue's keys: who may speak for which agency, as the log tells it."""

from __future__ import annotations

from dataclasses import replace

from collector.catalogue import Catalogue
from protocol.ids import COLLECTOR
from protocol.keyring import KeyRing
from protocol.statements import Statement, sign_statement
from tests.support.catalogues import apply_all
from tests.support.statements import (
    Log,
    enrolled,
    header,
    key_id,
    revoked,
    seed,
)


def test_a_station_key_speaks_for_the_agencies_it_is_enrolled_for(catalogue: Catalogue, log: Log) -> None:
    log.add(enrolled("dock-1", "beta"))
    apply_all(catalogue, log)
    assert catalogue.agencies_of(key_id("dock-1")) == {"alpha", "beta"}
    station = catalogue.station_key("dock-1")
    assert station is not None
    assert (station.key_id, station.agencies) == (key_id("dock-1"), frozenset({"alpha", "beta"}))


def test_a_revocation_ends_one_agency_only(catalogue: Catalogue, log: Log) -> None:
    log.add(enrolled("dock-1", "beta"), revoked("dock-1", "alpha"))
    apply_all(catalogue, log)
    record = catalogue.key_record(key_id("dock-1"), "alpha")
    assert record is not None
    assert (record.enrolled_index, record.revoked_index) == (1, 3)
    assert catalogue.agencies_of(key_id("dock-1")) == {"beta"}


def test_a_new_key_takes_the_place_of_the_old_one(catalogue: Catalogue, log: Log) -> None:
    log.add(enrolled("dock-1", "alpha", key="second key"))
    apply_all(catalogue, log)
    station = catalogue.station_key("dock-1")
    assert station is not None
    assert station.key_id == key_id("second key")


def test_a_known_key_without_the_agency_is_told_from_an_unknown_key(catalogue: Catalogue, log: Log) -> None:
    apply_all(catalogue, log)
    elsewhere = catalogue.key_record(key_id("dock-1"), "beta")
    assert elsewhere is not None
    assert elsewhere.agency == "alpha"
    assert catalogue.key_record(key_id("stranger"), "beta") is None
    assert catalogue.station_key("stranger") is None


def test_a_collectors_key_is_found_for_every_agency(catalogue: Catalogue, log: Log) -> None:
    apply_all(catalogue, log)
    record = catalogue.key_record(key_id(COLLECTOR), "alpha")
    assert record is not None
    assert record.role == "collector"


def test_a_stations_word_on_keys_counts_for_nothing(catalogue: Catalogue, log: Log) -> None:
    log.add(replace(revoked("dock-1"), header=header("alpha", "dock-2")))
    apply_all(catalogue, log)
    assert catalogue.agencies_of(key_id("dock-1")) == {"alpha"}


def test_keys_are_what_the_verifiers_key_ring_makes_of_the_same_log(catalogue: Catalogue) -> None:
    log, ring = Log(), KeyRing()
    statements: list[Statement] = [
        enrolled(COLLECTOR),
        enrolled("dock-1", "alpha"),
        revoked("dock-1", "beta"),
        enrolled("dock-1", "beta"),
        revoked("dock-1", "alpha"),
        enrolled("dock-1", "alpha", nonce=1),
        enrolled("dock-2", "beta"),
        revoked("dock-2", "beta"),
    ]
    for index, statement in enumerate(statements):
        log.add(statement)
        ring.accept(index, sign_statement(statement, seed(COLLECTOR)), statement)
        apply_all(catalogue, log)
        for name in ("dock-1", "dock-2", COLLECTOR):
            for agency in ("alpha", "beta"):
                expected = ring.find(key_id(name), agency)
                if expected is not None:
                    assert catalogue.key_record(key_id(name), agency) == expected
