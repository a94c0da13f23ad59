"""The query API: clips, accounting, custody and findings as the catalogue knows them. Reads only.

Whoever asks sees what belongs to their agencies; the rest does not exist for them, which is a 404, never a 403.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import ETag, web

from collector.catalogue import (
    Catalogue,
    ClipFilter,
    FindingFilter,
    encode_cursor,
    encode_finding_cursor,
    parse_cursor,
    parse_finding_cursor,
)
from collector.catalogue.errors import NotFoundError, ScopeMissingError
from collector.core.access import Deny, Principal, decide_reading_clips
from collector.core.findings import KINDS
from collector.http import query_operations as operations
from collector.http import schemas
from collector.http.api_operations import API_OPERATIONS
from collector.http.openapi import openapi_document
from collector.http.parameters import Parameters, parse_digest, parse_visit
from protocol.canonical import canonical
from protocol.digest import Digest

Authenticate = Callable[[web.Request], Principal]
"""Who asks. Raises NotAuthenticatedError or another error of the tree."""

_PAGING: Final = frozenset({"cursor", "limit"})
_HEADERS: Final = {"Cache-Control": "private, no-cache"}


class QueryHandlers:
    """GET handlers; each occupies a worker thread for its catalogue query."""

    def __init__(self, *, catalogue: Catalogue, authenticate: Authenticate) -> None:
        self._catalogue = catalogue
        self._authenticate = authenticate
        self._document = msgspec.json.encode(
            openapi_document([*operations.QUERY_OPERATIONS, *API_OPERATIONS])
        )

    async def openapi(self, request: web.Request) -> web.Response:
        return _with_etag(request, self._document, private=False)

    async def clips(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        parameters = Parameters(request, operations.CLIPS.names())
        return await self._clip_page(parameters, allowed, parameters.digest("digest"))

    async def clips_of_original(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        parameters = Parameters(request, operations.CLIPS_OF_ORIGINAL.names())
        return await self._clip_page(
            parameters, allowed, parse_digest(request.match_info["digest"], "digest")
        )

    async def clip(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        Parameters(request, ())
        manifest = parse_digest(request.match_info["manifest"], "manifest")
        clip = await asyncio.to_thread(self._catalogue.clip, manifest, allowed)
        if clip is None:
            raise NotFoundError("no such clip is known to you")
        return _with_etag(request, msgspec.json.encode(schemas.Clip.of(clip)))

    async def visit(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        Parameters(request, ())
        visit = parse_visit(request.match_info["visit"])
        account = await asyncio.to_thread(self._catalogue.visit, visit, allowed)
        if account is None:
            raise NotFoundError("no such visit is known to you")
        return _with_etag(request, msgspec.json.encode(schemas.Visit.of(account)))

    async def custody(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        parameters = Parameters(request, operations.CUSTODY.names())
        item = parse_digest(request.match_info["digest"], "digest")
        limit, after = parameters.limit(), parameters.number("after")
        events = await asyncio.to_thread(
            self._catalogue.custody, item, allowed, limit=limit, after=-1 if after is None else after
        )
        return _page(
            schemas.CustodyPage(
                events=[schemas.CustodyEvent.of(event) for event in events],
                next_after=events[-1].entry_index if len(events) == limit else None,
            )
        )

    async def findings(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        parameters = Parameters(request, operations.FINDINGS.names())
        cursor, query = parameters.text("cursor"), _query_text(parameters, None)
        page = await asyncio.to_thread(
            self._catalogue.findings,
            _finding_filter(parameters, allowed),
            limit=parameters.limit(),
            after=None if cursor is None else parse_finding_cursor(cursor, query),
        )
        return _page(
            schemas.FindingPage(
                findings=[schemas.Finding.of(finding) for finding in page.findings],
                next_cursor=(
                    None if page.next_after is None else encode_finding_cursor(page.next_after, query)
                ),
            )
        )

    async def finding(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        Parameters(request, ())
        wanted = parse_digest(request.match_info["finding"], "finding")
        finding = await asyncio.to_thread(self._catalogue.finding, wanted, allowed)
        if finding is None:
            raise NotFoundError("no such finding is known to you")
        return _with_etag(request, msgspec.json.encode(schemas.Finding.of(finding)))

    def _allowed(self, request: web.Request) -> frozenset[str] | None:
        decision = decide_reading_clips(self._authenticate(request))
        if isinstance(decision, Deny):
            raise ScopeMissingError(decision.message)
        return decision.agencies

    async def _clip_page(
        self, parameters: Parameters, allowed: frozenset[str] | None, digest: Digest | None
    ) -> web.Response:
        cursor, query = parameters.text("cursor"), _query_text(parameters, digest)
        page = await asyncio.to_thread(
            self._catalogue.clips,
            _clip_filter(parameters, allowed, digest),
            limit=parameters.limit(),
            after=None if cursor is None else parse_cursor(cursor, query),
        )
        return _page(
            schemas.ClipPage(
                clips=[schemas.Clip.of(clip) for clip in page.clips],
                next_cursor=None if page.next_after is None else encode_cursor(page.next_after, query),
            )
        )


def _agencies(parameters: Parameters, allowed: frozenset[str] | None) -> frozenset[str] | None:
    agency = parameters.agency("agency")
    if agency is None:
        return allowed
    return frozenset({agency}) if allowed is None else allowed & {agency}


def _finding_filter(parameters: Parameters, allowed: frozenset[str] | None) -> FindingFilter:
    return FindingFilter(
        agencies=_agencies(parameters, allowed),
        station=parameters.agency("station"),
        recorder=parameters.name("recorder"),
        visit=parameters.visit("visit"),
        code=parameters.one_of("code", KINDS),
        is_open=parameters.boolean("open"),
        opened_from=parameters.time("opened_from"),
        opened_before=parameters.time("opened_before"),
    )


def _clip_filter(parameters: Parameters, allowed: frozenset[str] | None, digest: Digest | None) -> ClipFilter:
    return ClipFilter(
        agencies=_agencies(parameters, allowed),
        digest=digest,
        recorder=parameters.name("recorder"),
        officer=parameters.name("officer"),
        started_from=parameters.time("started_from"),
        started_before=parameters.time("started_before"),
        stored=parameters.boolean("stored"),
    )


def _query_text(parameters: Parameters, digest: Digest | None) -> str:
    """What a cursor is bound to: everything asked, but for where in the list and how much of it."""
    asked = {name: value for name, value in parameters.items() if name not in _PAGING}
    return canonical({**asked, "digest": None if digest is None else str(digest)}).decode()


def _page(struct: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(struct), content_type="application/json", headers=_HEADERS)


def _with_etag(request: web.Request, body: bytes, *, private: bool = True) -> web.Response:
    """The body with a strong ETag, or 304 where the caller has it already (RFC 9110 §13.1.2)."""
    etag = ETag(value=hashlib.sha256(body).hexdigest()[:32])
    known = request.if_none_match or ()
    headers = _HEADERS if private else {"Cache-Control": "no-cache"}
    if any(tag.value in ("*", etag.value) for tag in known):
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=body, content_type="application/json", headers=headers)
    response.etag = etag
    return response


def add_query_routes(app: web.Application, handlers: QueryHandlers) -> None:
    """GET brings HEAD along."""
    for operation, handler in (
        (operations.CLIPS, handlers.clips),
        (operations.CLIP, handlers.clip),
        (operations.CLIPS_OF_ORIGINAL, handlers.clips_of_original),
        (operations.INVENTORY, handlers.visit),
        (operations.CUSTODY, handlers.custody),
        (operations.FINDINGS, handlers.findings),
        (operations.FINDING, handlers.finding),
        (operations.OPENAPI, handlers.openapi),
    ):
        app.router.add_get(operation.path, handler)
