"""Statements and receipts over HTTP: the way that works without a broker."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from collector.http.identity import station_of
from collector.intake import Intake
from collector.receipts import Receipts
from protocol.admission import MAX_RESULTS
from protocol.canonical import Fields, parse_json
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.receipt import RECEIPT_TYPE

_ENVELOPE_TYPE: Final = "application/vnd.dsse.envelope.v1+json"


class StatementHandlers:
    """For stations only."""

    def __init__(self, *, intake: Intake, receipts: Receipts) -> None:
        self._intake = intake
        self._receipts = receipts

    async def submit(self, request: web.Request) -> web.Response:
        station = station_of(request)
        body = parse_json(await request.read(), max_bytes=MAX_MESSAGE_BYTES, what="request body")
        items = Fields(body, "request body").items("envelopes", max_items=MAX_RESULTS)
        envelopes = [Envelope.from_json(item) for item in items]
        answer = await self._intake.answer(station.name, envelopes, agencies=station.agencies)
        return web.Response(body=answer.to_bytes(), content_type=_ENVELOPE_TYPE)

    async def receipt(self, request: web.Request) -> web.Response:
        station = station_of(request)
        statement = Digest.parse(request.match_info["statement"])
        receipt = await self._receipts.make(statement, station.agencies)
        return web.Response(body=receipt.to_bytes(), content_type=RECEIPT_TYPE)


def add_statement_routes(app: web.Application, handlers: StatementHandlers) -> None:
    app.router.add_post("/api/v1/statements", handlers.submit)
    app.router.add_get("/api/v1/receipts/{statement}", handlers.receipt)
