"""Stations at the collector's door, over TLS: who gets in, statements, receipts, and the operator's questions."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from agent.keys.station_keys import StationKeys, tls_key_to_pem
from collector.ca import CertificateAuthority
from collector.core.access import Scope
from protocol import ed25519
from protocol.admission import MAX_RESULTS, open_admission
from protocol.checkpoint import open_checkpoint
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.receipt import RECEIPT_TYPE, Receipt
from protocol.statements import sign_statement
from protocol.verify import verify_receipt
from tests.support.collector_lab import INVENTORY, LOG_KEY, World, found, revocation
from tests.support.collector_site import (
    CLIP,
    CLIP_ID,
    COLLECTOR_KEY,
    CONTENT,
    FOREIGN,
    CollectorSite,
    serving,
    store_clip,
)
from tests.support.evidence import STATION, STATION_SEED, enrolled, inventory

ORIGINAL = f"/api/v1/originals/{CLIP.digest}"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def site(world: World) -> AsyncIterator[CollectorSite]:
    async with serving(world) as site:
        yield site


@pytest.fixture
async def stored(site: CollectorSite) -> CollectorSite:
    """A site that holds one clip."""
    await store_clip(site)
    return site


def body_of(*envelopes: Envelope) -> bytes:
    return json.dumps({"envelopes": [envelope.to_json() for envelope in envelopes]}).encode()


async def test_without_certificate_or_token_nothing_is_told(site: CollectorSite) -> None:
    for method, path in (("POST", "/api/v1/statements"), ("GET", ORIGINAL)):
        answer = await site.ask(method, path, b"{}" if method == "POST" else None)
        assert (answer.status, answer.code) == (401, "not-authenticated")


async def test_a_certificate_alone_is_not_enough(site: CollectorSite) -> None:
    answer = await site.ask("POST", "/api/v1/statements", b"{}", who="station-never-enrolled")
    assert (answer.status, answer.code) == (403, "not-enrolled")


async def test_a_revoked_station_stays_outside(site: CollectorSite) -> None:
    body = body_of(sign_statement(INVENTORY, STATION_SEED))
    assert (await site.ask("POST", "/api/v1/statements", body, who=STATION)).status == 200
    await site.lab.voice.say(revocation(enrolled(STATION_SEED)))
    answer = await site.ask("POST", "/api/v1/statements", body, who=STATION)
    assert (answer.status, answer.code) == (403, "not-enrolled")


async def test_the_certificate_of_a_revoked_key_opens_nothing_when_its_station_is_enrolled_again(
    site: CollectorSite,
) -> None:
    body = body_of(sign_statement(INVENTORY, STATION_SEED))
    assert (await site.ask("POST", "/api/v1/statements", body, who=STATION)).status == 200
    await site.lab.voice.say(revocation(enrolled(STATION_SEED)))
    await site.lab.voice.say(enrolled(b"n" * 32))
    for path in ("/api/v1/statements", f"/api/v1/receipts/{CLIP_ID}"):
        answer = await site.ask("POST" if path.endswith("s") else "GET", path, body, who=STATION)
        assert (answer.status, answer.code) == (403, "not-enrolled")
    site.keys["the new machine"] = ed25519.key_id(ed25519.public_from_seed(b"n" * 32))
    said = body_of(sign_statement(inventory(7), b"n" * 32))
    answer = await site.ask("POST", "/api/v1/statements", said, who="the new machine")
    assert open_admission(answer.body, COLLECTOR_KEY).results[0].outcome == "admitted"


async def test_a_certificate_of_another_ca_ends_the_handshake(site: CollectorSite, tmp_path: Path) -> None:
    keys = StationKeys.generate()
    other = CertificateAuthority.create(site.now)
    path = tmp_path / "foreign.pem"
    certificate = other.issue_station(keys.certificate_request(STATION), site.keys[STATION], site.now)
    path.write_bytes(certificate + tls_key_to_pem(keys.tls_key))
    context = ssl.create_default_context(cafile=str(site.trust.ca_certificate))
    context.load_cert_chain(path)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{site.url}/healthz")


@pytest.mark.parametrize("token", ["", "zlt_", "zlt_" + "0" * 16 + "_" + "0" * 64, "x" * 5000, "zlt_\u00e9"])
async def test_a_bad_token_is_nobody(stored: CollectorSite, token: str) -> None:
    answer = await stored.get(ORIGINAL, token=token)
    assert (answer.status, answer.code) == (401, "not-authenticated")


async def test_an_expired_token_is_nobody(stored: CollectorSite) -> None:
    token = stored.token(Scope.FOOTAGE)
    stored.lab.world.now += timedelta(hours=2)
    assert (await stored.get(ORIGINAL, token=token)).status == 401


async def test_a_token_is_no_station(site: CollectorSite) -> None:
    answer = await site.ask("POST", "/api/v1/statements", b"{}", token=site.token(Scope.FOOTAGE))
    assert (answer.status, answer.code) == (403, "not-allowed")


async def test_a_station_views_no_footage(stored: CollectorSite) -> None:
    answer = await stored.get(ORIGINAL, who=STATION)
    assert (answer.status, answer.code) == (403, "not-allowed")


async def test_statements_are_answered_with_a_signed_admission(site: CollectorSite) -> None:
    envelopes = [sign_statement(INVENTORY, STATION_SEED), sign_statement(CLIP, b"?" * 32)]
    answer = await site.ask("POST", "/api/v1/statements", body_of(*envelopes), who=STATION)
    assert answer.headers["Content-Type"] == "application/vnd.dsse.envelope.v1+json"
    admission = open_admission(answer.body, COLLECTOR_KEY)
    assert admission.station == STATION
    assert [(result.index, result.code) for result in admission.results] == [
        (2, None),
        (None, "not-enrolled"),
    ]
    assert admission.checkpoint is not None
    assert open_checkpoint(admission.checkpoint, LOG_KEY.verifier).size == 3


async def test_as_many_statements_as_an_admission_can_answer(site: CollectorSite) -> None:
    envelopes = [sign_statement(inventory(n), STATION_SEED) for n in range(MAX_RESULTS + 1)]
    answer = await site.ask("POST", "/api/v1/statements", body_of(*envelopes[:-1]), who=STATION)
    assert len(open_admission(answer.body, COLLECTOR_KEY).results) == MAX_RESULTS
    answer = await site.ask("POST", "/api/v1/statements", body_of(*envelopes), who=STATION)
    assert (answer.status, answer.code) == (400, "malformed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"envelopes":[]}',
        b'{"envelopes":{}}',
        b'{"envelopes":[1]}',
        b'{"envelopes":[{}]}',
        b'{"envelopes":[],"envelopes":[]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
async def test_malformed_bodies_are_refused(site: CollectorSite, body: bytes) -> None:
    answer = await site.ask("POST", "/api/v1/statements", body, who=STATION)
    assert answer.status in (400, 413)
    assert answer.problem["retryable"] is False


async def test_a_body_beyond_the_limit_is_refused(site: CollectorSite) -> None:
    answer = await site.ask("POST", "/api/v1/statements", b" " * (MAX_MESSAGE_BYTES + 1), who=STATION)
    assert answer.status == 413


async def test_while_the_log_cannot_be_written_the_answer_is_try_again(world: World) -> None:
    async with serving(world, max_wait_s=0.05) as site:
        world.files.dark = True
        body = body_of(sign_statement(INVENTORY, STATION_SEED))
        for _ in range(2):
            answer = await site.ask("POST", "/api/v1/statements", body, who=STATION)
            assert (answer.status, answer.problem["retryable"]) == (503, True)
        health = await site.get("/healthz")
        assert health.status == 503
        assert json.loads(health.body)["parts"]["log"] is False
        world.files.dark = False


async def test_a_receipt_is_pending_and_then_verifiable(site: CollectorSite) -> None:
    path = f"/api/v1/receipts/{CLIP_ID}"
    assert (await site.get(path, who=STATION)).code == "statement-unknown"
    await site.lab.admit(INVENTORY, CLIP)
    pending = await site.get(path, who=STATION)
    assert (pending.status, pending.code, pending.problem["retryable"]) == (404, "receipt-pending", True)
    await site.lab.upload(CONTENT)
    await site.lab.stored(CLIP_ID)
    answer = await site.get(path, who=STATION)
    assert (answer.status, answer.headers["Content-Type"]) == (200, RECEIPT_TYPE)
    assert verify_receipt(Receipt.from_bytes(answer.body), LOG_KEY.verifier).promise == CLIP


async def test_another_agencys_receipts_are_unknown(world: World) -> None:
    async with serving(world) as site:
        await site.lab.voice.say(enrolled(b"z" * 32, name="station-9", agency=FOREIGN))
        site.keys["station-9"] = ed25519.key_id(ed25519.public_from_seed(b"z" * 32))
        await site.lab.admit(INVENTORY, CLIP)
        path = f"/api/v1/receipts/{CLIP_ID}"
        for _ in ("pending", "stored"):
            answer = await site.get(path, who="station-9")
            assert (answer.status, answer.code) == (404, "statement-unknown")
            await site.lab.upload(CONTENT)
            await site.lab.stored(CLIP_ID)


@pytest.mark.parametrize("name", ["x", "sha256:", "sha256:" + "A" * 64, "sha1:" + "0" * 40, "%2e%2e"])
async def test_a_receipt_has_a_statement_id(site: CollectorSite, name: str) -> None:
    assert (await site.get(f"/api/v1/receipts/{name}", who=STATION)).status == 400


async def test_health_needs_the_log_and_not_the_broker(site: CollectorSite) -> None:
    answer = await site.get("/healthz")
    assert (answer.status, json.loads(answer.body)) == (
        200,
        {"status": "ok", "parts": {"log": True, "broker": False}},
    )


async def test_metrics_are_prometheus_text(site: CollectorSite) -> None:
    answer = await site.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"zhilu_log_entries 2.0" in answer.body


async def test_unknown_places_are_problems_too(site: CollectorSite) -> None:
    answer = await site.get("/api/v1/nothing")
    assert (answer.status, answer.code) == (404, "not-found")
    answer = await site.ask("DELETE", "/log/checkpoint")
    assert (answer.status, answer.code) == (405, "method-not-allowed")


async def test_receipts_are_asked_for_together(site: CollectorSite) -> None:
    await store_clip(site)
    unknown = Digest.of(b"nobody said so")
    body = json.dumps({"statements": [str(CLIP_ID), str(unknown)]}).encode()
    answer = await site.ask("POST", "/api/v1/receipts", body, who=STATION)
    assert answer.status == 200
    found = json.loads(answer.body)
    assert (found["pending"], found["unknown"]) == ([], [str(unknown)])
    alone = await site.get(f"/api/v1/receipts/{CLIP_ID}", who=STATION)
    assert found["receipts"] == {str(CLIP_ID): json.loads(alone.body)}


@pytest.mark.parametrize(
    "asked", [None, {}, [1], ["sha256:0"], [str(Digest.of(b"%d" % n)) for n in range(257)]]
)
async def test_a_question_for_receipts_has_its_form(site: CollectorSite, asked: object) -> None:
    body = json.dumps({"statements": asked}).encode()
    answer = await site.ask("POST", "/api/v1/receipts", body, who=STATION)
    assert (answer.status, answer.code) == (400, "malformed")
