"""The least collector that keeps its word: a real signed log, real admissions, receipts and proofs, real uploads.

It admits what an enrolled station signed, stores what was uploaded or already there, and answers over HTTP and, if it
is given a line to a broker, over MQTT. Everything it signs can be verified; on demand it misbehaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from collector.errors import CollectorError
from collector.files import PosixFiles
from collector.http.problems import problems_middleware
from collector.http.tus import add_tus_routes
from collector.http.uploads import Uploader, UploadService
from collector.staged import StagedUpload
from collector.staging import Staging
from protocol import ed25519
from protocol.admission import Admission, AdmissionResult, sign_admission
from protocol.canonical import Fields, parse_json
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope
from protocol.errors import MalformedError, ProtocolError
from protocol.ids import COLLECTOR
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.lines import encode_base64
from protocol.merkle import make_consistency_proof
from protocol.statements import Inventory, Manifest, Rendition, Statement, parse_statement, statement_id
from protocol.tiles import TileHashReader
from protocol.topics import Channel, Topic
from protocol.verify import Promise, promised_blob
from tests.support.evidence import (
    AGENCY,
    COLLECTOR_SEED,
    NOW,
    STATION,
    STATION_SEED,
    EvidenceLog,
    enrolled,
    stored,
)
from tests.support.memory_broker import MemoryBus


class UnknownError(CollectorError):
    code = "statement-unknown"
    status = 404


class PendingError(CollectorError):
    code = "receipt-pending"
    status = 404
    retryable = True


@dataclass
class TinyCollector:
    """Statements by id, blobs by digest.

    ``refuse`` maps subjects' names to refusal codes, a retryable one is used once. A request with a ``poison``
    subject in it is not understood at all.
    """

    log: EvidenceLog = field(default_factory=EvidenceLog)
    bus: MemoryBus | None = None
    push: bool = True
    answer_statements: bool = True
    indices: dict[Digest, int] = field(default_factory=dict)
    statements: dict[Digest, Statement] = field(default_factory=dict)
    stored_at: dict[Digest, int] = field(default_factory=dict)
    pushed: set[Digest] = field(default_factory=set)
    blobs: set[Digest] = field(default_factory=set)
    refuse: dict[str, tuple[str, bool]] = field(default_factory=dict)
    poison: str | None = None
    offers: list[Digest] = field(default_factory=list)
    uploads: int = 0
    bundles: int = 0
    proofs: int = 0
    proof_override: list[bytes] | None = None
    staging: Staging = field(init=False)

    def __post_init__(self) -> None:
        self.log.add(enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR), COLLECTOR_SEED)
        self.log.add(enrolled(STATION_SEED), COLLECTOR_SEED)

    # --- what it does ------------------------------------------------------------------------------------------

    def admit(self, envelopes: Iterable[bytes]) -> bytes:
        """Admits or refuses each, and answers with a signed admission."""
        results = tuple(self._admit_one(Envelope.from_bytes(data)) for data in envelopes)
        self.store_what_is_here()
        some = any(result.index is not None for result in results)
        admission = Admission(
            station=STATION, issued_at=NOW, results=results, checkpoint=self.log.note if some else None
        )
        return sign_admission(admission, COLLECTOR_SEED).to_bytes()

    def _admit_one(self, envelope: Envelope) -> AdmissionResult:
        envelope.verify(ed25519.public_from_seed(STATION_SEED), STATEMENT_TYPE)
        statement, name = statement_id(envelope), parse_statement(envelope.payload).subject.name
        self.offers.append(statement)
        if name in self.refuse:
            code, retryable = self.refuse[name]
            if retryable:
                del self.refuse[name]
            return AdmissionResult.refused(statement, code, "because the test says so", retryable=retryable)
        if statement not in self.indices:
            self.indices[statement] = self.log.checkpoint.size
            self.statements[statement] = parse_statement(envelope.payload)
            self.log.add(self.statements[statement], STATION_SEED)
        return AdmissionResult.admitted(statement, self.indices[statement])

    def store_what_is_here(self) -> None:
        """Whatever is promised and uploaded."""
        for statement, body in self.statements.items():
            if not isinstance(body, Inventory | Manifest | Rendition) or statement in self.stored_at:
                continue
            if promised_blob(body)[0] in self.blobs:
                self.stored_at[statement] = self.log.checkpoint.size
                self.log.add(stored(body, statement, number=1000 + self.log.checkpoint.size), COLLECTOR_SEED)

    def receipt(self, statement: Digest) -> bytes:
        """Made from the log as it is now. Raises UnknownError, PendingError."""
        promise = self.statements.get(statement)
        if not isinstance(promise, Inventory | Manifest | Rendition):
            raise UnknownError("never announced")
        if statement not in self.stored_at:
            raise PendingError("not stored yet")
        chain = {0, 1, *self._indices_of(promise), self.indices[statement], self.stored_at[statement]}
        return self.log.receipt(promise, statement, sorted(chain)).to_bytes()

    def _indices_of(self, promise: Promise) -> set[int]:
        if isinstance(promise, Manifest):
            return {self.indices[promise.inventory]}
        if isinstance(promise, Rendition):
            manifest = self.statements[promise.manifest]
            assert isinstance(manifest, Manifest)
            return {self.indices[promise.manifest], self.indices[manifest.inventory]}
        return set()

    def prove(self, old: int, new: int) -> list[bytes]:
        self.proofs += 1
        if self.proof_override is not None:
            return self.proof_override
        return make_consistency_proof(old, new, TileHashReader(new, self.log.tiles.__getitem__))

    # --- over MQTT ---------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Answer what comes by the broker, until it is stopped."""
        assert self.bus is not None
        async for message in self.bus.messages():
            topic = Topic.parse(message.topic)
            if topic.channel is Channel.STATEMENTS and self.answer_statements:
                await self._say(Channel.ADMISSIONS, self.admit([message.payload]))
                await self.push_receipts()
            message.ack()

    async def push_receipts(self) -> None:
        if self.bus is not None and self.push and self.bus.connected:
            for statement in [stored for stored in self.stored_at if stored not in self.pushed]:
                self.pushed.add(statement)
                await self._say(Channel.RECEIPTS, self.receipt(statement))

    async def _say(self, channel: Channel, payload: bytes) -> None:
        assert self.bus is not None
        await self.bus.publish(str(Topic(agency=AGENCY, station=STATION, channel=channel)), payload)

    # --- uploads (collector.http.uploads.TusHooks) -------------------------------------------------------------

    def authenticate(self, _request: web.Request) -> Uploader:
        return Uploader(owner=STATION, agencies=frozenset({AGENCY}))

    async def on_complete(self, upload: StagedUpload) -> None:
        self.uploads += 1
        self.bundles += bool(upload.members)
        self.blobs.update(member.digest for member in upload.members)
        if upload.actual is not None:
            self.blobs.add(upload.actual)
        self.store_what_is_here()
        await self.push_receipts()

    def is_stored(self, upload: StagedUpload) -> bool:
        return False

    def incomplete(self) -> list[StagedUpload]:
        """Uploads that were begun and not brought to an end."""
        return [upload for upload in self.staging.all() if not upload.is_complete]

    # --- over HTTP ---------------------------------------------------------------------------------------------

    async def _post_statements(self, request: web.Request) -> web.Response:
        body = parse_json(await request.read(), max_bytes=MAX_MESSAGE_BYTES, what="body")
        items = Fields(body, "body").items("envelopes", max_items=64)
        envelopes = [Envelope.from_json(item) for item in items]
        if self.poison in {parse_statement(envelope.payload).subject.name for envelope in envelopes}:
            raise MalformedError("the request is not understood")
        return web.Response(body=self.admit([envelope.to_bytes() for envelope in envelopes]))

    async def _post_receipts(self, request: web.Request) -> web.Response:
        body = parse_json(await request.read(), max_bytes=MAX_MESSAGE_BYTES, what="body")
        receipts: dict[str, object] = {}
        pending, unknown = [], []
        for name in map(str, Fields(body, "body").items("statements", max_items=256)):
            try:
                receipts[name] = json.loads(self.receipt(Digest.parse(name)))
            except PendingError:
                pending.append(name)
            except UnknownError:
                unknown.append(name)
        answer = {"receipts": receipts, "pending": pending, "unknown": unknown}
        return web.json_response(answer)

    async def _get_consistency(self, request: web.Request) -> web.Response:
        old, new = int(request.query["from"]), int(request.query["to"])
        if new > self.log.checkpoint.size:
            raise ProtocolError("the log is shorter")
        hashes = [encode_base64(value) for value in self.prove(old, new)]
        return web.json_response({"from": old, "to": new, "hashes": hashes})

    @asynccontextmanager
    async def serve(self, folder: Path) -> AsyncIterator[int]:
        """Everything over HTTP on a free loopback port, uploads staged below ``folder``."""
        app = web.Application(middlewares=[problems_middleware])
        app.router.add_post("/api/v1/statements", self._post_statements)
        app.router.add_post("/api/v1/receipts", self._post_receipts)
        app.router.add_get("/api/v1/log/consistency", self._get_consistency)
        self.staging = Staging(PosixFiles(), folder)
        add_tus_routes(app, UploadService(self.staging, self, now=lambda: NOW))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port: int = runner.addresses[0][1]
            yield port
        finally:
            await runner.cleanup()


async def until(condition: Callable[[], bool], *, within_s: float = 20) -> None:
    """Wait for what only other tasks can make true; the limit is for tests that would hang."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError("it never came true") from None
