"""Originals and renditions by digest: ranges, authorised, every viewing a custody event in the log.

The event is committed before the first byte leaves. A player asks for many ranges: one viewing by one person of
one item within ``VIEWING`` is one event.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from aiohttp import web

from collector.catalogue import Catalogue, KnownBytes
from collector.core.access import Deny, Principal, decide_viewing_footage
from collector.errors import CollectorError, NotAllowedError
from collector.http.identity import principal_of
from collector.objects import ObjectClass, ObjectStore
from collector.voice import Voice
from protocol.digest import Digest
from protocol.statements import Custody

VIEWING: Final = timedelta(minutes=15)

_REMEMBERED_VIEWINGS: Final = 10_000
_SAFE_INLINE: Final = frozenset({"video/mp4", "audio/mp4", "image/jpeg"})


class FootageUnknownError(CollectorError):
    """No such original or rendition among what the caller may see."""

    code = "footage-unknown"
    status = 404
    fault = "caller"


class RangeError(CollectorError):
    """The range asked for does not exist in this file."""

    code = "range-not-satisfiable"
    status = 416
    fault = "caller"


class FootageHandlers:
    """GET and HEAD of bytes."""

    def __init__(
        self,
        *,
        objects: ObjectStore,
        voice: Voice,
        clock: Callable[[], datetime],
        catalogue: Catalogue,
    ) -> None:
        self._objects = objects
        self._voice = voice
        self._clock = clock
        self._catalogue = catalogue
        self._viewings: OrderedDict[tuple[str, str, Digest], datetime] = OrderedDict()

    async def original(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, ObjectClass.ORIGINALS)

    async def rendition(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, ObjectClass.RENDITIONS)

    async def _serve(self, request: web.Request, cls: ObjectClass) -> web.StreamResponse:
        principal = principal_of(request)
        digest = Digest.parse(request.match_info["digest"])
        footage = await self._find(principal, cls, digest)
        size_bytes = (await self._objects.stat(footage.agency, cls, digest)).size_bytes
        etag = f'"{digest}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        start, length = _range(request, size_bytes, etag)
        response = web.StreamResponse(
            status=200 if length == size_bytes else 206, headers=_headers(footage, digest, etag)
        )
        response.content_length = length
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size_bytes}"
        if request.method != "HEAD":
            await self._record_viewing(principal, cls, digest, footage)
        await response.prepare(request)
        if request.method != "HEAD":
            async for block in self._objects.open_range(footage.agency, cls, digest, start, length):
                await response.write(block)
        await response.write_eof()
        return response

    async def _find(self, principal: Principal, cls: ObjectClass, digest: Digest) -> KnownBytes:
        decision = decide_viewing_footage(principal)
        if isinstance(decision, Deny):
            raise NotAllowedError(decision.message)
        purpose: Literal["original", "rendition"] = (
            "original" if cls is ObjectClass.ORIGINALS else "rendition"
        )
        found = await asyncio.to_thread(self._catalogue.known_bytes, purpose, digest, decision.agencies)
        if found is None:
            raise FootageUnknownError("no such original or rendition is known to you")
        return found

    async def _record_viewing(
        self, principal: Principal, cls: ObjectClass, digest: Digest, footage: KnownBytes
    ) -> None:
        now, key = self._clock(), (principal.name, footage.agency, digest)
        seen = self._viewings.get(key)
        if seen is not None and now - seen < VIEWING:
            return
        event = Custody(
            header=self._voice.header(footage.agency),
            event="viewed",
            item=digest,
            item_name=cls.value,
            actor=principal.name,
            details={"purpose": "api"},
        )
        await self._voice.say(event)
        self._viewings[key] = now
        self._viewings.move_to_end(key)
        if len(self._viewings) > _REMEMBERED_VIEWINGS:
            self._viewings.popitem(last=False)


def _range(request: web.Request, size_bytes: int, etag: str) -> tuple[int, int]:
    """First byte and length to send (RFC 9110 §14): one range or the whole."""
    if request.headers.get("If-Range", etag) != etag:
        return 0, size_bytes
    try:
        asked = request.http_range
    except ValueError as error:
        raise RangeError("one range of bytes can be asked for") from error
    start, stop, _ = asked.indices(size_bytes)
    if asked.start is not None and (start >= size_bytes or stop <= start) and "Range" in request.headers:
        raise RangeError(f"the file has {size_bytes} bytes")
    return start, stop - start


def _headers(footage: KnownBytes, digest: Digest, etag: str) -> dict[str, str]:
    safe = footage.media_type in _SAFE_INLINE
    return {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Type": footage.media_type if safe else "application/octet-stream",
        "Content-Disposition": f'{"inline" if safe else "attachment"}; filename="{digest.hex[:16]}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }


def add_footage_routes(app: web.Application, handlers: FootageHandlers) -> None:
    """GET brings HEAD along."""
    app.router.add_get("/api/v1/originals/{digest}", handlers.original)
    app.router.add_get("/api/v1/renditions/{digest}", handlers.rendition)
