"""The site every run begins with: a founded collector and two enrolled stations, made once and copied for each run."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final
from unittest.mock import patch

from agent.config import AgentConfig
from agent.core.release import ReleaseSettings
from agent.keys.enrolment import Enrolment
from agent.keys.store import FileKeyStore
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from collector.catalogue import Catalogue
from collector.config import CollectorConfig
from collector.files import PosixFiles
from collector.founding import found, open_log
from collector.keys import CollectorKeys
from collector.listings import ListingBlobs
from collector.objects import ObjectClass
from collector.objects.directory import DirectoryObjectStore
from collector.registers import Registers
from collector.sequencer import Sequencer
from protocol import ed25519
from protocol.enrolment import MqttAddress, certificate_name
from protocol.entry import LogEntry
from protocol.ids import COLLECTOR as COLLECTOR_NAME
from protocol.note import VerifierKey
from protocol.statements import Enrolled, Header, sign_statement

AGENCY: Final = "jing-an"
COLLECTOR: Final = "collector"
STATIONS: Final = ("station-1", "station-2")
START: Final = datetime(2026, 3, 4, 8, 0, 0, tzinfo=UTC)
HOST: Final = "127.0.0.1"
PORT: Final = 8443


def collector_config(root: Path) -> CollectorConfig:
    return CollectorConfig(
        data_dir=root / COLLECTOR,
        name="campaign",
        agencies=(AGENCY,),
        host=HOST,
        names=(HOST,),
        http_port=PORT,
        mqtt_port=8883,
    )


def agent_config(root: Path, station: str, *, release: bool = False) -> AgentConfig:
    return AgentConfig(
        data_dir=root / station,
        dock_dir=root / station / "dock",
        reserve_bytes=1024,
        zone_name="UTC",
        release=ReleaseSettings(whole_visits=False) if release else None,
    )


@dataclass(frozen=True)
class Template:
    """``root`` holds the site; ``log_key`` is what auditors were given; ``certificates`` are the stations' names in
    TLS."""

    root: Path
    log_key: VerifierKey
    certificates: dict[str, str]

    def copy_to(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root, root)


def make_template(root: Path, live: Path) -> Template:
    """Made where it will be used, so that paths in it are right, and moved aside."""
    shutil.rmtree(live, ignore_errors=True)
    live.mkdir(parents=True)
    rng = Random("template")
    with (
        patch.object(secrets, "token_bytes", lambda size: rng.randbytes(size)),
        patch.object(secrets, "token_hex", lambda size: rng.randbytes(size).hex()),
    ):
        log_key = asyncio.run(_make(live))
    shutil.rmtree(root, ignore_errors=True)
    live.rename(root)
    certificates = {
        station: certificate_name(ed25519.key_id(ed25519.public_from_seed(_seed(root, station))))
        for station in STATIONS
    }
    return Template(root, log_key, certificates)


def _seed(root: Path, station: str) -> bytes:
    return FileKeyStore(agent_config(root, station).keys_dir).ensure_keys().seed


async def _make(root: Path) -> VerifierKey:
    config = collector_config(root)
    log_key = await found(config, START)
    keys = CollectorKeys.load(config.keys_dir)
    log, _ = open_log(config, keys)
    objects = DirectoryObjectStore(PosixFiles(), config.objects_dir)
    for station in STATIONS:
        await _enrol(root, station, log_key, keys, objects, log.append)
    catalogue = Catalogue.open(
        config.catalogue_path, read_listing=ListingBlobs(objects, asyncio.get_running_loop())
    )
    await Sequencer(log=log, objects=objects, catalogue=catalogue, clock=lambda: START).recover()
    catalogue.close()
    Registers.open(config.registers_path).close()
    return log_key


async def _enrol(
    root: Path,
    station: str,
    log_key: VerifierKey,
    keys: CollectorKeys,
    objects: DirectoryObjectStore,
    append: object,
) -> None:
    config = agent_config(root, station)
    store = FileKeyStore(config.keys_dir)
    statement = Enrolled(
        header=Header(agency=AGENCY, signer=COLLECTOR_NAME, issued_at=START, nonce=f"{len(station):032x}"),
        role="station",
        name=station,
        public_key=ed25519.public_from_seed(store.ensure_keys().seed),
    )
    envelope = sign_statement(statement, keys.statement_seed)
    await objects.put_bytes(AGENCY, ObjectClass.STATEMENTS, envelope.payload)
    assert callable(append)
    append([LogEntry.of(envelope, statement).to_bytes()])
    store.store_enrolment(
        Enrolment(
            url=f"https://{HOST}:{PORT}",
            log_key=log_key,
            station=station,
            agencies=(AGENCY,),
            collector_public_key=ed25519.public_from_seed(keys.statement_seed),
            mqtt=MqttAddress(host=HOST, port=8883),
            certificate_pem="none: the simulated network knows its ends",
            ca_pem="none",
            enrolled={},
        )
    )
    Journal(config.journal_path, DirectorySpool(config.spool_dir)).close()
