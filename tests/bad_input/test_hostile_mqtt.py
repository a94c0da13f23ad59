"""What an enrolled station can do to the broker and, through it, to the collector."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.topics import Channel, Topic
from tests.support.attacker import EnrolledStation
from tests.support.processes import CollectorHost, needs_site, wait_until

pytestmark = [
    pytest.mark.e2e,
    needs_site,
    pytest.mark.skipif(
        shutil.which("mosquitto_pub") is None,
        reason="not installed: mosquitto_pub (apt-get install mosquitto-clients)",
    ),
]

MIB = 1024**2
LARGEST_PACKET = 2**28 - 1
"""256 MB: the most an MQTT packet can say."""

TOO_LARGE = b"\xe0\x01\x95"
"""DISCONNECT, packet too large (MQTT 5 §3.14)."""


@dataclass(frozen=True)
class Site:
    """A running collector with an enrolled station in hostile hands."""

    collector: CollectorHost
    station: EnrolledStation

    def topic(self, channel: Channel) -> str:
        return str(Topic(agency=self.station.agency, station=self.station.name, channel=channel))

    def publish(self, channel: Channel, payload: bytes, *more: str) -> str:
        """With Mosquitto's own client; what it printed."""
        config, keys = self.collector.config, self.station.keys
        command = [
            "mosquitto_pub",
            "-V",
            "5",
            "-d",
            "-q",
            "1",
            "-h",
            "127.0.0.1",
            "-p",
            str(config.mqtt_port),
        ]
        command += ["--cafile", str(config.trust.ca_certificate)]
        command += ["--cert", str(keys / "station.pem"), "--key", str(keys / "tls.key")]
        command += ["-t", self.topic(channel), "-s", *more]
        done = subprocess.run(command, input=payload, capture_output=True, timeout=60, check=False)
        return (done.stdout + done.stderr).decode()

    def works(self) -> bool:
        """Log, storage and broker, as the collector says."""
        return (
            self.collector.child.is_running
            and self.collector.get("/healthz").json()["parts"]["broker"] is True
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mqtt")
    collector = CollectorHost(folder / "collector")
    try:
        collector.start()
        yield Site(collector, EnrolledStation.enrol(collector, folder / "dock", "dock-1", "jing-an"))
    finally:
        collector.child.make_sure_it_ended()
        print(collector.child.last_words())


def rss_mib(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) // 1024


def connected(site: Site) -> ssl.SSLSocket:
    """A bare MQTT 5 connection with the station's certificate."""
    plain = socket.create_connection(("127.0.0.1", site.collector.config.mqtt_port), timeout=30)
    line = site.station.context.wrap_socket(plain, server_hostname="127.0.0.1")
    line.sendall(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")
    assert line.recv(2)[0] == 0x20
    return line


def read_to_the_end(line: ssl.SSLSocket) -> bytes:
    received = b""
    try:
        while piece := line.recv(65_536):
            received += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def test_a_message_of_256_mb_ends_its_connection_and_fills_no_memory(site: Site) -> None:
    broker = site.collector.broker_pid()
    assert broker is not None
    wait_until(site.works, "the broker")
    topic = site.topic(Channel.STATEMENTS).encode()
    length = b"\xff\xff\xff\x7f"
    head = b"\x32" + length + struct.pack(">H", len(topic)) + topic + b"\x00\x01\x00"
    for _ in range(3):
        with connected(site) as line:
            try:
                line.sendall(head)
                for _ in range(64):
                    line.sendall(bytes(MIB))
            except (ConnectionError, ssl.SSLError):
                pass
            else:
                pytest.fail("64 MiB of a message were taken")
    with connected(site) as line:
        line.sendall(head)
        assert read_to_the_end(line).endswith(TOO_LARGE)
    assert site.collector.broker_pid() == broker
    assert rss_mib(broker) < 64
    assert rss_mib(site.collector.child.pid) < 200
    assert site.works()


POISON = [
    {Channel.STATEMENTS: b"\x00" * 1000, Channel.STATUS: b"[" * 60_000, Channel.REPLIES: b"\xff\xfe"},
    {
        Channel.STATEMENTS: b"x" * 262_144,
        Channel.STATUS: b'{"state":' + b"9" * 60_000 + b"}",
        Channel.REPLIES: b"?",
    },
]


@pytest.mark.parametrize("poison", POISON)
def test_retained_poison_harms_neither_this_start_nor_the_next(
    site: Site, poison: dict[Channel, bytes]
) -> None:
    """A retained message comes again at every connection, before anything else."""
    for channel, payload in poison.items():
        assert "received PUBACK" in site.publish(channel, payload, "-r")
    site.collector.child.end()
    site.collector.start()
    wait_until(site.works, "the broker", watch=[site.collector.child])
    assert [result["outcome"] for result in site.station.say(site.station.inventory())] == ["admitted"]
    assert "Traceback" not in site.collector.child.log.read_text(errors="replace")


@pytest.mark.parametrize("channel", [Channel.ADMISSIONS, Channel.RECEIPTS, Channel.COMMANDS])
def test_a_station_cannot_speak_as_the_collector_to_itself(site: Site, channel: Channel) -> None:
    assert "RC:135" in site.publish(channel, b"{}")
