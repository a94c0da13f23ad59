"""What of the two programs is replaced, and with what: the outside world, and sizes in scale.

Everything else is the code that ships, wired by the code that ships. Nothing here is known to production code.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import aiohappyeyeballs
import aiohttp.connector
import nacl.bindings
from sqlalchemy.engine import make_url

import agent.app
import agent.core.offload
import agent.core.shipping
import agent.offload.growing
import agent.offload.offloader
import agent.offload.reader
import agent.reporter
import agent.spool.shipments
import agent.uplink.line
import agent.uplink.sources
import agent.uplink.tus
import collector.app
import collector.audit.engine
import collector.ca_files
import collector.catalogue.catalogue
import collector.catalogue.tables
import collector.http.identity
import collector.registers.registers
from agent.keys.store import FileKeyStore
from agent.media.memory import MemoryRenderer
from agent.offload.reader import block_buffer
from agent.uplink.patience import Gate
from collector.database.engine import open_engine
from tests.campaign.clockwork import Clockwork, SimEvent, SimLock

KIB: Final = 1024

SCALE: Final[tuple[tuple[Any, str, int], ...]] = (
    (agent.core.offload, "SMALL_BYTES", 8 * KIB),
    (agent.core.shipping, "BUNDLE_BYTES", 64 * KIB),
    (agent.core.shipping, "MAX_MEMBER_BYTES", 32 * KIB),
    (agent.spool.shipments, "OPEN_BUNDLES", 2),
    (agent.offload.offloader, "SMALL_BYTES", 8 * KIB),
    (agent.offload.offloader, "EARLY_FROM_BYTES", 32 * KIB),
    (agent.offload.reader, "DURABLE_EVERY_BYTES", 16 * KIB),
    (agent.uplink.tus, "SMALL_BYTES", 16 * KIB),
    (agent.uplink.sources, "PIECE_BYTES", 8 * KIB),
    (agent.uplink.tus, "MAX_PART_BYTES", 48 * KIB),
)
"""A shift's recordings at 1 to 256 and less: what decides a file's way through the programs stays reachable."""

_STATUS_PERIOD_S: Final = 20.0
"""For readers only: nothing relies on it, and no fault strikes at it."""

_engines: dict[str, Any] = {}


def _engine(url: str) -> Any:
    """One engine for each place: what SQLAlchemy compiled stays compiled from run to run."""
    if url not in _engines:
        _engines[url] = open_engine(url)
    return _engines[url]


def _adjust(target: Any, name: str, value: object) -> Any:
    assert hasattr(target, name), f"{target} has no {name} any more: adjust the campaign"
    return patch.object(target, name, value)


def _threading(loop: Clockwork) -> SimpleNamespace:
    simulated = SimpleNamespace(
        **{name: getattr(threading, name) for name in dir(threading) if name[0] != "_"}
    )
    simulated.Lock = simulated.RLock = partial(SimLock, loop)
    simulated.Event = partial(SimEvent, loop)
    return simulated


def _ours() -> Iterator[Any]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("agent", "collector"):
            yield module


@contextmanager
def verified_once() -> Iterator[None]:
    """A signature that was found good stays good: the same bytes under the same key are verified once."""
    real = nacl.bindings.crypto_sign_open
    found: dict[tuple[bytes, bytes], bytes] = {}

    def crypto_sign_open(signed: bytes, key: bytes) -> bytes:
        asked = (signed, key)
        if asked not in found:
            found[asked] = real(signed, key)
        return found[asked]

    with _adjust(nacl.bindings, "crypto_sign_open", crypto_sign_open):
        yield


@contextmanager
def scratch_kept(folder: Path) -> Iterator[None]:
    """The audit's scratch catalogue always lies at the same place, so that SQLAlchemy need not compile anew."""
    home, pristine = folder / "audit", folder.with_name("pristine.sqlite")
    home.mkdir(exist_ok=True)
    if not pristine.exists():
        collector.catalogue.Catalogue.scratch(pristine, read_listing=lambda *_: iter(())).close()

    @contextmanager
    def temporary(**_: object) -> Iterator[str]:
        for left in home.iterdir():
            left.unlink()
        yield str(home)

    def open_kept(url: str, **more: Any) -> Any:
        path = Path(make_url(url).database or "")
        if path.parent == home and not path.exists():
            shutil.copyfile(pristine, path)
        if url not in _engines:
            _engines[url] = open_engine(url, **more)
        return _engines[url]

    with (
        _adjust(collector.audit.engine, "TemporaryDirectory", temporary),
        patch.object(collector.catalogue.catalogue, "open_engine", open_kept),
        patch.object(collector.catalogue.tables.metadata, "create_all", lambda *_, **__: None),
    ):
        yield


