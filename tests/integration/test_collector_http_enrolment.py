"""Enrolment over TLS: one code, one key, and an answer that may be lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.keys.station_keys import StationKeys
from protocol.admission import open_admission
from protocol.dsse import Envelope
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse
from protocol.enrolment_proof import verify_enrolment_proof
from protocol.statements import sign_statement
from tests.support.collector_lab import INVENTORY, LOG_KEY, World, found, revocation
from tests.support.collector_site import (
    COLLECTOR_KEY,
    FOREIGN,
    Answer,
    CollectorSite,
    enrolment_request,
    serving,
    withdraw,
)
from tests.support.evidence import AGENCY, enrolled


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def site(world: World) -> AsyncIterator[CollectorSite]:
    async with serving(world) as site:
        yield site


def body_of(*envelopes: Envelope) -> bytes:
    return json.dumps({"envelopes": [envelope.to_json() for envelope in envelopes]}).encode()


async def enrol(site: CollectorSite, request: EnrolmentRequest) -> Answer:
    return await site.ask("POST", "/api/v1/enrolments", request.to_bytes())


async def test_anybody_gets_the_ca_certificate(site: CollectorSite) -> None:
    answer = await site.get("/api/v1/ca")
    assert answer.body == site.trust.load().certificate_pem


async def test_a_code_makes_a_station(site: CollectorSite) -> None:
    keys, agencies = StationKeys.generate(), (AGENCY, FOREIGN)
    request = enrolment_request(site.code("dock-7", agencies=agencies), keys, station="anything")
    answer = await enrol(site, request)
    response = EnrolmentResponse.from_bytes(answer.body)
    assert (response.station, response.agencies) == ("dock-7", agencies)
    proven = verify_enrolment_proof(
        response.enrolled,
        log_key=LOG_KEY.verifier,
        public_key=keys.public_key,
        station="dock-7",
        agencies=agencies,
    )
    assert proven.collector_public_key == response.collector_public_key == COLLECTOR_KEY
    said = sign_statement(replace(INVENTORY, header=replace(INVENTORY.header, signer="dock-7")), keys.seed)
    site.keys["dock-7"] = keys.key_id
    admission = await site.ask("POST", "/api/v1/statements", body_of(said), who="dock-7")
    assert open_admission(admission.body, COLLECTOR_KEY).results[0].outcome == "admitted"


async def test_a_lost_answer_can_be_asked_for_again(site: CollectorSite) -> None:
    keys = StationKeys.generate()
    request = enrolment_request(site.code("dock-7"), keys)
    first = await enrol(site, request)
    site.lab.world.now += timedelta(days=30)
    size = site.lab.log.checkpoint.size
    again = await asyncio.gather(*(enrol(site, request) for _ in range(3)))
    assert [answer.status for answer in (first, *again)] == [200] * 4
    assert site.lab.log.checkpoint.size == size


async def test_a_code_is_good_for_one_key(site: CollectorSite) -> None:
    secret = site.code("dock-7")
    answers = await asyncio.gather(
        *(enrol(site, enrolment_request(secret, StationKeys.generate())) for _ in range(4))
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    assert {answer.code for answer in answers} == {None, "enrolment-code-used"}


async def test_refused_codes_say_why(site: CollectorSite) -> None:
    expired, withdrawn = site.code(), site.code()
    withdraw(site, withdrawn)
    site.lab.world.now += timedelta(hours=2)
    for secret, code in (
        (expired, "enrolment-code-expired"),
        (withdrawn, "enrolment-code-withdrawn"),
        (b"?" * 32, "enrolment-code-unknown"),
    ):
        answer = await enrol(site, enrolment_request(secret, StationKeys.generate()))
        assert (answer.status, answer.code) == (403, code)
    assert site.lab.log.checkpoint.size == 2


async def test_a_request_that_does_not_prove_its_key_is_refused_before_anything_else(
    site: CollectorSite,
) -> None:
    secret, keys = site.code("dock-7"), StationKeys.generate()
    forged = replace(enrolment_request(secret, keys), public_key=StationKeys.generate().public_key)
    assert (await enrol(site, forged)).code == "signature-invalid"
    low_order = replace(enrolment_request(secret, keys), public_key=bytes(32))
    assert (await enrol(site, low_order)).code == "key-rejected"
    assert (await enrol(site, enrolment_request(secret, keys))).status == 200


async def test_a_bad_certificate_request_costs_neither_code_nor_entry(site: CollectorSite) -> None:
    secret, keys = site.code("dock-7"), StationKeys.generate()
    bad = enrolment_request(secret, keys, csr="-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n")
    assert (await enrol(site, bad)).code == "csr-rejected"
    assert site.lab.log.checkpoint.size == 2
    assert (await enrol(site, enrolment_request(secret, StationKeys.generate()))).status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"v":2}', b"\xff" * 100])
async def test_a_malformed_enrolment_is_refused(site: CollectorSite, body: bytes) -> None:
    answer = await site.ask("POST", "/api/v1/enrolments", body)
    assert (answer.status, answer.code) == (400, "malformed")


async def test_a_revoked_station_enrols_anew_with_a_new_code(site: CollectorSite) -> None:
    keys = StationKeys.generate()
    await enrol(site, enrolment_request(site.code("dock-7"), keys))
    await site.lab.voice.say(revocation(enrolled(keys.seed, name="dock-7")))
    answer = await enrol(site, enrolment_request(site.code("dock-7"), keys))
    assert answer.status == 200
    said = sign_statement(replace(INVENTORY, header=replace(INVENTORY.header, signer="dock-7")), keys.seed)
    assert (await site.lab.answer(said, station="dock-7")).results[0].outcome == "admitted"


async def test_a_station_may_be_given_another_name(site: CollectorSite) -> None:
    keys = StationKeys.generate()
    await enrol(site, enrolment_request(site.code("dock-7"), keys))
    answer = await enrol(site, enrolment_request(site.code("dock-8"), keys))
    response = EnrolmentResponse.from_bytes(answer.body)
    verify_enrolment_proof(
        response.enrolled,
        log_key=LOG_KEY.verifier,
        public_key=keys.public_key,
        station="dock-8",
        agencies=[AGENCY],
    )


async def test_an_enrolment_that_could_not_be_logged_is_repeated(world: World) -> None:
    async with serving(world, max_wait_s=0.05) as site:
        request = enrolment_request(site.code("dock-7"), StationKeys.generate())
        world.files.plan(0)
        failed = await enrol(site, request)
        assert (failed.status, failed.problem["retryable"]) == (503, True)
        async with asyncio.timeout(
            60
        ):  # the log is given little time here: a busy machine may need another try
            while (again := await enrol(site, request)).status == 503:
                assert again.problem["retryable"]
        assert again.status == 200
