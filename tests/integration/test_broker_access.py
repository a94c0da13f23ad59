"""Who may use the broker when keys come and go: a real Mosquitto, and the rule that tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent.broker.bus import MqttBus
from agent.broker.errors import BrokerError
from collector.broker.access import BrokerAccess
from collector.broker.mosquitto_config import StationAccess, render_access
from protocol.enrolment import certificate_name
from protocol.ids import COLLECTOR
from protocol.statements import Statement
from protocol.topics import Channel, Topic
from tests.support.catalogues import apply_all, catalogue_in
from tests.support.mosquitto import MosquittoWorld, access_of, mosquitto_world, needs_mosquitto, presence_of
from tests.support.statements import Log, enrolled, key_id, revoked

PATIENCE_S = 20
OWN = str(Topic(agency="jing-an", station="dock-1", channel=Channel.STATEMENTS))
FOREIGN = str(Topic(agency="xu-hui", station="dock-1", channel=Channel.STATEMENTS))
ADMISSIONS = str(Topic(agency="jing-an", station="dock-1", channel=Channel.ADMISSIONS))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MosquittoWorld]:
    async with mosquitto_world(tmp_path) as running:
        yield running


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as running:
        yield running


async def connected(stack: AsyncExitStack, world: MosquittoWorld) -> MqttBus:
    station = world.station("dock-1", presence_of("dock-1"))
    await station.start()
    stack.push_async_callback(station.stop)
    async with asyncio.timeout(PATIENCE_S):
        await station.wait_connected()
    return station


async def answer(station: MqttBus, topic: str) -> str:
    """``taken``, or the code of the refusal."""
    try:
        await station.publish(topic, b"may I?")
    except BrokerError as error:
        return error.code
    return "taken"


async def note(station: MqttBus, heard: list[bytes]) -> None:
    async for message in station.messages():
        heard += [message.payload]


async def until_refused(station: MqttBus, topic: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await answer(station, topic) != "publish-refused":
            await asyncio.sleep(0.02)


@needs_mosquitto
async def test_a_station_speaks_only_for_agencies_it_is_enrolled_for(
    world: MosquittoWorld, stack: AsyncExitStack
) -> None:
    station = await connected(stack, world)
    assert await answer(station, OWN) == "taken"
    assert await answer(station, FOREIGN) == "publish-refused"


@needs_mosquitto
async def test_a_key_that_is_revoked_says_and_hears_nothing_more_over_an_open_connection(
    world: MosquittoWorld, stack: AsyncExitStack
) -> None:
    station, collector = await connected(stack, world), world.collector()
    await collector.start()
    stack.push_async_callback(collector.stop)
    async with asyncio.timeout(PATIENCE_S):
        await collector.wait_connected()
    await world.broker.give_access([access_of("dock-2")])
    await until_refused(station, OWN)
    heard: list[bytes] = []
    listening = asyncio.create_task(note(station, heard))
    await collector.publish(ADMISSIONS, b"for whoever is enrolled as dock-1")
    assert (
        await answer(station, OWN) == "publish-refused"
    )  # an answer behind the message: it would have come before
    listening.cancel()
    assert heard == []


@needs_mosquitto
async def test_the_certificate_of_a_replaced_key_does_not_speak_for_the_new_one(
    world: MosquittoWorld, stack: AsyncExitStack
) -> None:
    """Same name, same agencies, another key."""
    station = await connected(stack, world)
    other = StationAccess(certificate="f" * 64, station="dock-1", agencies=frozenset({"jing-an"}))
    await world.broker.give_access([other])
    await until_refused(station, OWN)


@needs_mosquitto
async def test_a_station_enrolled_while_the_broker_works_gets_in(
    world: MosquittoWorld, stack: AsyncExitStack
) -> None:
    await world.broker.give_access([])
    await world.broker.give_access([access_of("dock-1")])
    station = await connected(stack, world)
    async with asyncio.timeout(PATIENCE_S):
        while await answer(station, OWN) != "taken":
            await asyncio.sleep(0.02)


def test_nobody_enrolled_is_nobody_but_the_collector() -> None:
    assert render_access(()) == "user _collector\ntopic readwrite zhilu/v1/#\n"


class Broker:
    """Notes who was let in; may fail."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[Sequence[StationAccess]] = asyncio.Queue()
        self.failures = 0

    async def give(self, stations: Sequence[StationAccess]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no space left")
        self.given.put_nowait(stations)


async def test_what_the_log_says_of_keys_reaches_the_broker(tmp_path: Path) -> None:
    log, broker = Log(), Broker()
    log.add(enrolled(COLLECTOR), enrolled("dock-1"))
    with catalogue_in(tmp_path) as catalogue:
        apply_all(catalogue, log)
        access = BrokerAccess(catalogue, broker.give, retry_s=0.01)
        task = asyncio.create_task(access.run())
        async with asyncio.timeout(PATIENCE_S):
            statements: list[tuple[Statement, list[tuple[str, set[str]]]]] = [
                (enrolled("dock-1", "beta"), [("dock-1", {"alpha", "beta"})]),
                (revoked("dock-1", "alpha"), [("dock-1", {"beta"})]),
                (enrolled("dock-1", "alpha", key="second"), [("second", {"alpha"})]),
                (revoked("dock-1", "alpha", key="second"), [("dock-1", {"beta"})]),
            ]
            for statement, expected in statements:
                broker.failures = 2
                log.add(statement)
                apply_all(catalogue, log)
                access.committed(log.entries[-1:])
                given = await broker.given.get()
                assert [(one.certificate, one.station, set(one.agencies)) for one in given] == [
                    (certificate_name(key_id(key)), "dock-1", agencies) for key, agencies in expected
                ]
        task.cancel()
