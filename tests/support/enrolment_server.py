"""The collector's enrolment endpoint over real TLS: real CA, real rules, nothing of the rest of a collector."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from collector.ca import CertificateAuthority
from collector.ca_files import TrustFolder
from collector.core.enrolment import CodeRecord, EnrolmentRefusal, decide_enrolment
from protocol import ed25519
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse, MqttAddress, hash_secret
from protocol.enrolment_code import EnrolmentCode
from protocol.note import SignerKey

LOG = SignerKey(name="log.test/zhilu", seed=bytes(range(32)))
COLLECTOR_KEY = ed25519.public_from_seed(bytes(range(1, 33)))


class EnrolmentServer:
    """What the tests may look at and turn: records, requests seen, answers lost."""

    def __init__(self, folder: Path, *, names: list[str], now: datetime) -> None:
        self.trust = TrustFolder(path=folder)
        self.authority: CertificateAuthority = self.trust.prepare(names, now)
        self.records: dict[bytes, CodeRecord] = {}
        self.keys_seen: list[str] = []
        self.lose_answers = 0
        self.certify_as: str | None = None
        self.served_ca = self.authority.certificate_pem
        self.url = ""

    def give_code(
        self, station: str = "dock-1", *, lifetime: timedelta = timedelta(hours=1)
    ) -> EnrolmentCode:
        secret = secrets.token_bytes(32)
        code = EnrolmentCode(
            url=self.url,
            secret=secret,
            ca_fingerprint=self.authority.fingerprint,
            log_key=LOG.verifier,
            station=station,
            agencies=("jing-an", "pu-tuo"),
        )
        self.records[hash_secret(secret)] = CodeRecord(
            secret_hash=hash_secret(secret),
            station=station,
            agencies=code.agencies,
            expires_at=datetime.now(UTC) + lifetime,
        )
        return code

    async def get_ca(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.served_ca, content_type="application/x-pem-file")

    async def post_enrolment(self, request: web.Request) -> web.Response:
        body = EnrolmentRequest.from_bytes(await request.read())
        record = self.records.get(body.secret_hash)
        decision = decide_enrolment(body, record, datetime.now(UTC))
        if isinstance(decision, EnrolmentRefusal):
            problem = {"code": decision.code, "detail": decision.message}
            return web.json_response(problem, status=decision.status, content_type="application/problem+json")
        self.records[body.secret_hash] = replace(self.records[body.secret_hash], used_by=decision.key_id)
        self.keys_seen.append(decision.key_id)
        if self.lose_answers:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.close()
        key_id = self.certify_as or decision.key_id
        certificate = self.authority.issue_station(body.csr_pem, key_id, datetime.now(UTC))
        response = EnrolmentResponse(
            certificate_pem=certificate.decode(),
            ca_pem=self.authority.certificate_pem.decode(),
            station=decision.station,
            agencies=decision.agencies,
            collector_public_key=COLLECTOR_KEY,
            mqtt=MqttAddress(host="127.0.0.1", port=8883),
            enrolled={"proof": decision.key_id},
        )
        return web.Response(body=response.to_bytes(), content_type="application/json", status=201)

    async def whoami(self, request: web.Request) -> web.Response:
        """The name in the client certificate, as the collector's HTTP side would see it."""
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
        return web.json_response({"names": names})


@asynccontextmanager
async def serving(server: EnrolmentServer) -> AsyncIterator[str]:
    """Serves with the certificate that lies in the trust folder now; yields the base URL."""
    app = web.Application()
    app.router.add_get("/api/v1/ca", server.get_ca)
    app.router.add_post("/api/v1/enrolments", server.post_enrolment)
    app.router.add_get("/whoami", server.whoami)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.trust.ca_certificate))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(server.trust.server_certificate, server.trust.server_key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def enrolment_server(
    folder: Path, *, names: list[str] | None = None, now: datetime | None = None
) -> AsyncIterator[EnrolmentServer]:
    """A server with a new CA, for the length of the block."""
    server = EnrolmentServer(folder, names=names or ["127.0.0.1"], now=now or datetime.now(UTC))
    async with serving(server) as server.url:
        yield server
