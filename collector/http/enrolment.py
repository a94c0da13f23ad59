"""First trust over HTTP: the CA certificate for whoever asks, and the enrolment of a station that has a code.

Order: the certificate is made, which judges the request for it; the code is bound to the key; the enrolments are
committed to the log; then the answer leaves. Every step may be repeated by the same key, so a lost answer can be
asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from aiohttp import web

from collector.ca import CertificateAuthority
from collector.catalogue import Catalogue
from collector.core.enrolment import CodeRecord, EnrolmentGrant, decide_enrolment, stands_enrolled
from collector.errors import CollectorError
from collector.receipts import Receipts
from collector.voice import Voice
from protocol.enrolment import EnrolmentRequest, EnrolmentResponse, MqttAddress
from protocol.enrolment_proof import enrolment_proof_json
from protocol.statements import Enrolled

ENROLMENTS_PATH: Final = "/api/v1/enrolments"

_PEM: Final = "application/x-pem-file"


class EnrolmentCodes(Protocol):
    """The register of codes. Calls block."""

    def find(self, secret_hash: bytes) -> CodeRecord | None: ...

    def use(self, secret_hash: bytes, key_id: str, now: datetime) -> None:
        """Bind the code to the key, durably. Harmless for the same key; raises CollectorError for another."""
        ...


class EnrolmentRefusedError(CollectorError):
    """The code does not open the door; ``code`` says why."""

    fault = "caller"

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]
        self.status = status  # type: ignore[misc]


class EnrolmentHandlers:
    """Open to strangers; the secret in the request is the only key."""

    def __init__(
        self,
        *,
        authority: CertificateAuthority,
        codes: EnrolmentCodes,
        catalogue: Catalogue,
        voice: Voice,
        receipts: Receipts,
        collector_public_key: bytes,
        mqtt: MqttAddress,
        clock: Callable[[], datetime],
    ) -> None:
        self._authority = authority
        self._codes = codes
        self._catalogue = catalogue
        self._voice = voice
        self._receipts = receipts
        self._collector_public_key = collector_public_key
        self._mqtt = mqtt
        self._clock = clock
        self._turn = asyncio.Lock()

    async def ca(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._authority.certificate_pem, content_type=_PEM)

    async def enrol(self, request: web.Request) -> web.Response:
        wanted = EnrolmentRequest.from_bytes(await request.read())
        async with self._turn:
            grant = await self._grant(wanted)
            certificate = self._authority.issue_station(wanted.csr_pem, grant.key_id, self._clock())
            await asyncio.to_thread(self._codes.use, wanted.secret_hash, grant.key_id, self._clock())
            indices = [await self._enrol_for(grant, agency) for agency in grant.agencies]
        proof = await self._receipts.items([0, *sorted(indices)])
        response = EnrolmentResponse(
            certificate_pem=certificate.decode(),
            ca_pem=self._authority.certificate_pem.decode(),
            station=grant.station,
            agencies=grant.agencies,
            collector_public_key=self._collector_public_key,
            mqtt=self._mqtt,
            enrolled=enrolment_proof_json(proof),
        )
        return web.Response(body=response.to_bytes(), content_type="application/json")

    async def _grant(self, wanted: EnrolmentRequest) -> EnrolmentGrant:
        record = await asyncio.to_thread(self._codes.find, wanted.secret_hash)
        decision = decide_enrolment(wanted, record, self._clock())
        if not isinstance(decision, EnrolmentGrant):
            raise EnrolmentRefusedError(decision.code, decision.status, decision.message)
        return decision

    async def _enrol_for(self, grant: EnrolmentGrant, agency: str) -> int:
        record = await asyncio.to_thread(self._catalogue.key_record, grant.key_id, agency)
        if record is not None and stands_enrolled(record, grant.station, agency):
            return record.enrolled_index
        return await self._voice.say(
            Enrolled(
                header=self._voice.header(agency),
                role="station",
                name=grant.station,
                public_key=grant.public_key,
            )
        )


def add_enrolment_routes(app: web.Application, handlers: EnrolmentHandlers) -> None:
    app.router.add_get("/api/v1/ca", handlers.ca)
    app.router.add_post(ENROLMENTS_PATH, handlers.enrol)
