"""What Mosquitto is told: its configuration, and who may say and hear what. Pure.

Access goes by certificate name alone, which is also forced upon the client id, so that no station can take over the
session of another or of the collector. A station's certificate names its key, so a key that was revoked or replaced
loses its topics although its certificate is still valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.ids import COLLECTOR
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.topics import DOWNWARD, ROOT, UPWARD, Channel, Topic

AUTOSAVE_S: Final = 5
"""How much a broker killed hard may forget; the outboxes of both sides repeat it."""

MAX_IN_FLIGHT: Final = 512
"""Per client and direction; the default of 20 would tie the collector's rate to the interval of its log."""

MAX_QUEUED_MESSAGES: Final = 500_000
"""The bytes below are the bound meant. Not 0, which means no bound, but lets 2.0.11 hang up after every publish that it
refuses: it compares the packets in its hand with this number (handle_publish.c)."""

MAX_QUEUED_BYTES: Final = 128 * 1024 * 1024
"""For one client that is away. What does not fit is dropped, which costs a repetition: outboxes keep statements until
they are admitted, and receipts are asked for."""

SESSION_DAYS: Final = 60
"""The queue of a station that has not come back for so long is given up, such as that of a key that was replaced."""

_PACKET_OVERHEAD_BYTES: Final = 1024
"""Topic and properties around the largest payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MosquittoSettings:
    """Where it listens and where its files are. ``folder`` is its own; the PEM files are the collector's."""

    folder: Path
    host: str
    port: int
    ca_certificate: Path
    server_certificate: Path
    server_key: Path
    autosave_s: int = AUTOSAVE_S
    program: str = "mosquitto"

    def __post_init__(self) -> None:
        texts = (self.host, self.folder, self.ca_certificate, self.server_certificate, self.server_key)
        if any("\n" in str(text) or "\r" in str(text) for text in texts):
            raise ValueError("a line break in a setting would be a second setting")
        if not 0 < self.port < 65_536:
            raise ValueError(f"no TCP port: {self.port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StationAccess:
    """A station that may connect: the common name of its certificate, its own name, the agencies it speaks for."""

    certificate: str
    station: str
    agencies: frozenset[str]


def render_access(stations: Iterable[StationAccess]) -> str:
    """The ACL: each enrolled key the topics of its station within its agencies, the collector all of them, nobody
    anything else. A certificate whose key is not listed connects, says nothing and hears nothing."""
    lines = [f"user {COLLECTOR}", f"topic readwrite {ROOT}/#"]
    for one in sorted(stations, key=lambda station: station.certificate):
        lines.append(f"user {one.certificate}")
        for agency in sorted(one.agencies):
            topics = {
                channel: str(Topic(agency=agency, station=one.station, channel=channel))
                for channel in Channel
            }
            lines += [f"topic write {topics[channel]}" for channel in UPWARD]
            lines += [f"topic read {topics[channel]}" for channel in DOWNWARD]
    return "\n".join(lines) + "\n"


def render_config(settings: MosquittoSettings, *, user: str) -> str:
    """mosquitto.conf for Mosquitto 2.0; ``user`` is the one it already runs as, so it changes none."""
    folder = settings.folder.absolute()
    lines = [
        f"user {user}",
        f"acl_file {folder / 'access'}",
        "allow_anonymous false",
        f"listener {settings.port} {settings.host}",
        f"cafile {settings.ca_certificate.absolute()}",
        f"certfile {settings.server_certificate.absolute()}",
        f"keyfile {settings.server_key.absolute()}",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "persistence true",
        f"persistence_location {folder}/",
        f"autosave_interval {settings.autosave_s}",
        f"max_queued_messages {MAX_QUEUED_MESSAGES}",
        f"max_queued_bytes {MAX_QUEUED_BYTES}",
        f"persistent_client_expiration {SESSION_DAYS}d",
        f"max_inflight_messages {MAX_IN_FLIGHT}",
        f"max_packet_size {MAX_MESSAGE_BYTES + _PACKET_OVERHEAD_BYTES}",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_timestamp false",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "",
    ]
    return "\n".join(lines)
