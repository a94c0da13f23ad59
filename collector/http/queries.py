"""The query API: clips, accounting and custody as the catalogue knows them. Reads only.

Whoever asks sees what belongs to their agencies; the rest does not exist for them, which is a 404, never a 403.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import ETag, web

from collector.catalogue import Catalogue, ClipFilter, encode_cursor, parse_cursor
from collector.catalogue.errors import NotFoundError, ScopeMissingError
from collector.core.access import Deny, Principal, decide_reading_clips
from collector.http import schemas
from collector.http.openapi import Operation, Parameter
from collector.http.parameters import Parameters, parse_digest, parse_visit
from protocol.digest import Digest

Authenticate = Callable[[web.Request], Principal]
"""Who asks. Raises NotAuthenticatedError or another error of the tree."""

_JSON: Final = "application/json"


class QueryHandlers:
    """GET handlers; each blocks a worker thread for one catalogue query."""

    def __init__(self, *, catalogue: Catalogue, authenticate: Authenticate) -> None:
        self._catalogue = catalogue
        self._authenticate = authenticate

    async def clips(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        return await self._clip_page(request, allowed, digest=None)

    async def clips_of_original(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        digest = parse_digest(request.match_info["digest"], "digest")
        return await self._clip_page(request, allowed, digest=digest)

    async def clip(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        Parameters(request, ())
        manifest = parse_digest(request.match_info["manifest"], "manifest")
        clip = await asyncio.to_thread(self._catalogue.clip, manifest, allowed)
        if clip is None:
            raise NotFoundError("no such clip is known to you")
        return _resource(request, schemas.Clip.of(clip))

    async def visit(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        Parameters(request, ())
        visit = parse_visit(request.match_info["visit"])
        account = await asyncio.to_thread(self._catalogue.visit, visit, allowed)
        if account is None:
            raise NotFoundError("no such visit is known to you")
        return _resource(request, schemas.Visit.of(account))

    async def custody(self, request: web.Request) -> web.Response:
        allowed = self._allowed(request)
        parameters = Parameters(request, _names(CUSTODY))
        item = parse_digest(request.match_info["digest"], "digest")
        limit, after = parameters.limit(), parameters.number("after")
        events = await asyncio.to_thread(
            self._catalogue.custody, item, allowed, limit=limit, after=-1 if after is None else after
        )
        return _answer(
            schemas.CustodyPage(
                events=[schemas.CustodyEvent.of(event) for event in events],
                next_after=events[-1].entry_index if len(events) == limit else None,
            )
        )

    def _allowed(self, request: web.Request) -> frozenset[str] | None:
        decision = decide_reading_clips(self._authenticate(request))
        if isinstance(decision, Deny):
            raise ScopeMissingError(decision.message)
        return decision.agencies

    async def _clip_page(
        self, request: web.Request, allowed: frozenset[str] | None, *, digest: Digest | None
    ) -> web.Response:
        parameters = Parameters(request, _names(CLIPS if digest is None else CLIPS_OF_ORIGINAL))
        wanted = _filter(parameters, allowed, digest)
        cursor, query = parameters.text("cursor"), repr(wanted)
        after = None if cursor is None else parse_cursor(cursor, query)
        page = await asyncio.to_thread(
            self._catalogue.clips, wanted, limit=parameters.limit(), after=after
        )
        return _answer(
            schemas.ClipPage(
                clips=[schemas.Clip.of(clip) for clip in page.clips],
                next_cursor=None if page.next_after is None else encode_cursor(page.next_after, query),
            )
        )
