"""The collector's wiring: the one place that knows every room. Start it with ``run``.

HTTP statements ─┐                          ┌─▶ catalogue
MQTT statements ─┴▶ intake ─▶ sequencer ─▶ log ─▶ storer ─▶ objects ─▶ ``stored`` ─▶ receipts
HTTP uploads ─────▶ staging ───────────────────────┘
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge

from collector.audit import DirectoryObjects
from collector.broker.access import BrokerAccess
from collector.broker.bus import MqttBus
from collector.broker.mosquitto import ManagedMosquitto
from collector.broker.mosquitto_config import MosquittoSettings
from collector.catalogue import Catalogue, LoggedStatement
from collector.clock import utc_now
from collector.config import CollectorConfig
from collector.conserving import Conservation
from collector.core.attempts import Attempts
from collector.core.findings import KINDS
from collector.dispatch import Dispatcher
from collector.errors import CollectorError
from collector.explaining import Explanations
from collector.files import PosixFiles
from collector.founding import open_log
from collector.http.enrolment import EnrolmentHandlers, add_enrolment_routes
from collector.http.explanations import ExplanationHandlers, add_explanation_routes
from collector.http.footage import FootageHandlers, add_footage_routes
from collector.http.guessing import slowing
from collector.http.identity import identifying, principal_of, uploader_of
from collector.http.listening import Connections, listening, prompt_bodies
from collector.http.log import LogHandlers, add_log_routes
from collector.http.operations import OperationsHandlers, add_operations_routes
from collector.http.problems import problems_middleware
from collector.http.queries import QueryHandlers, add_query_routes
from collector.http.statements import StatementHandlers, add_statement_routes
from collector.http.tus import add_tus_routes
from collector.http.uploads import Uploader, UploadService
from collector.intake import Intake
from collector.keeping.hold import Restoration
from collector.keys import CollectorKeys
from collector.listings import ListingBlobs
from collector.log.tile_files import WriterLease
from collector.mending import Mender
from collector.objects.directory import DirectoryObjectStore
from collector.receipts import Receipts
from collector.registers import Registers
from collector.scrubbing import Scrub
from collector.sequencer import Sequencer
from collector.staged import StagedUpload
from collector.staging import Staging
from collector.storing import Storer
from collector.voice import Voice
from protocol import ed25519
from protocol.enrolment import MqttAddress
from protocol.limits import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
_EXPIRY_PERIOD_S: Final = 600.0
_VITAL: Final = frozenset({"log", "storage"})


class _UploadHooks:
    """What uploads need of the rest: who sends, and where complete ones go."""

    def __init__(self) -> None:
        self.storer: Storer | None = None

    def authenticate(self, request: web.Request) -> Uploader:
        return uploader_of(request)

    async def on_complete(self, upload: StagedUpload) -> None:
        if self.storer is not None:
            self.storer.upload_completed(upload)

    def is_stored(self, upload: StagedUpload) -> bool:
        return upload.stored


class Collector:
    """Every part of one collector, made in the order in which they depend on each other."""

    def __init__(
        self,
        config: CollectorConfig,
        keys: CollectorKeys,
        *,
        clock: Callable[[], datetime] = utc_now,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.config = config
        files, seed = PosixFiles(), keys.statement_seed
        self.metrics = CollectorRegistry()
        counter = Counter(
            "zhilu_statements", "Statements answered", ("kind", "outcome"), registry=self.metrics
        )
        self.log, self._log_files = open_log(config, keys)
        self.objects = DirectoryObjectStore(files, config.objects_dir)
        self.catalogue = Catalogue.open(config.catalogue_path, read_listing=ListingBlobs(self.objects, loop))
        self.registers = Registers.open(config.registers_path)
        self.staging = Staging(files, config.staging_dir)
        self.sequencer = Sequencer(
            log=self.log,
            objects=self.objects,
            catalogue=self.catalogue,
            clock=clock,
            on_committed=self._committed,
        )
        self.voice = voice = Voice(sequencer=self.sequencer, seed=seed, clock=clock)
        receipts = Receipts(log=self.log, objects=self.objects, catalogue=self.catalogue)
        intake = Intake(
            sequencer=self.sequencer, log=self.log, voice=voice, seed=seed, clock=clock, counter=counter
        )
        context = config.trust.client_context()
        self.mosquitto = ManagedMosquitto(_mosquitto_settings(config), probe=context)
        self.broker_access = BrokerAccess(self.catalogue, self.mosquitto.give_access)
        self.broker = MqttBus(host=_reachable(config.host), port=config.mqtt_port, context=context)
        self.dispatcher = Dispatcher(broker=self.broker, intake=intake, receipts=receipts)
        self.storer = Storer(
            staging=self.staging,
            objects=self.objects,
            catalogue=self.catalogue,
            voice=voice,
            announce=self.dispatcher.announce,
        )
        self.conservation = Conservation(self.catalogue)
        self.scrub = Scrub(
            objects=DirectoryObjects(files, config.objects_dir),
            catalogue=self.catalogue,
            mender=Mender(objects=self.objects, catalogue=self.catalogue, voice=voice),
            cursor=config.scrub_cursor_path,
            period_s=config.scrub_days * _DAY_S,
        )
        hooks = _UploadHooks()
        hooks.storer = self.storer
        self.uploads = UploadService(self.staging, hooks, now=clock)
        self._clock = clock
        self._measure()
        self.connections = Connections()
        self.web = self._make_web(voice, receipts, intake, ed25519.public_from_seed(seed))

    def _committed(self, batch: Sequence[LoggedStatement]) -> None:
        self.storer.statements_committed(batch)
        self.broker_access.committed(batch)
        self.conservation.committed()

    def _measure(self) -> None:
        scrub = self.scrub.counts
        gauges: Mapping[str, tuple[str, Callable[[], float]]] = {
            "zhilu_log_entries": ("Entries in the log", lambda: self.log.checkpoint.size),
            "zhilu_staged_uploads": ("Uploads not yet stored", lambda: len(self.staging.all())),
            "zhilu_storing_backlog": ("Blobs to be stored or looked for", lambda: self.storer.backlog),
            "zhilu_broker_connected": ("1 while connected to the broker", lambda: self.broker.connected),
            "zhilu_stations_online": ("Stations that say they are online", self._stations_online),
            "zhilu_scrub_objects": ("Objects re-read since the start", lambda: scrub.objects),
            "zhilu_scrub_bytes": ("Bytes re-read since the start", lambda: scrub.size_bytes),
            "zhilu_scrub_damaged": ("Missing or altered objects met since the start", lambda: scrub.damaged),
            "zhilu_scrub_rounds": ("Times everything was re-read since the start", lambda: scrub.rounds),
        }
        for name, (title, read) in gauges.items():
            Gauge(name, title, registry=self.metrics).set_function(read)
        findings = Gauge("zhilu_findings_open", "Open findings", ("code",), registry=self.metrics)
        for code in KINDS:
            findings.labels(code).set_function(partial(self._open_findings, code))

    def _open_findings(self, code: str) -> float:
        return self.conservation.open_findings.get(code, 0)

    def _stations_online(self) -> float:
        statuses = self.dispatcher.stations.values()
        return sum(isinstance(status, dict) and status.get("state") == "online" for status in statuses)

    def _make_web(
        self, voice: Voice, receipts: Receipts, intake: Intake, public_key: bytes
    ) -> web.Application:
        config, clock = self.config, self._clock
        identify = identifying(self.catalogue, self.registers.find_token, clock)
        outside = [self.connections.middleware, problems_middleware, prompt_bodies]
        app = web.Application(
            middlewares=[*outside, identify, slowing(Attempts())], client_max_size=MAX_MESSAGE_BYTES
        )
        add_log_routes(app, LogHandlers(self.log, self._log_files))
        add_statement_routes(app, StatementHandlers(intake=intake, receipts=receipts))
        add_tus_routes(app, self.uploads)
        add_footage_routes(
            app, FootageHandlers(objects=self.objects, voice=voice, clock=clock, catalogue=self.catalogue)
        )
        add_enrolment_routes(
            app,
            EnrolmentHandlers(
                authority=config.trust.load(),
                codes=self.registers,
                catalogue=self.catalogue,
                voice=voice,
                receipts=receipts,
                collector_public_key=public_key,
                mqtt=MqttAddress(host=config.names[0], port=config.mqtt_port),
                clock=clock,
            ),
        )
        add_explanation_routes(
            app,
            ExplanationHandlers(
                explanations=Explanations(catalogue=self.catalogue, voice=voice), authenticate=principal_of
            ),
        )
        add_query_routes(app, QueryHandlers(catalogue=self.catalogue, authenticate=principal_of))
        add_operations_routes(app, OperationsHandlers(registry=self.metrics, probe=self._probe, vital=_VITAL))
        return app

    def _probe(self) -> Mapping[str, bool]:
        return {
            "log": self.log.checkpoint.size > 0 and self.sequencer.works,
            "storage": self.config.objects_dir.is_dir(),
            "broker": self.broker.connected,
        }

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Everything up and answering while the body runs. Raises what a failed part raised, loudly."""
        async with AsyncExitStack() as stack:
            stack.callback(self.catalogue.close)
            stack.callback(self.registers.close)
            await asyncio.to_thread(self.objects.sweep)
            await self.sequencer.recover()
            stack.push_async_callback(self.mosquitto.stop)
            await self.broker_access.refresh()
            await self.mosquitto.start()
            stack.push_async_callback(self.broker.stop)
            await self.broker.start()
            group = await stack.enter_async_context(asyncio.TaskGroup())
            tasks = [
                group.create_task(self.sequencer.run(), name="sequencer"),
                group.create_task(self.dispatcher.run(), name="dispatcher"),
                group.create_task(self.broker_access.run(), name="broker-access"),
                group.create_task(self._expire_uploads(), name="upload-expiry"),
                group.create_task(self.conservation.run(), name="conservation"),
                group.create_task(self.scrub.run(), name="scrub"),
            ]
            stack.push_async_callback(_cancel, tasks)
            await self._listen(stack)  # finds the uploads of an earlier run, which the storer begins with
            tasks.append(group.create_task(self.storer.run(), name="storer"))
            yield

    async def _listen(self, stack: AsyncExitStack) -> None:
        config, context = self.config, _server_context(self.config)
        await stack.enter_async_context(
            listening(self.web, self.connections, host=config.host, port=config.http_port, context=context)
        )

    async def _expire_uploads(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_PERIOD_S)
            try:
                if removed := await self.uploads.expire(self._clock()):
                    logger.info("uploads.expired count=%d", removed)
            except CollectorError as error:
                logger.warning("uploads.not_expired code=%s", error.code)


