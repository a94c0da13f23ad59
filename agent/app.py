"""The station's wiring: the one place that knows every room. Start it with ``run``.

dock ─▶ visits (inventory, offload) ─▶ spool + journal ─▶ uplink (statements, uploads, receipts)
                                             └─▶ media desk (facts, renditions) ──▶ journal
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from agent.broker.bus import MqttBus
from agent.broker.port import Presence
from agent.clock import utc_now
from agent.config import AgentConfig
from agent.doorbells import Doorbells
from agent.keys.enrolment import Enrolment
from agent.keys.errors import NotEnrolledError
from agent.keys.secrets import FileSecrets
from agent.keys.store import FileKeyStore
from agent.lease import StationLease
from agent.media.render import FfmpegRenderer
from agent.media_desk import MediaDesk
from agent.mounting.client import SocketMounter
from agent.offload.settings import ReleaseTools, VisitSettings, VisitTools
from agent.offload.testimony import Testimony
from agent.ports import Dock
from agent.reporter import Reporter
from agent.signer import MadeStatements, StationSigner
from agent.spool.directory import DirectorySpool
from agent.spool.journal import Journal
from agent.uplink.collector_http import CollectorClient
from agent.uplink.service import Uplink, UplinkSettings
from agent.usb.bays import load_bays, port_to_bay
from agent.usb.bus import SystemUsbBus
from agent.usb.conversation import StationTime
from agent.usb.dock import UsbDock
from agent.usb.introductions import FamilyIntroductions
from agent.visits import Visits
from agent.volumes.folder import FolderDock
from firmware_profiles.load import load_registry
from protocol.topics import Channel, Topic

Show = Callable[[Sequence[str]], None]
"""Gets the console's lines whenever one of them changes."""


class Station:
    """Every part of one station, made in the order in which they depend on each other."""

    def __init__(self, config: AgentConfig, keys: FileKeyStore, enrolment: Enrolment) -> None:
        self._config = config
        self._log_key = enrolment.log_key
        self._bells = Doorbells()
        self._spool = DirectorySpool(config.spool_dir)
        self._journal = Journal(config.journal_path, self._spool)
        seed = keys.ensure_keys().seed
        made = MadeStatements(seed)
        signer = StationSigner(
            station=enrolment.station,
            agencies=enrolment.agencies,
            seed=seed,
            holders=config.holders,
            made=made,
        )
        self._testimony = Testimony(signer=signer, clock=utc_now, new_id=lambda: secrets.token_hex(16))
        self._collector = CollectorClient(
            enrolment.url, tls=keys.client_context(minimum_version=ssl.TLSVersion.TLSv1_2)
        )
        self._broker = MqttBus(
            host=enrolment.mqtt.host,
            port=enrolment.mqtt.port,
            context=keys.client_context(),
            station=enrolment.station,
            presence=_presence(enrolment),
        )
        self._uplink = Uplink(
            UplinkSettings(
                station=enrolment.station,
                log_key=enrolment.log_key,
                collector_key=enrolment.collector_public_key,
                evidence=config.data_dir / "contradictions",
                made=made,
                upload_slots=config.uploads_at_once,
            ),
            journal=self._journal,
            collector=self._collector,
            broker=self._broker,
            bells=self._bells,
            now=utc_now,
        )
        self._topic = str(_status_topic(enrolment))
        self._station = enrolment.station
        self._desk = self._make_desk()
        self._registry = load_registry(config.profile_folders)
        self._visits = Visits([*self._docks()], self._visit_tools())

    def _make_desk(self) -> MediaDesk:
        return MediaDesk(
            journal=self._journal,
            open_renderer=FfmpegRenderer.open,
            testimony=self._testimony,
            doorbells=self._bells,
            folder=self._config.rendering_dir,
            zone=self._config.zone,
            reserve_bytes=self._config.reserve_bytes,
            busy=lambda: self._uplink.is_sending or self._visits.is_reading,
        )

    def _docks(self) -> Iterator[Dock]:
        """The folder always; USB where ports are named as bays."""
        config = self._config
        yield FolderDock(config.dock_dir, settle_s=config.settle_s)
        bays = port_to_bay(load_bays(config.bays_path))
        if bays:
            bus = SystemUsbBus()
            introductions = FamilyIntroductions(
                bus=bus,
                profiles=self._registry.profiles,
                secrets=FileSecrets(config.secrets_path),
                time=StationTime(
                    now=utc_now, monotonic_s=time.monotonic, sleep_s=time.sleep, zone=config.zone
                ),
                turned_on=config.families_on,
            )
            yield UsbDock(bus, SocketMounter(config.mounter), introductions, bays=bays)

    def _visit_tools(self) -> VisitTools:
        config = self._config
        return VisitTools(
            journal=self._journal,
            testimony=self._testimony,
            registry=self._registry,
            doorbells=self._bells,
            settings=VisitSettings(
                zone=config.zone,
                parallel_reads=config.bays_at_once,
                watermark_bytes=config.reserve_bytes,
                evict_below_bytes=10 * config.reserve_bytes,
                evict_after=timedelta(days=config.keep_days),
            ),
            early=self._uplink.early,
            release=self._release_tools(),
        )

    def _release_tools(self) -> ReleaseTools | None:
        if self._config.release is None:
            return None
        return ReleaseTools(
            settings=self._config.release,
            log_key=self._log_key,
            log_halted=lambda: self._uplink.watch.halted,
        )

    async def serve(self, stop: asyncio.Event, show: Show | None) -> None:
        """Until ``stop`` or until a part fails, then loudly. ``show`` gets the console's lines, if there is one."""
        async with AsyncExitStack() as stack:
            stack.callback(self._journal.close)
            # a task that is cancelled leaves its thread at work in the journal
            stack.push_async_callback(asyncio.get_running_loop().shutdown_default_executor)
            await stack.enter_async_context(self._collector)
            stack.push_async_callback(self._broker.stop)
            await self._broker.start()
            async with asyncio.TaskGroup() as group:
                reporter = self._reporter(show)
                tasks = [
                    group.create_task(self._uplink.run(), name="uplink"),
                    group.create_task(self._visits.run(), name="visits"),
                    group.create_task(self._desk.run(), name="media"),
                    group.create_task(reporter.run(), name="status"),
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()

    def _reporter(self, show: Show | None) -> Reporter:
        return Reporter(
            station=self._station,
            path=self._config.status_path,
            topic=self._topic,
            visits=self._visits,
            journal=self._journal,
            uplink=self._uplink.state,
            broker=self._broker,
            desk=self._desk,
            clock=utc_now,
            show=show,
        )


async def run(config: AgentConfig, stop: asyncio.Event, show: Show | None = None) -> None:
    """Run the station. Raises NotEnrolledError before the enrolment, AgentError for what must be mended."""
    keys = FileKeyStore(config.keys_dir)
    enrolment = keys.load_enrolment()
    if enrolment is None:
        raise NotEnrolledError("the station is not enrolled: run zhilu-agent enroll with an enrolment code")
    lease = StationLease(config.data_dir)
    try:
        await Station(config, keys, enrolment).serve(stop, show)
    finally:
        lease.release()


def _status_topic(enrolment: Enrolment) -> Topic:
    return Topic(agency=enrolment.agencies[0], station=enrolment.station, channel=Channel.STATUS)


def _presence(enrolment: Enrolment) -> Presence:
    return Presence(
        topic=str(_status_topic(enrolment)),
        online=b'{"state":"online","v":1}',
        offline=b'{"state":"offline","v":1}',
    )
