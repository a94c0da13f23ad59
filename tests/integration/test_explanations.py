"""Findings explained over real HTTP: who may, what is refused, once in the log, and withdrawn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collector.catalogue import CustodyEvent, FindingFilter, RecordedFinding
from collector.core.access import Scope
from collector.core.findings import ClosedBy
from protocol.digest import Digest
from tests.support.collector_lab import INVENTORY, World, found
from tests.support.collector_site import CLIP, FOREIGN, Answer, CollectorSite, serving
from tests.support.evidence import AGENCY, STATION

REASON = "存储卡损坏 the card was broken"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[CollectorSite]:
    """A collector with one finding: a manifest came before its inventory."""
    world = World(folder=tmp_path)
    await found(world)
    async with serving(world) as site:
        await site.lab.admit(CLIP)
        yield site


async def the_finding(site: CollectorSite) -> RecordedFinding:
    await asyncio.to_thread(site.lab.catalogue.catch_up)
    page = await asyncio.to_thread(site.lab.catalogue.findings, FindingFilter(), limit=10)
    (finding,) = page.findings
    return finding


async def say(
    site: CollectorSite, token: str | None, reason: object = REASON, *, withdraw: bool = False
) -> Answer:
    finding = await the_finding(site)
    path = f"/api/v1/findings/{finding.id}/explanation" + ("/withdrawal" if withdraw else "")
    return await site.ask("POST", path, json.dumps({"reason": reason}).encode(), token=token)


def clerk(site: CollectorSite, name: str = "li", agencies: frozenset[str] | None = None) -> str:
    return site.token(Scope.EXPLAIN, Scope.CLIPS, agencies=agencies, name=name)


async def words_in_the_log(site: CollectorSite) -> list[CustodyEvent]:
    finding = await the_finding(site)
    return await asyncio.to_thread(site.lab.catalogue.custody, finding.id, None, limit=100)


async def test_an_explanation_is_said_once_however_often_it_is_sent(site: CollectorSite) -> None:
    token = clerk(site)
    first = await say(site, token)
    assert first.status == 201
    again = await say(site, token)
    assert (again.status, again.body) == (200, first.body)
    answer = json.loads(first.body)
    assert (answer["event"], answer["actor"], answer["reason"]) == ("explained", "li", REASON)

    finding = await the_finding(site)
    assert finding.closed_by is ClosedBy.EXPLANATION
    assert finding.closed_index == answer["log_index"]
    shown = json.loads((await site.get(first.headers["Location"], token=token)).body)
    assert shown["explanation"] == answer
    (said,) = await words_in_the_log(site)
    assert (said.agency, said.item, said.actor) == (AGENCY, finding.id, "li")
    assert said.details["reason"] == REASON


async def test_an_explanation_is_withdrawn_and_both_stay_in_the_log(site: CollectorSite) -> None:
    token = clerk(site)
    assert (await say(site, token, withdraw=True)).code == "finding-not-explained"
    await say(site, token)
    for status in (201, 200):
        assert (await say(site, clerk(site, "wang"), "a mistake", withdraw=True)).status == status
    assert (await the_finding(site)).closed_index is None
    assert (await say(site, token, "another reason")).status == 201
    assert [said.event for said in await words_in_the_log(site)] == [
        "explained",
        "explanation-withdrawn",
        "explained",
    ]


async def test_nobody_talks_over_somebody_else(site: CollectorSite) -> None:
    await say(site, clerk(site))
    refused = await say(site, clerk(site, "wang"))
    assert (refused.status, refused.code) == (409, "finding-explained")


async def test_of_many_at_once_one_is_taken(site: CollectorSite) -> None:
    tokens = [clerk(site, f"clerk {number}") for number in range(8)]
    answers = await asyncio.gather(*(say(site, token) for token in tokens))
    assert sorted(answer.status for answer in answers) == [201, *[409] * 7]
    assert len(await words_in_the_log(site)) == 1


async def test_what_evidence_closed_is_not_explained(site: CollectorSite) -> None:
    token = clerk(site)
    finding = await the_finding(site)
    await site.lab.admit(INVENTORY)
    await asyncio.to_thread(site.lab.catalogue.catch_up)
    answer = await site.ask(
        "POST", f"/api/v1/findings/{finding.id}/explanation", b'{"reason":"late"}', token=token
    )
    assert (answer.status, answer.code) == (409, "finding-closed")


async def test_who_may_not_is_told_why_and_nothing_is_logged(site: CollectorSite) -> None:
    reader = site.token(Scope.CLIPS, Scope.FOOTAGE)
    assert (await say(site, None)).code == "not-authenticated"
    assert (await say(site, reader)).code == "scope-missing"
    assert (await say(site, clerk(site, agencies=frozenset({FOREIGN})))).code == "not-found"
    finding = await the_finding(site)
    path = f"/api/v1/findings/{finding.id}/explanation"
    assert (await site.ask("POST", path, b'{"reason":"x"}', who=STATION)).code == "not-allowed"
    unknown = await site.ask(
        "POST", f"/api/v1/findings/{Digest.of(b'')}/explanation", b'{"reason":"x"}', token=clerk(site)
    )
    assert (unknown.status, unknown.code) == (404, "not-found")
    assert await words_in_the_log(site) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"reason":null}',
        b'{"reason":7}',
        b'{"reason":""}',
        b'{"reason":"  "}',
        b'{"reason":"a\\nb"}',
        b'{"reason":"\\u0000"}',
        b'{"reason":"\\ud800"}',
        b'{"reason":"' + b"x" * 1025 + b'"}',
        b'{"reason":"x","reason":"y"}',
        b'{"reason":"' + b"x" * 100_000 + b'"}',
    ],
)
async def test_a_reason_is_one_line_of_text(site: CollectorSite, body: bytes) -> None:
    finding = await the_finding(site)
    answer = await site.ask("POST", f"/api/v1/findings/{finding.id}/explanation", body, token=clerk(site))
    assert (answer.status, answer.code) in {(400, "malformed"), (413, "limit-exceeded")}
    assert await words_in_the_log(site) == []
