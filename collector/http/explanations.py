"""Explanations over HTTP: for holders of a token with their own scope, in the name the token was issued to."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from collector.core.access import decide_explaining_findings
from collector.core.explanations import EXPLAINED, WITHDRAWN, Wish
from collector.explaining import Explanations
from collector.http import query_operations as operations
from collector.http import schemas
from collector.http.identity import allowed_holder
from collector.http.parameters import Parameters, parse_digest
from collector.http.queries import Authenticate
from protocol.canonical import Fields, parse_json
from protocol.limits import MAX_TEXT_CHARS

_MAX_BYTES: Final = 16 * MAX_TEXT_CHARS
"""Every character of the longest reason escaped, and room for the rest."""


class ExplanationHandlers:
    """POST handlers. The same request again is answered with what it did the first time."""

    def __init__(self, *, explanations: Explanations, authenticate: Authenticate) -> None:
        self._explanations = explanations
        self._authenticate = authenticate

    async def explain(self, request: web.Request) -> web.Response:
        return await self._say(request, EXPLAINED)

    async def withdraw(self, request: web.Request) -> web.Response:
        return await self._say(request, WITHDRAWN)

    async def _say(self, request: web.Request, event: str) -> web.Response:
        principal = self._authenticate(request)
        speaker, agencies = allowed_holder(principal, decide_explaining_findings(principal))
        Parameters(request, ())
        finding = parse_digest(request.match_info["finding"], "finding")
        body = parse_json(await request.read(), max_bytes=_MAX_BYTES, what="request body")
        reason = Fields(body, "request body").text("reason").strip()
        wish = Wish(event=event, actor=speaker.name, reason=reason)
        word, is_new = await self._explanations.say(finding, wish, speaker, agencies)
        return web.Response(
            status=201 if is_new else 200,
            body=msgspec.json.encode(schemas.Explanation.of(word)),
            content_type="application/json",
            headers={"Cache-Control": "no-store"}
            | ({"Location": operations.FINDING.path.format(finding=finding)} if is_new else {}),
        )


def add_explanation_routes(app: web.Application, handlers: ExplanationHandlers) -> None:
    for operation, handler in (
        (operations.EXPLAIN, handlers.explain),
        (operations.WITHDRAW, handlers.withdraw),
    ):
        app.router.add_post(operation.path, handler)
