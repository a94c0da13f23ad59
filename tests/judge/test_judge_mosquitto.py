"""Do Mosquitto's own clients, which know nothing of us, get exactly the access a certificate gives?

``mosquitto_pub`` ends with 0 even when its message was refused, so the verdict is what a subscriber on the
collector's side sees, and the reason code in the debug output.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.broker.bus import MqttBus
from collector.ca import CertificateAuthority
from tests.support.mosquitto import MosquittoWorld, StationFiles, mosquitto_world, needs_mosquitto

pytestmark = [needs_mosquitto, pytest.mark.judge]

PATIENCE_S = 20
OWN = "zhilu/v1/jing-an/dock-1/statements"
FOREIGN = "zhilu/v1/jing-an/dock-2/statements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A broker, the collector's ears, and two stations' certificates as files."""

    world: MosquittoWorld
    collector: MqttBus
    one: StationFiles
    two: StationFiles

    def command(self, program: str, files: StationFiles | None, *arguments: str) -> list[str]:
        path = shutil.which(program)
        assert path is not None
        command = [path, "-V", "5", "-d", "-q", "1", "-h", "127.0.0.1", "-p", str(self.world.settings.port)]
        command += ["--cafile", str(self.world.trust.ca_certificate)]
        if files is not None:
            command += ["--cert", str(files.certificate), "--key", str(files.key)]
        return [*command, *arguments]

    async def publish(self, files: StationFiles | None, topic: str, text: str, *more: str) -> str:
        """What the client printed, refused or not."""
        process = await asyncio.create_subprocess_exec(
            *self.command("mosquitto_pub", files, "-t", topic, "-m", text, *more),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE_S):
            output, _ = await process.communicate()
        return output.decode()

    async def heard_until(self, last: bytes) -> list[bytes]:
        """Everything the collector hears up to the message that ends the test."""
        heard: list[bytes] = []
        async with asyncio.timeout(PATIENCE_S):
            async for message in self.collector.messages():
                message.ack()
                heard.append(message.payload)
                if message.payload == last:
                    break
        return heard


@pytest.fixture
async def judge(tmp_path: Path) -> AsyncIterator[Judge]:
    async with mosquitto_world(tmp_path) as world:
        collector = world.collector()
        await collector.start()
        async with asyncio.timeout(PATIENCE_S):
            await collector.wait_connected()
        one, two = world.station_files("dock-1"), world.station_files("dock-2")
        yield Judge(world=world, collector=collector, one=one, two=two)
        await collector.stop()


async def test_a_station_is_heard_on_its_own_topics(judge: Judge) -> None:
    output = await judge.publish(judge.one, OWN, "mine")
    assert "received PUBACK" in output
    assert await judge.heard_until(b"mine") == [b"mine"]


async def test_another_stations_certificate_is_refused_with_not_authorized(judge: Judge) -> None:
    output = await judge.publish(judge.one, FOREIGN, "forged")
    assert "RC:135" in output  # 0x87
    await judge.publish(judge.two, FOREIGN, "genuine")
    assert await judge.heard_until(b"genuine") == [b"genuine"]


async def test_a_station_cannot_answer_in_the_collectors_place(judge: Judge) -> None:
    output = await judge.publish(judge.one, "zhilu/v1/jing-an/dock-1/admissions", "forged admission")
    assert "RC:135" in output


@pytest.mark.parametrize("topic", [OWN, FOREIGN])
async def test_without_a_certificate_nobody_is_heard(judge: Judge, topic: str) -> None:
    output = await judge.publish(None, topic, "anonymous")
    assert "received CONNACK (0)" not in output
    await judge.publish(judge.two, FOREIGN, "end")
    assert await judge.heard_until(b"end") == [b"end"]


async def test_a_certificate_of_another_authority_is_refused_whatever_its_name(
    judge: Judge, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = CertificateAuthority.create(datetime.now(UTC))
    forged = judge.world.station_files("dock-1", stranger)
    output = await judge.publish(forged, OWN, "stranger")
    assert "received CONNACK (0)" not in output
    await judge.publish(judge.two, FOREIGN, "end")
    assert await judge.heard_until(b"end") == [b"end"]


async def test_the_servers_own_certificate_is_no_client_certificate(judge: Judge) -> None:
    trust = judge.world.trust
    server = StationFiles(certificate=trust.server_certificate, key=trust.server_key)
    output = await judge.publish(server, OWN, "server as client")
    assert "received CONNACK (0)" not in output


async def test_claiming_the_collectors_client_id_or_user_name_gives_nothing(judge: Judge) -> None:
    claims = ("-i", "_collector", "-u", "_collector", "-P", "guess")
    output = await judge.publish(judge.one, FOREIGN, "impostor", *claims)
    assert "RC:135" in output
    await judge.publish(judge.two, FOREIGN, "end")
    assert await judge.heard_until(b"end") == [b"end"]
    assert judge.collector.connected


async def test_a_subscriber_hears_its_own_topics_and_no_others(judge: Judge) -> None:
    wanted = ("-t", "zhilu/v1/#", "-t", "zhilu/v1/+/dock-2/admissions", "-t", "#", "-C", "1", "-v")
    process = await asyncio.create_subprocess_exec(
        "stdbuf",
        "-oL",  # or its debug lines stay in its buffer
        *judge.command("mosquitto_sub", judge.two, *wanted),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        seen = ""
        while "Subscribed" not in seen:
            seen = (await process.stdout.readline()).decode()
            assert seen, "mosquitto_sub ended before it had subscribed"
        await judge.collector.publish("zhilu/v1/jing-an/dock-1/admissions", b"secret of one")
        await judge.publish(judge.one, OWN, "statement of one")
        await judge.collector.publish("zhilu/v1/jing-an/dock-2/admissions", b"for two")
        rest, _ = await process.communicate()
    assert b"for two" in rest
    assert b"of one" not in rest
