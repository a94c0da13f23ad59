"""Statements and receipts over HTTP: the way that works without a broker."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from collector.http.identity import station_of
from collector.intake import Intake
from collector.receipts import Receipts, ReceiptsMade
from protocol.admission import MAX_RESULTS
from protocol.canonical import Fields, canonical, parse_json
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.errors import MalformedError
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.receipt import RECEIPT_TYPE

MAX_ASKED: Final = 256
"""Receipts in one answer: about 2.5 MB."""

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

    async def receipts(self, request: web.Request) -> web.Response:
        station = station_of(request)
        body = parse_json(await request.read(), max_bytes=MAX_MESSAGE_BYTES, what="request body")
        wanted = Fields(body, "request body").items("statements", max_items=MAX_ASKED)
        made = await self._receipts.make_all([_digest(item) for item in wanted], station.agencies)
        return web.Response(body=_answer(made), content_type="application/json")

    async def receipt(self, request: web.Request) -> web.Response:
        station = station_of(request)
        statement = Digest.parse(request.match_info["statement"])
        receipt = await self._receipts.make(statement, station.agencies)
        return web.Response(body=receipt.to_bytes(), content_type=RECEIPT_TYPE)


def _digest(item: object) -> Digest:
    if not isinstance(item, str):
        raise MalformedError("a statement is named by its digest")
    return Digest.parse(item)


def _answer(made: ReceiptsMade) -> bytes:
    receipts = b",".join(b'"%s":%s' % (str(one).encode(), data) for one, data in made.receipts.items())
    pending, unknown = (canonical([str(one) for one in many]) for many in (made.pending, made.unknown))
    return b'{"pending":%s,"receipts":{%s},"unknown":%s}' % (pending, receipts, unknown)


def add_statement_routes(app: web.Application, handlers: StatementHandlers) -> None:
    app.router.add_post("/api/v1/statements", handlers.submit)
    app.router.add_post("/api/v1/receipts", handlers.receipts)
    app.router.add_get("/api/v1/receipts/{statement}", handlers.receipt)
