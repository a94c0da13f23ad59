"""Does the managed broker come up, come back, end with us, and keep what it was given?"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.broker.bus import RECEIVE_MAXIMUM
from collector.broker.errors import MosquittoMissingError, MosquittoStartError
from collector.broker.mosquitto import ManagedMosquitto
from collector.broker.mosquitto_config import render_config
from collector.broker.port import Message
from protocol.topics import Channel, Topic
from tests.support.mosquitto import MosquittoWorld, mosquitto_world, needs_mosquitto, presence_of

pytestmark = needs_mosquitto

STATEMENTS = str(Topic(agency="jing-an", station="dock-1", channel=Channel.STATEMENTS))
PATIENCE_S = 30

PARENT = """
import asyncio, sys
from pathlib import Path
from tests.support.mosquitto import MosquittoWorld

async def main():
    world = MosquittoWorld(Path(sys.argv[1]))
    await world.broker.start()
    print(world.broker.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MosquittoWorld]:
    async with mosquitto_world(tmp_path) as running:
        yield running


def pid_of(world: MosquittoWorld) -> int:
    pid = world.broker.pid
    assert pid is not None
    return pid


async def wait_for_end(pidfd: int) -> None:
    def wait() -> bool:
        return bool(select.select([pidfd], [], [], PATIENCE_S)[0])

    assert await asyncio.to_thread(wait), "the process is still there"


async def test_a_killed_broker_is_started_again_and_both_sides_reconnect(world: MosquittoWorld) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    await collector.start()
    await station.start()
    async with asyncio.timeout(PATIENCE_S):
        await collector.wait_connected()
        await station.wait_connected()
        before = pid_of(world)
        os.kill(before, signal.SIGKILL)
        while station.connected or collector.connected:
            await asyncio.sleep(0)
        await station.wait_connected()
        await collector.wait_connected()
        assert pid_of(world) != before
        await station.publish(STATEMENTS, b"after the crash")
        async for message in collector.messages():
            message.ack()
            if message.topic == STATEMENTS:
                assert message.payload == b"after the crash"
                break
    await station.stop()
    await collector.stop()


async def test_a_publish_under_way_when_the_broker_dies_is_reported(world: MosquittoWorld) -> None:
    station = world.station("dock-1", presence_of("dock-1"))
    await station.start()
    async with asyncio.timeout(PATIENCE_S):
        await station.wait_connected()
        os.kill(pid_of(world), signal.SIGSTOP)
        publish = asyncio.create_task(station.publish(STATEMENTS, b"lost?"), name="publish")
        await asyncio.sleep(0)
        os.kill(pid_of(world), signal.SIGKILL)
        with pytest.raises(Exception, match="connection lost") as failure:
            await publish
    assert getattr(failure.value, "retryable", False)
    await station.stop()


async def test_what_a_stopped_broker_held_is_there_when_it_starts_again(world: MosquittoWorld) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    async with asyncio.timeout(PATIENCE_S):
        await collector.start()
        await collector.wait_connected()
        await collector.stop()
        await station.start()
        await station.wait_connected()
        await station.publish(STATEMENTS, b"held")
        await station.stop()
        await world.broker.stop()
        await world.broker.start()
        back = world.collector()
        await back.start()
        async for message in back.messages():
            message.ack()
            if message.topic == STATEMENTS:
                assert message.payload == b"held"
                break
        await back.stop()


async def test_the_broker_dies_with_its_collector(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        pidfd = os.pidfd_open(int(await parent.stdout.readline()))
        try:
            parent.kill()
            await parent.communicate()
            await wait_for_end(pidfd)
        finally:
            os.close(pidfd)


async def test_a_stopped_broker_is_gone_and_can_be_stopped_again(world: MosquittoWorld) -> None:
    pidfd = os.pidfd_open(pid_of(world))
    try:
        await world.broker.stop()
        await wait_for_end(pidfd)
    finally:
        os.close(pidfd)
    assert world.broker.pid is None
    await world.broker.stop()


async def test_a_taken_port_is_an_error_with_the_brokers_own_words(
    world: MosquittoWorld, tmp_path: Path
) -> None:
    second = ManagedMosquitto(
        replace(world.settings, folder=tmp_path / "second"), probe=world.trust.client_context()
    )
    with pytest.raises(MosquittoStartError, match="Address already in use"):
        await second.start()
    assert second.pid is None


async def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    world = MosquittoWorld(tmp_path)
    settings = replace(world.settings, program="no-such-mosquitto")
    with pytest.raises(MosquittoMissingError, match="apt-get install mosquitto"):
        await ManagedMosquitto(settings, probe=world.trust.client_context()).start()


def test_a_line_break_cannot_smuggle_a_setting_in(tmp_path: Path) -> None:
    settings = MosquittoWorld(tmp_path).settings
    with pytest.raises(ValueError, match="line break"):
        replace(settings, host="127.0.0.1\nallow_anonymous true")
    assert render_config(settings, user="zhilu").count("allow_anonymous") == 1


async def test_tls_1_2_is_refused(world: MosquittoWorld) -> None:
    context = world.trust.client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", world.settings.port, ssl=context)


async def test_the_broker_holds_back_what_the_collector_has_not_acknowledged(world: MosquittoWorld) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    taken: list[Message] = []

    async def take() -> None:
        async for message in collector.messages():
            if message.topic == STATEMENTS:
                taken.append(message)
            else:
                message.ack()

    async with asyncio.timeout(PATIENCE_S):
        await collector.start()
        await collector.wait_connected()
        taking = asyncio.create_task(take(), name="take")
        await station.start()
        await station.wait_connected()
        await asyncio.gather(*(station.publish(STATEMENTS, b"%d" % n) for n in range(RECEIVE_MAXIMUM + 50)))
        # the answer to this comes after everything the broker has sent before it
        await collector.publish("zhilu/v1/jing-an/dock-1/commands", b"round trip")
        await asyncio.sleep(0)
        assert len(taken) <= RECEIVE_MAXIMUM
        for message in taken:
            message.ack()
        while len(taken) < RECEIVE_MAXIMUM + 50:
            await asyncio.sleep(0)
        await station.stop()
        await collector.stop()
        await taking


async def test_a_queue_without_its_reader_survives_many_reconnections(world: MosquittoWorld) -> None:
    station, collector = world.station("dock-1", presence_of("dock-1")), world.collector()
    async with asyncio.timeout(PATIENCE_S):
        await collector.start()
        await collector.wait_connected()
        await station.start()
        await station.wait_connected()
        await station.publish(STATEMENTS, b"once")
        for _ in range(2):
            await world.broker.stop()
            while collector.connected or station.connected:
                await asyncio.sleep(0)
            await world.broker.start()
            await collector.wait_connected()
            await station.wait_connected()
        await station.publish(STATEMENTS, b"end")
        payloads = []
        async for message in collector.messages():
            message.ack()
            if message.topic == STATEMENTS:
                payloads.append(message.payload)
                if message.payload == b"end":
                    break
        assert payloads == [b"once", b"end"]
        await station.stop()
        await collector.stop()
