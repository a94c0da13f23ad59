"""A real Mosquitto under our management, with a CA and certificates made for one test."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import agent.broker.bus as agent_bus
import collector.broker.bus as collector_bus
from agent.broker.port import Presence
from agent.keys.enrolment import trusting_context
from agent.keys.station_keys import StationKeys, tls_key_to_pem
from collector.broker.mosquitto import ManagedMosquitto
from collector.broker.mosquitto_config import MosquittoSettings, StationAccess
from collector.ca import CertificateAuthority
from collector.ca_files import TrustFolder
from protocol.enrolment import certificate_name
from protocol.topics import Channel, Topic

_PROGRAMS = ("mosquitto", "mosquitto_pub", "mosquitto_sub", "setpriv")
_MISSING = [name for name in _PROGRAMS if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]

needs_mosquitto = pytest.mark.skipif(
    bool(_MISSING) and os.environ.get("CI") != "true",
    reason=f"not installed: {_MISSING} (apt-get install mosquitto mosquitto-clients util-linux)",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def presence_of(station: str, agency: str = "jing-an") -> Presence:
    topic = Topic(agency=agency, station=station, channel=Channel.STATUS)
    return Presence(topic=str(topic), online=b'{"state":"online"}', offline=b'{"state":"offline"}')


@dataclass(frozen=True, slots=True, kw_only=True)
class StationFiles:
    """PEM files of one station's certificate, for programs that want files."""

    certificate: Path
    key: Path


AGENCIES = frozenset({"jing-an", "pu-tuo"})
"""For which the stations of a world are enrolled."""


def key_of(station: str) -> str:
    """The id of the key that a station of this name has in these tests."""
    return f"ed25519:{hashlib.sha256(station.encode()).hexdigest()}"


def access_of(station: str, agencies: frozenset[str] = AGENCIES) -> StationAccess:
    return StationAccess(certificate=certificate_name(key_of(station)), station=station, agencies=agencies)


class MosquittoWorld:
    """One broker, its collector and two enrolled stations, ``dock-1`` and ``dock-2``."""

    def __init__(self, folder: Path) -> None:
        self.trust = TrustFolder(path=folder / "trust")
        self.authority: CertificateAuthority = self.trust.prepare(
            ["localhost", "127.0.0.1"], datetime.now(UTC)
        )
        self.settings = MosquittoSettings(
            folder=folder / "broker",
            host="127.0.0.1",
            port=free_port(),
            ca_certificate=self.trust.ca_certificate,
            server_certificate=self.trust.server_certificate,
            server_key=self.trust.server_key,
        )
        self.broker = ManagedMosquitto(self.settings, probe=self.trust.client_context())
        self._folder = folder

    def station_files(self, name: str, authority: CertificateAuthority | None = None) -> StationFiles:
        keys = StationKeys.generate()
        issuer = authority or self.authority
        pem = issuer.issue_station(keys.certificate_request(name), key_of(name), datetime.now(UTC))
        files = StationFiles(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        files.certificate.write_bytes(pem)
        files.key.write_bytes(tls_key_to_pem(keys.tls_key))
        return files

    def station_context(self, name: str) -> ssl.SSLContext:
        files = self.station_files(name)
        context = trusting_context(self.authority.certificate_pem.decode(), ssl.TLSVersion.TLSv1_3)
        context.load_cert_chain(files.certificate, files.key)
        return context

    def station(self, name: str, presence: Presence) -> agent_bus.MqttBus:
        return agent_bus.MqttBus(
            host="127.0.0.1",
            port=self.settings.port,
            context=self.station_context(name),
            station=name,
            presence=presence,
        )

    def collector(self) -> collector_bus.MqttBus:
        return collector_bus.MqttBus(
            host="127.0.0.1", port=self.settings.port, context=self.trust.client_context()
        )


@asynccontextmanager
async def mosquitto_world(folder: Path) -> AsyncIterator[MosquittoWorld]:
    """Runs for the length of the block."""
    world = MosquittoWorld(folder)
    await world.broker.give_access([access_of("dock-1"), access_of("dock-2")])
    await world.broker.start()
    try:
        yield world
    finally:
        await world.broker.stop()