async def run(config: CollectorConfig, stop: asyncio.Event, on_ready: Callable[[Collector], None]) -> None:
    """Run until ``stop`` is set or a part fails. Raises CollectorError for what the operator must mend."""
    lease = WriterLease(config.log_dir)
    try:
        restoration = Restoration.load(config.log_dir)
        if restoration is not None:
            restoration.check_may_run()
        keys = CollectorKeys.load(config.keys_dir)
        config.trust.prepare(config.names, utc_now())
        collector = Collector(config, keys, loop=asyncio.get_running_loop())
        async with collector.serving():
            if restoration is not None:
                await restoration.record(collector.voice, config.log_dir)
            on_ready(collector)
            await stop.wait()
    finally:
        lease.release()


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _mosquitto_settings(config: CollectorConfig) -> MosquittoSettings:
    trust = config.trust
    return MosquittoSettings(
        folder=config.broker_dir,
        host=config.host,
        port=config.mqtt_port,
        ca_certificate=trust.ca_certificate,
        server_certificate=trust.server_certificate,
        server_key=trust.server_key,
    )


def _reachable(host: str) -> str:
    """Where the collector itself reaches what listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on


def _server_context(config: CollectorConfig) -> ssl.SSLContext:
    """TLS 1.2 or later; a client certificate is asked for, not demanded: people and case systems have none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.trust.server_certificate, config.trust.server_key)
    context.load_verify_locations(config.trust.ca_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
