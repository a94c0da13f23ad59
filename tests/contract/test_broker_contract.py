"""Do the broker in memory and a real Mosquitto behave alike towards both sides?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

import agent.broker.errors as agent_errors
import agent.broker.port as agent_port
import collector.broker.errors as collector_errors
import collector.broker.port as collector_port
from agent.broker.port import Presence
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.topics import Channel, Topic
from tests.support.memory_broker import MemoryBroker
from tests.support.mosquitto import mosquitto_world, needs_mosquitto, presence_of

Bus = agent_port.Broker | collector_port.Broker
Message = agent_port.Message | collector_port.Message
PATIENCE_S = 20


class World(Protocol):
    def station(self, name: str, presence: Presence) -> agent_port.Broker: ...
    def collector(self) -> collector_port.Broker: ...


@pytest.fixture(params=["memory", pytest.param("mosquitto", marks=needs_mosquitto)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryBroker()
    else:
        async with mosquitto_world(tmp_path) as real:
            yield real


@pytest.fixture
async def running() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def started(stack: AsyncExitStack, bus: Bus) -> None:
    await bus.start()
    stack.push_async_callback(bus.stop)
    async with asyncio.timeout(PATIENCE_S):
        await bus.wait_connected()


async def take(bus: Bus, count: int = 1) -> list[Message]:
    taken: list[Message] = []
    async with asyncio.timeout(PATIENCE_S):
        async for message in bus.messages():
            taken.append(message)
            if len(taken) == count:
                return taken
    raise AssertionError("the messages ended early")


async def take_statements(bus: Bus, count: int = 1, *, ack: bool = True) -> list[bytes]:
    """Payloads of the next statements; presence in between is acknowledged and passed over."""
    payloads: list[bytes] = []
    while len(payloads) < count:
        (message,) = await take(bus)
        if message.topic.endswith("/status"):
            message.ack()
            continue
        payloads.append(message.payload)
        if ack:
            message.ack()
    return payloads


def topic(station: str, channel: Channel, agency: str = "jing-an") -> str:
    return str(Topic(agency=agency, station=station, channel=channel))


async def test_a_statement_reaches_the_collector_and_an_admission_the_station(
    world: World, running: AsyncExitStack
) -> None:
    collector, station = world.collector(), world.station("dock-1", presence_of("dock-1"))
    await started(running, collector)
    await started(running, station)
    await station.publish(topic("dock-1", Channel.STATEMENTS), b"statement")
    assert await take_statements(collector) == [b"statement"]
    await collector.publish(topic("dock-1", Channel.ADMISSIONS), b"admission")
    (admission,) = await take(station)
    assert (admission.topic, admission.payload) == (topic("dock-1", Channel.ADMISSIONS), b"admission")


async def test_what_was_not_acknowledged_comes_again_over_a_new_connection(
    world: World, running: AsyncExitStack
) -> None:
    station = world.station("dock-1", presence_of("dock-1"))
    first = world.collector()
    await started(running, first)
    await started(running, station)
    await station.publish(topic("dock-1", Channel.STATEMENTS), b"keep me")
    assert await take_statements(first, ack=False) == [b"keep me"]
    await first.stop()
    second = world.collector()
    await started(running, second)
    assert await take_statements(second) == [b"keep me"]


async def test_what_was_acknowledged_does_not_come_again(world: World, running: AsyncExitStack) -> None:
    station = world.station("dock-1", presence_of("dock-1"))
    first = world.collector()
    await started(running, first)
    await started(running, station)
    await station.publish(topic("dock-1", Channel.STATEMENTS), b"done")
    assert await take_statements(first) == [b"done"]
    await first.stop()
    await station.publish(topic("dock-1", Channel.STATEMENTS), b"next")
    second = world.collector()
    await started(running, second)
    assert await take_statements(second) == [b"next"]


async def test_an_acknowledgement_that_comes_after_the_connection_was_replaced_acknowledges_nothing(
    world: World, running: AsyncExitStack
) -> None:
    station = world.station("dock-1", presence_of("dock-1"))
    collector = world.collector()
    await started(running, collector)
    await started(running, station)
    await station.stop()
    await collector.publish(topic("dock-1", Channel.RECEIPTS), b"receipt")
    again = world.station("dock-1", presence_of("dock-1"))
    await started(running, again)
    (stale,) = await take(again)
    await again.stop()
    stale.ack()
    third = world.station("dock-1", presence_of("dock-1"))
    await started(running, third)
    (message,) = await take(third)
    assert message.payload == b"receipt"


async def test_messages_wait_for_whoever_is_away(world: World, running: AsyncExitStack) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    await started(running, collector)
    await started(running, station)
    await collector.stop()
    for number in range(30):
        await station.publish(topic("dock-1", Channel.STATEMENTS), b"%d" % number)
    await station.stop()
    back = world.collector()
    await started(running, back)
    assert await take_statements(back, 30) == [b"%d" % number for number in range(30)]
    await back.publish(topic("dock-1", Channel.COMMANDS), b"command")
    station_back = world.station("dock-1", presence_of("dock-1"))
    await started(running, station_back)
    (message,) = await take(station_back)
    assert message.payload == b"command"


@pytest.mark.parametrize(
    "foreign",
    [
        "zhilu/v1/jing-an/dock-2/statements",
        "zhilu/v1/jing-an/dock-1/admissions",
        "zhilu/v1/jing-an/_collector/statements",
        "zhilu/v1/jing-an/dock-1/other",
        "zhilu/v2/jing-an/dock-1/statements",
        "elsewhere",
    ],
)
async def test_a_station_may_not_speak_under_another_name_or_channel(
    world: World, running: AsyncExitStack, foreign: str
) -> None:
    station = world.station("dock-1", presence_of("dock-1"))
    await started(running, station)
    with pytest.raises(agent_errors.PublishRefusedError) as refused:
        await station.publish(foreign, b"not mine")
    assert refused.value.reason_code == 0x87


async def test_one_station_may_speak_for_several_agencies(world: World, running: AsyncExitStack) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    await started(running, collector)
    await started(running, station)
    await station.publish(topic("dock-1", Channel.STATEMENTS, "jing-an"), b"one")
    await station.publish(topic("dock-1", Channel.STATEMENTS, "pu-tuo"), b"two")
    assert await take_statements(collector, 2) == [b"one", b"two"]


async def test_a_station_hears_nothing_said_to_another(world: World, running: AsyncExitStack) -> None:
    collector = world.collector()
    one, two = world.station("dock-1", presence_of("dock-1")), world.station("dock-2", presence_of("dock-2"))
    for bus in (collector, one, two):
        await started(running, bus)
    await collector.publish(topic("dock-1", Channel.ADMISSIONS), b"for one")
    await collector.publish(topic("dock-2", Channel.ADMISSIONS), b"for two")
    (first,), (second,) = await take(one), await take(two)
    assert (first.payload, second.payload) == (b"for one", b"for two")


async def test_presence_is_retained_online_and_offline(world: World, running: AsyncExitStack) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    await started(running, station)
    await started(running, collector)
    (online,) = await take(collector)
    online.ack()
    assert (online.topic, online.payload) == (topic("dock-1", Channel.STATUS), b'{"state":"online"}')
    await station.stop()
    (offline,) = await take(collector)
    assert offline.payload == b'{"state":"offline"}'


async def test_publishing_without_a_connection_is_refused_at_once(world: World) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    assert not station.connected
    with pytest.raises(agent_errors.BrokerUnavailableError):
        await station.publish(topic("dock-1", Channel.STATEMENTS), b"early")
    with pytest.raises(collector_errors.BrokerUnavailableError):
        await collector.publish(topic("dock-1", Channel.ADMISSIONS), b"early")


async def test_the_largest_message_passes_and_one_byte_more_is_not_sent(
    world: World, running: AsyncExitStack
) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    await started(running, collector)
    await started(running, station)
    with pytest.raises(agent_errors.MessageTooLargeError):
        await station.publish(topic("dock-1", Channel.STATEMENTS), b"x" * (MAX_MESSAGE_BYTES + 1))
    await station.publish(topic("dock-1", Channel.STATEMENTS), b"x" * MAX_MESSAGE_BYTES)
    (largest,) = await take_statements(collector)
    assert len(largest) == MAX_MESSAGE_BYTES


async def test_a_hundred_messages_can_be_open_and_all_publishers_hear_back(
    world: World, running: AsyncExitStack
) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    await started(running, collector)
    await started(running, station)
    statements = topic("dock-1", Channel.STATEMENTS)
    await asyncio.gather(*(station.publish(statements, b"%d" % number) for number in range(100)))
    payloads = await take_statements(collector, 100, ack=False)
    assert set(payloads) == {b"%d" % number for number in range(100)}


async def test_the_messages_end_when_the_bus_stops(world: World, running: AsyncExitStack) -> None:
    collector = world.collector()
    await started(running, collector)
    await collector.stop()
    async with asyncio.timeout(PATIENCE_S):
        assert [message async for message in collector.messages()] == []