@contextmanager
def installed(
    *,
    loop: Clockwork,
    rng: Random,
    clock: Callable[[], datetime],
    make_dock: Callable[[Path], object],
    make_broker: Callable[..., object],
    make_mosquitto: Callable[..., object],
    station_of: Callable[[Any], str | None],
    sockets: SimpleNamespace,
) -> Iterator[None]:
    """While this lasts, agent and collector in this Python process live in the simulation."""

    async def open_renderer() -> MemoryRenderer:
        return MemoryRenderer({})

    async def start_connection(**_: object) -> object:
        return SimpleNamespace(close=lambda: None)

    def random_hex(size: int = 32) -> str:
        return rng.randbytes(size).hex()

    def submit(_: object, function: Callable[..., object], *args: object, **kwargs: object) -> object:
        return loop.submit(function, *args, **kwargs)

    with ExitStack() as stack:
        stack.enter_context(verified_once())

        def put(target: Any, name: str, value: object) -> None:
            stack.enter_context(_adjust(target, name, value))

        simulated = _threading(loop)
        for module in _ours():
            if getattr(module, "threading", None) is threading:
                put(module, "threading", simulated)
        for module, name, value in SCALE:
            put(module, name, value)
        stack.enter_context(patch.object(block_buffer, "__defaults__", (8 * KIB,)))
        put(asyncio, "run_coroutine_threadsafe", loop.run_threadsafe)
        put(ThreadPoolExecutor, "submit", submit)
        put(secrets, "token_hex", random_hex)
        put(time, "monotonic", loop.time)
        put(aiohttp.connector, "monotonic", loop.time)
        put(aiohappyeyeballs, "start_connection", start_connection)
        stack.enter_context(patch.object(Gate.__init__, "__defaults__", (loop.time,)))
        put(socket, "create_connection", sockets.create_connection)
        # the station
        put(agent.uplink.line, "socket", sockets)
        reporting = agent.reporter.Reporter.__init__.__kwdefaults__
        assert reporting is not None
        stack.enter_context(patch.dict(reporting, {"period_s": _STATUS_PERIOD_S}))
        put(agent.app, "utc_now", clock)
        put(agent.app, "FolderDock", lambda folder, **_: make_dock(folder))
        put(agent.app, "MqttBus", lambda *, station, presence, **_: make_broker(station, presence))
        put(agent.app, "FfmpegRenderer", SimpleNamespace(open=open_renderer))
        put(FileKeyStore, "client_context", lambda self, **_: None)
        # the collector
        defaults = collector.app.Collector.__init__.__kwdefaults__
        assert defaults is not None
        stack.enter_context(patch.dict(defaults, {"clock": clock}))
        put(collector.app, "utc_now", clock)
        put(collector.app, "MqttBus", lambda **_: make_broker(None, None))
        put(collector.app, "ManagedMosquitto", make_mosquitto)
        put(collector.app, "_server_context", lambda config: None)
        put(collector.http.identity, "_common_name", station_of)
        trust = collector.ca_files.TrustFolder
        for name in ("prepare", "load", "client_context"):
            put(trust, name, lambda self, *args: None)
        for home in (collector.catalogue.catalogue, collector.registers.registers):
            put(home, "upgrade", lambda engine, migrations: None)
            put(home, "open_engine", _engine)
        yield
