"""Statements at the sequencer: admitted once, refused in words, recorded once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.core.admission import Candidate, Known, Refuse
from collector.objects import ObjectClass
from protocol import ed25519
from protocol.admission import open_admission
from protocol.dsse import ADMISSION_TYPE, Envelope
from protocol.statements import encode, sign_statement, statement_id
from tests.support.collector_lab import (
    INVENTORY,
    INVENTORY_ID,
    Lab,
    World,
    clip,
    found,
    id_of,
    revocation,
    running,
)
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    NOW,
    STATION_SEED,
    enrolled,
    header,
    inventory,
    manifest,
    stored,
)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Lab]:
    async with running(world) as lab:
        yield lab


async def test_a_statement_is_admitted_once_however_often_it_comes(lab: Lab, world: World) -> None:
    twice = await lab.admit(INVENTORY, INVENTORY)
    again = await lab.admit(INVENTORY)
    together = await asyncio.gather(*(lab.admit(INVENTORY) for _ in range(20)))
    assert {result.index for results in [twice, again, *together] for result in results} == {2}
    assert world.kinds().count("inventory") == 1


async def test_the_checkpoint_of_an_admission_covers_what_it_admits(lab: Lab) -> None:
    answers = await asyncio.gather(
        *(lab.answer(sign_statement(inventory(n), STATION_SEED)) for n in range(50))
    )
    for answer, checkpoint in zip(answers, lab.world.published[-50:], strict=True):
        assert answer.results[0].index is not None
        assert checkpoint.size > answer.results[0].index


async def test_one_bad_statement_does_not_spoil_the_others(lab: Lab) -> None:
    bad = [
        sign_statement(clip(), b"?" * 32),
        sign_statement(manifest(b"x", INVENTORY_ID, agency="others"), STATION_SEED),
        Envelope.sign("text/plain", b"hello", STATION_SEED),
        Envelope.sign(ADMISSION_TYPE, encode(clip()), STATION_SEED),
    ]
    answer = await lab.answer(*bad, sign_statement(INVENTORY, STATION_SEED))
    assert [result.code for result in answer.results] == [
        "not-enrolled",
        "agency-not-allowed",
        "not-enrolled",
        "not-enrolled",
        None,
    ]
    assert [result.statement for result in answer.results[:-1]] == [
        statement_id(envelope) for envelope in bad
    ]


async def test_refusals_only_have_no_checkpoint(lab: Lab) -> None:
    answer = await lab.answer(sign_statement(clip(), b"?" * 32))
    assert answer.checkpoint is None


async def test_authenticated_refusals_are_recorded_once_each(lab: Lab, world: World) -> None:
    foreign = manifest(b"x", INVENTORY_ID, agency="others")
    forged = stored(clip(), INVENTORY_ID)
    for _ in range(3):
        await lab.admit(foreign, forged, replace(forged, header=header(5)))
        await lab.admit(clip(), seed=b"?" * 32)
    entries = world.check_log()
    assert [entry.kind for entry in entries[2:]] == ["custody"] * 3
    payloads = [
        await lab.objects.read(entry.agency, ObjectClass.STATEMENTS, entry.statement) for entry in entries[2:]
    ]
    assert {id_of(foreign).hex in payload.decode() for payload in payloads} == {True, False}


async def test_a_refusal_that_could_not_be_recorded_is_recorded_later(lab: Lab, world: World) -> None:
    foreign = manifest(b"x", INVENTORY_ID, agency="others")
    world.files.dark = True
    assert (await lab.admit(foreign))[0].code == "agency-not-allowed"
    world.files.dark = False
    assert (await lab.admit(foreign))[0].code == "agency-not-allowed"
    assert world.kinds().count("custody") == 1


async def test_statements_behind_a_revocation_are_refused_even_in_the_same_moment(lab: Lab) -> None:
    revoking = sign_statement(revocation(enrolled(STATION_SEED)), COLLECTOR_SEED)
    late = [sign_statement(inventory(n), STATION_SEED) for n in range(10, 20)]
    decisions = await asyncio.gather(
        *(lab.sequencer.submit(Candidate.read(envelope)) for envelope in [revoking, *late])
    )
    assert isinstance(decisions[0], Known)
    assert all(isinstance(decision, Refuse) for decision in decisions[1:])


async def test_a_repetition_after_revocation_is_still_answered(lab: Lab) -> None:
    before = await lab.admit(INVENTORY)
    await lab.voice.say(revocation(enrolled(STATION_SEED)))
    assert await lab.admit(INVENTORY) == before
    assert (await lab.admit(clip()))[0].code == "key-revoked"


async def test_a_station_with_a_dead_clock_is_admitted(lab: Lab) -> None:
    head = replace(header(77), issued_at=NOW.replace(year=2099))
    assert (await lab.admit(replace(INVENTORY, header=head)))[0].outcome == "admitted"


async def test_forged_stored_never_counts_as_the_collectors(lab: Lab) -> None:
    await lab.admit(INVENTORY, clip())
    await lab.upload(b"clip")
    await lab.stored(id_of(clip()))
    assert (await lab.admit(stored(clip(), id_of(clip()), 900)))[0].outcome == "refused"


async def test_a_neighbour_hands_in_what_another_station_signed_for_their_agency(lab: Lab) -> None:
    signed = sign_statement(INVENTORY, STATION_SEED)

    async def outcome(*agencies: str) -> tuple[str, str | None]:
        answer = await lab.intake.answer("dock-9", [signed], agencies=frozenset(agencies))
        (result,) = open_admission(answer.to_bytes(), ed25519.public_from_seed(COLLECTOR_SEED)).results
        return result.outcome, result.code

    assert await outcome() == ("refused", "agency-not-allowed")
    assert await outcome("others") == ("refused", "agency-not-allowed")
    assert await outcome("others", AGENCY) == ("admitted", None)


async def test_handing_in_lends_no_authority(lab: Lab) -> None:
    """The neighbour's own right to speak for the agency does not make a stranger's key known."""
    answer = await lab.intake.answer(
        "dock-9", [sign_statement(INVENTORY, b"?" * 32)], agencies=frozenset({AGENCY})
    )
    (result,) = open_admission(answer.to_bytes(), ed25519.public_from_seed(COLLECTOR_SEED)).results
    assert (result.outcome, result.code) == ("refused", "not-enrolled")
