"""Does the broker in memory have the bad days it is asked for?"""

from __future__ import annotations

from tests.support.memory_broker import MemoryBroker, MemoryBus
from tests.support.mosquitto import presence_of

STATEMENTS = "zhilu/v1/jing-an/dock-1/statements"
STATUS = "zhilu/v1/jing-an/dock-1/status"


async def both(broker: MemoryBroker) -> tuple[MemoryBus, MemoryBus]:
    collector, station = broker.collector(), broker.station("dock-1", presence_of("dock-1"))
    await collector.start()
    await station.start()
    return collector, station


async def heard(bus: MemoryBus, last: bytes) -> list[bytes]:
    payloads: list[bytes] = []
    async for message in bus.messages():
        message.ack()
        payloads.append(message.payload)
        if message.payload == last:
            break
    return payloads


async def test_messages_are_doubled_on_demand() -> None:
    broker = MemoryBroker()
    collector, station = await both(broker)
    broker.duplicate_next()
    await station.publish(STATEMENTS, b"twice")
    await station.publish(STATEMENTS, b"end")
    assert await heard(collector, b"end") == [b'{"state":"online"}', b"twice", b"twice", b"end"]


async def test_acknowledged_messages_are_lost_on_demand() -> None:
    broker = MemoryBroker()
    collector, station = await both(broker)
    broker.lose_next()
    await station.publish(STATEMENTS, b"lost")
    await station.publish(STATEMENTS, b"end")
    assert await heard(collector, b"end") == [b'{"state":"online"}', b"end"]


async def test_a_cut_line_shows_and_heals() -> None:
    broker = MemoryBroker()
    collector, station = await both(broker)
    broker.cut("dock-1")
    assert not station.connected
    assert await heard(collector, b'{"state":"offline"}') == [b'{"state":"online"}', b'{"state":"offline"}']
    await collector.publish("zhilu/v1/jing-an/dock-1/commands", b"waits")
    broker.restore("dock-1")
    assert station.connected
    assert await heard(station, b"waits") == [b"waits"]
