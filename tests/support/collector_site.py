"""The collector's handlers over real TLS on loopback: real CA, registers and middle, files that can fail, no broker."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from prometheus_client import CollectorRegistry, Gauge
from yarl import URL

from agent.keys.station_keys import StationKeys, tls_key_to_pem
from collector.ca_files import TrustFolder
from collector.core.access import Scope
from collector.explaining import Explanations
from collector.http.enrolment import EnrolmentHandlers, add_enrolment_routes
from collector.http.explanations import ExplanationHandlers, add_explanation_routes
from collector.http.footage import FootageHandlers, add_footage_routes
from collector.http.identity import identifying, principal_of
from collector.http.log import LogHandlers, add_log_routes
from collector.http.operations import OperationsHandlers, add_operations_routes
from collector.http.problems import problems_middleware
from collector.http.queries import QueryHandlers, add_query_routes
from collector.http.statements import StatementHandlers, add_statement_routes
from collector.registers import Registers
from protocol import ed25519
from protocol.enrolment import EnrolmentRequest, MqttAddress, hash_secret, proof_message
from protocol.limits import MAX_MESSAGE_BYTES
from tests.support.collector_lab import INVENTORY, Lab, World, clip, id_of, running
from tests.support.evidence import AGENCY, COLLECTOR_SEED, STATION, STATION_SEED

COLLECTOR_KEY = ed25519.public_from_seed(COLLECTOR_SEED)
CONTENT = bytes(range(256)) * 20
CLIP = clip(CONTENT)
CLIP_ID = id_of(CLIP)
FOREIGN = "others"
"""An agency for which the station is not enrolled."""


def key_id_of(seed: bytes) -> str:
    return ed25519.key_id(ed25519.public_from_seed(seed))


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    problem: Mapping[str, Any]

    @property
    def code(self) -> object:
        return self.problem.get("code")


@dataclass
class CollectorSite:
    """A running one. Ask with ``who``: a station's name (its certificate), a token, or nobody."""

    lab: Lab
    trust: TrustFolder
    registers: Registers
    url: str = ""
    keys: dict[str, str] = field(default_factory=lambda: {STATION: key_id_of(STATION_SEED)})
    """The key that each station's certificate names; those of others name a key nobody enrolled."""
    sessions: dict[str | None, aiohttp.ClientSession] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.lab.world.now

    def token(self, *scopes: Scope, agencies: frozenset[str] | None = None, name: str = "viewer") -> str:
        expires_at = self.now + timedelta(hours=1)
        return self.registers.issue_token(
            name=name, scopes=frozenset(scopes), agencies=agencies, expires_at=expires_at, now=self.now
        )

    def code(self, station: str = STATION, *, agencies: tuple[str, ...] = (AGENCY,)) -> bytes:
        """A new enrolment code's secret, good for an hour."""
        return self.registers.issue_code(
            station=station, agencies=agencies, expires_at=self.now + timedelta(hours=1), now=self.now
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        who: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, its path sent as it is; ``who`` is a name to show a certificate for."""
        named = dict(headers or {})
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        data = None if body is None else io.BytesIO(body)
        async with self._session(who).request(
            method, URL(self.url + path, encoded=True), data=data, headers=named, allow_redirects=False
        ) as response:
            content = await response.read()
            is_problem = response.content_type == "application/problem+json" and method != "HEAD"
            return Answer(
                response.status, response.headers, content, await response.json() if is_problem else {}
            )

    async def get(self, path: str, **named: Any) -> Answer:
        return await self.ask("GET", path, **named)

    def _session(self, who: str | None) -> aiohttp.ClientSession:
        if who not in self.sessions:
            connector = aiohttp.TCPConnector(ssl=self.client_context(who))
            self.sessions[who] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self.sessions[who]

    def client_context(self, who: str | None) -> ssl.SSLContext:
        """Trusts this CA; shows a certificate under the name ``who``."""
        context = ssl.create_default_context(cafile=str(self.trust.ca_certificate))
        if who is not None:
            keys = StationKeys.generate()
            key_id = self.keys.get(who, keys.key_id)
            certificate = self.trust.load().issue_station(keys.certificate_request(who), key_id, self.now)
            path = self.trust.path / f"client-{who}.pem"
            path.write_bytes(certificate + tls_key_to_pem(keys.tls_key))
            context.load_cert_chain(path)
        return context


def enrolment_request(
    secret: bytes, keys: StationKeys, *, station: str = STATION, csr: str | None = None
) -> EnrolmentRequest:
    """As an honest station makes it; ``csr`` replaces its certificate request."""
    csr_pem = csr or keys.certificate_request(station)
    message = proof_message(secret=secret, csr_pem=csr_pem, public_key=keys.public_key)
    return EnrolmentRequest(
        secret=secret, csr_pem=csr_pem, public_key=keys.public_key, proof_of_possession=keys.sign(message)
    )


async def store_clip(site: CollectorSite) -> None:
    """``CLIP`` is admitted, delivered and stored."""
    await site.lab.admit(INVENTORY, CLIP)
    await site.lab.upload(CONTENT)
    await site.lab.stored(CLIP_ID)
    await site.lab.idle()


def withdraw(site: CollectorSite, secret: bytes) -> None:
    """A person makes a code useless."""
    site.registers.withdraw(hash_secret(secret), site.now)


@asynccontextmanager
async def serving(world: World, *, max_wait_s: float = 30) -> AsyncIterator[CollectorSite]:
    """The handlers over the middle of ``world``, as ``collector.app`` wires them."""
    world.now = datetime.now(UTC)  # certificates are judged by the real clock
    trust = TrustFolder(path=world.folder / "tls")
    authority = trust.prepare(["127.0.0.1"], world.now)
    registers = Registers.open(world.folder / "registers.sqlite")

    def clock() -> datetime:
        return world.now

    async with running(world, max_wait_s=max_wait_s) as lab:
        metrics = CollectorRegistry()
        Gauge("zhilu_log_entries", "Entries", registry=metrics).set_function(lambda: lab.log.checkpoint.size)
        identify = identifying(lab.catalogue, registers.find_token, clock)
        app = web.Application(middlewares=[problems_middleware, identify], client_max_size=MAX_MESSAGE_BYTES)
        add_log_routes(app, LogHandlers(lab.log, lab.tiles))
        add_statement_routes(app, StatementHandlers(intake=lab.intake, receipts=lab.receipts))
        add_footage_routes(
            app,
            FootageHandlers(objects=lab.objects, voice=lab.voice, clock=clock, catalogue=lab.catalogue),
        )
        enrolment = EnrolmentHandlers(
            authority=authority,
            codes=registers,
            catalogue=lab.catalogue,
            voice=lab.voice,
            receipts=lab.receipts,
            collector_public_key=COLLECTOR_KEY,
            mqtt=MqttAddress(host="127.0.0.1", port=8883),
            clock=clock,
        )
        add_enrolment_routes(app, enrolment)
        add_query_routes(app, QueryHandlers(catalogue=lab.catalogue, authenticate=principal_of))
        explanations = Explanations(catalogue=lab.catalogue, voice=lab.voice)
        add_explanation_routes(app, ExplanationHandlers(explanations=explanations, authenticate=principal_of))
        operations = OperationsHandlers(
            registry=metrics,
            probe=lambda: {"log": lab.sequencer.works, "broker": False},
            vital=frozenset({"log"}),
        )
        add_operations_routes(app, operations)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
        await runner.setup()
        site = CollectorSite(lab, trust, registers)
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_server_context(trust)).start()
            site.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            yield site
        finally:
            for session in site.sessions.values():
                await session.close()
            await asyncio.sleep(0)
            await runner.cleanup()
            registers.close()


def _server_context(trust: TrustFolder) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trust.server_certificate, trust.server_key)
    context.load_verify_locations(trust.ca_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
