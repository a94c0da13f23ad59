"""Statements over HTTP from an enrolled station that means harm: depth, size, time, repetition."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.admission import open_admission
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.limits import MAX_JSON_DEPTH, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES
from protocol.statements import sign_statement
from tests.support.collector_lab import INVENTORY, World, found
from tests.support.collector_site import COLLECTOR_KEY, Answer, CollectorSite, serving
from tests.support.evidence import NOW, STATION, STATION_SEED, header

DEEP = b'{"a":' * 160_000 + b"1" + b"}" * 160_000
"""1 MB that is nothing but depth."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[CollectorSite]:
    world = World(folder=tmp_path)
    await found(world)
    async with serving(world) as site:
        yield site


async def post(site: CollectorSite, body: bytes) -> Answer:
    return await site.ask("POST", "/api/v1/statements", body, who=STATION)


async def outcomes(site: CollectorSite, *envelopes: Envelope) -> list[str]:
    """The code of each refusal; ``admitted`` for the others."""
    body = json.dumps({"envelopes": [envelope.to_json() for envelope in envelopes]}).encode()
    answer = await post(site, body)
    assert answer.status == 200, answer.body
    admission = open_admission(answer.body, COLLECTOR_KEY)
    return [result.code or result.outcome for result in admission.results]


async def test_a_megabyte_of_depth_is_refused_before_it_is_parsed(site: CollectorSite) -> None:
    assert len(DEEP) > 900_000
    answer = await post(site, DEEP)
    assert (answer.status, answer.code) == (413, "request-entity-too-large")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"envelopes":['])
async def test_depth_within_the_size_is_refused_by_its_limit(site: CollectorSite, opening: bytes) -> None:
    answer = await post(site, opening * (MAX_MESSAGE_BYTES // len(opening)))
    assert (answer.status, answer.code) in [(413, "limit-exceeded"), (400, "malformed")]
    closing = {b"[": b"]", b'{"a":': b"}", b'{"envelopes":[': b"]}"}[opening]
    whole = opening * (MAX_JSON_DEPTH + 1) + b"1" + closing * (MAX_JSON_DEPTH + 1)
    answer = await post(site, whole)
    assert (answer.status, answer.code) == (413, "limit-exceeded")


async def test_depth_inside_a_signed_payload_is_refused_by_itself(site: CollectorSite) -> None:
    """The signature is good; the honest neighbours in the same request are admitted."""
    deep = DEEP[: MAX_PAYLOAD_BYTES // 2]
    bombs = [Envelope.sign(STATEMENT_TYPE, payload, STATION_SEED) for payload in (deep, b"[" * 40_000)]
    nested = b"[" * (MAX_JSON_DEPTH + 2) + b"]" * (MAX_JSON_DEPTH + 2)
    bombs.append(Envelope.sign(STATEMENT_TYPE, nested, STATION_SEED))
    honest = sign_statement(INVENTORY, STATION_SEED)
    assert await outcomes(site, *bombs, honest) == ["limit-exceeded"] * 3 + ["admitted"]


async def test_statements_from_the_future_and_from_before_time_are_admitted(site: CollectorSite) -> None:
    """A dead clock must not strand footage; that the time cannot be is a finding of the audit."""
    times = [NOW.replace(year=year) for year in (1970, 2099, 9999)]
    said = [
        replace(INVENTORY, header=replace(header(number), issued_at=time))
        for number, time in enumerate(times)
    ]
    assert await outcomes(site, *(sign_statement(one, STATION_SEED) for one in said)) == ["admitted"] * 3


async def test_a_replayed_statement_adds_nothing(site: CollectorSite) -> None:
    honest = sign_statement(INVENTORY, STATION_SEED)
    await outcomes(site, honest)
    size = site.lab.log.checkpoint.size
    for _ in range(3):
        assert await outcomes(site, honest, honest) == ["admitted", "admitted"]
    assert site.lab.log.checkpoint.size == size


async def test_a_body_of_many_small_lies_is_answered_whole_or_refused_whole(site: CollectorSite) -> None:
    for body in (
        b'{"envelopes":[' + b"{}," * 50_000 + b"{}]}",
        b'{"envelopes":[' + b",".join([b'{"payload":""}'] * 300) + b"]}",
        b'{"envelopes":"' + b"x" * 100_000 + b'"}',
        b'{"envelopes":' + b"9" * 5000 + b"}",
        b'{"envelopes":[],"envelopes":[]}',
        b"\xff\xfe" * 1000,
    ):
        answer = await post(site, body)
        assert (answer.status, answer.code) == (400, "malformed")
