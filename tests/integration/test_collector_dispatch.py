"""Statements by broker: answered before they are acknowledged, never lost, and no message stops the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.broker.port import Presence
from collector.dispatch import MAX_STATIONS, MAX_STATUS_BYTES, Dispatcher
from protocol import ed25519
from protocol.admission import Admission, open_admission
from protocol.ids import COLLECTOR
from protocol.receipt import Receipt
from protocol.statements import sign_statement, statement_id
from protocol.topics import Channel, Topic
from protocol.verify import verify_receipt
from tests.support.collector_lab import LOG_KEY, Lab, World, found, running
from tests.support.evidence import AGENCY, COLLECTOR_SEED, STATION, STATION_SEED, inventory, manifest
from tests.support.memory_broker import MemoryBroker, MemoryBus

INVENTORY = sign_statement(inventory(), STATION_SEED)
CLIP = sign_statement(manifest(b"clip", statement_id(INVENTORY)), STATION_SEED)


def topic(channel: Channel, *, agency: str = AGENCY, station: str = STATION) -> str:
    return str(Topic(agency=agency, station=station, channel=channel))


@dataclass
class Line:
    """Both ends of the broker, and what the station heard."""

    lab: Lab
    broker: MemoryBroker
    station: MemoryBus
    dispatcher: Dispatcher
    heard: list[tuple[Channel, bytes]]

    async def say(self, payload: bytes, channel: Channel = Channel.STATEMENTS, agency: str = AGENCY) -> None:
        await self.station.publish(topic(channel, agency=agency), payload)

    def unacknowledged(self) -> int:
        return len(self.broker._sessions[COLLECTOR].unacknowledged)

    def admissions(self) -> list[Admission]:
        key = ed25519.public_from_seed(COLLECTOR_SEED)
        return [open_admission(payload, key) for channel, payload in self.heard if channel == "admissions"]

    def receipts(self) -> list[Receipt]:
        return [Receipt.from_bytes(payload) for channel, payload in self.heard if channel == "receipts"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def dispatching(world: World, *, max_wait_s: float = 30) -> AsyncIterator[Line]:
    broker = MemoryBroker()
    presence = Presence(
        topic=topic(Channel.STATUS), online=b'{"v":1,"state":"online"}', offline=b'{"v":1,"state":"offline"}'
    )
    station, bus = broker.station(STATION, presence), broker.collector()
    heard: list[tuple[Channel, bytes]] = []

    async def listen() -> None:
        async for message in station.messages():
            heard.append((Topic.parse(message.topic).channel, message.payload))
            message.ack()

    async with running(world, max_wait_s=max_wait_s) as lab:
        dispatcher = Dispatcher(broker=bus, intake=lab.intake, receipts=lab.receipts, retry_s=0.01)
        lab.storer._announce = dispatcher.announce
        await bus.start()
        await station.start()
        tasks = [asyncio.create_task(dispatcher.run()), asyncio.create_task(listen())]
        try:
            yield Line(lab, broker, station, dispatcher, heard)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(folder=tmp_path)
    await found(world)
    return world


@pytest.fixture
async def line(world: World) -> AsyncIterator[Line]:
    async with dispatching(world) as line:
        yield line


async def test_a_statement_is_answered_and_then_acknowledged(line: Line) -> None:
    await line.say(INVENTORY.to_bytes())
    await until(lambda: bool(line.heard) and not line.unacknowledged())
    (admission,) = line.admissions()
    assert admission.station == STATION
    assert [(result.statement, result.index) for result in admission.results] == [
        (statement_id(INVENTORY), 2)
    ]


async def test_a_message_that_comes_twice_is_answered_twice_and_committed_once(line: Line) -> None:
    line.broker.duplicate_next()
    await line.say(INVENTORY.to_bytes())
    await until(lambda: len(line.heard) == 2 and not line.unacknowledged())
    assert [admission.results[0].index for admission in line.admissions()] == [2, 2]


async def test_receipts_are_pushed(line: Line) -> None:
    await line.say(INVENTORY.to_bytes())
    await line.say(CLIP.to_bytes())
    await line.lab.upload(b"clip")
    await until(lambda: bool(line.receipts()))
    assert verify_receipt(line.receipts()[0], LOG_KEY.verifier).stored.statement == statement_id(CLIP)


async def test_storing_does_not_wait_for_a_silent_broker(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    silence = asyncio.Event()

    async def publish(*_args: object, **_named: object) -> None:
        await silence.wait()

    monkeypatch.setattr(line.dispatcher._broker, "publish", publish)
    await line.lab.admit(inventory())
    for number in range(40):
        content = f"clip {number}".encode()
        await line.lab.admit(manifest(content, statement_id(INVENTORY), 100 + number))
        await line.lab.upload(content)
    await line.lab.idle()
    entries = await asyncio.to_thread(line.lab.world.check_log)
    assert [entry.kind for entry in entries].count("stored") == 40


async def test_while_the_log_cannot_be_written_messages_wait(world: World) -> None:
    async with dispatching(world, max_wait_s=0.05) as line:
        world.files.dark = True
        await line.say(INVENTORY.to_bytes())
        await until(lambda: not line.lab.sequencer.works)
        assert line.unacknowledged()
        assert not line.heard
        world.files.dark = False
        await until(lambda: bool(line.heard) and not line.unacknowledged())
        assert line.admissions()[0].results[0].index == 2


async def test_a_message_under_way_when_the_collector_stops_comes_again(world: World) -> None:
    async with dispatching(world, max_wait_s=0.05) as line:
        world.files.dark = True
        await line.say(INVENTORY.to_bytes())
        await until(lambda: not line.lab.sequencer.works)
    assert line.unacknowledged()
    world.files.dark = False


async def test_a_lost_line_costs_the_answer_and_not_the_statement(line: Line) -> None:
    line.lab.world.files.plan(None)
    await line.say(INVENTORY.to_bytes())
    await until(lambda: bool(line.lab.world.files.calls))  # its payload is being written
    line.broker.cut(COLLECTOR)
    await until(lambda: line.lab.log.checkpoint.size == 3)
    line.broker.restore(COLLECTOR)
    await until(lambda: bool(line.heard) and not line.unacknowledged())
    assert {admission.results[0].index for admission in line.admissions()} == {2}


async def test_refusals_are_answered_too(line: Line) -> None:
    await line.say(sign_statement(inventory(), b"?" * 32).to_bytes())
    await until(lambda: bool(line.heard) and not line.unacknowledged())
    assert line.admissions()[0].results[0].code == "not-enrolled"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 50_000,
        b'{"payload":"","payloadType":"x","signatures":[]}',
        b'{"payload":"AA==","payloadType":"x","signatures":[{"keyid":"k","sig":"AA=="}]}',
        b"x" * 70_000,
    ],
)
async def test_rubbish_is_acknowledged_and_the_next_statement_answered(line: Line, payload: bytes) -> None:
    await line.say(payload)
    await line.say(INVENTORY.to_bytes())
    await until(lambda: bool(line.heard) and not line.unacknowledged())
    assert len(line.admissions()) == 1


async def test_a_message_nobody_foresaw_does_not_stop_the_collector(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: object) -> None:
        raise RuntimeError("nobody foresaw this")

    with monkeypatch.context() as patch:
        patch.setattr(line.lab.intake, "answer", crash)
        await line.say(INVENTORY.to_bytes())
        await until(lambda: not line.unacknowledged())
    await line.say(INVENTORY.to_bytes())
    await until(lambda: bool(line.heard))


async def test_the_last_status_of_each_station_is_kept(line: Line) -> None:
    await until(lambda: line.dispatcher.stations == {(AGENCY, STATION): {"v": 1, "state": "online"}})
    line.broker.cut(STATION)
    await until(lambda: line.dispatcher.stations == {(AGENCY, STATION): {"v": 1, "state": "offline"}})


async def test_an_emptied_status_is_forgotten(line: Line) -> None:
    await until(lambda: bool(line.dispatcher.stations))
    await line.say(b"", Channel.STATUS)
    await until(lambda: not line.dispatcher.stations)


async def test_an_unreadable_status_changes_nothing(line: Line) -> None:
    await until(lambda: bool(line.dispatcher.stations))
    before = dict(line.dispatcher.stations)
    for payload in (b"{", b'"' + b"x" * MAX_STATUS_BYTES + b'"'):
        await line.say(payload, Channel.STATUS)
    await until(lambda: not line.unacknowledged())
    assert line.dispatcher.stations == before


async def test_statuses_of_invented_agencies_do_not_fill_the_memory(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.dispatch.MAX_STATIONS", 50)
    for number in range(120):
        await line.say(b"1", Channel.STATUS, agency=f"agency-{number}")
    await until(lambda: not line.unacknowledged())
    assert len(line.dispatcher.stations) == 50 < MAX_STATIONS


async def test_replies_are_acknowledged_and_left_alone(line: Line) -> None:
    await line.say(b"whatever", Channel.REPLIES)
    await until(lambda: not line.unacknowledged())
    assert not line.heard
