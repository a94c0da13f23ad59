"""Originals and renditions by digest: ranges, authorised, every viewing a custody event in the log.

The event is committed before the first byte leaves. A player asks for many ranges: one viewing by one person of
one item within ``VIEWING`` is one event.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from aiohttp import web

from collector.catalogue import Catalogue, KnownBytes
from collector.core.access import TokenPrincipal, decide_viewing_footage
from collector.core.byte_ranges import ByteRange, RangeUnsatisfiableError, decide_range
from collector.errors import CollectorError
from collector.http.identity import allowed_holder, principal_of
from collector.http.problems import problem_response
from collector.objects import ObjectClass, ObjectStore
from collector.voice import Voice
from protocol.digest import Digest
from protocol.statements import Custody

logger = logging.getLogger(__name__)

VIEWING: Final = timedelta(minutes=15)

_REMEMBERED_VIEWINGS: Final = 10_000
_SAFE_INLINE: Final = frozenset({"video/mp4", "audio/mp4", "image/jpeg"})
_PURPOSE: Final[dict[ObjectClass, Literal["original", "rendition"]]] = {
    ObjectClass.ORIGINALS: "original",
    ObjectClass.RENDITIONS: "rendition",
}


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


class Viewings:
    """Puts viewings into the log. Whoever shows one token is one viewer, also in requests at the same moment."""

    def __init__(self, *, voice: Voice, clock: Callable[[], datetime]) -> None:
        self._voice = voice
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str, Digest], datetime] = OrderedDict()
        self._recording: dict[tuple[str, str, Digest], asyncio.Task[None]] = {}

    async def record(self, viewer: TokenPrincipal, agency: str, cls: ObjectClass, digest: Digest) -> None:
        """Returns when the viewing is in the log. Raises CollectorError: then nothing may be shown."""
        key = (viewer.token_id, agency, digest)
        seen = self._seen.get(key)
        if seen is not None and self._clock() - seen < VIEWING:
            return
        recording = self._recording.get(key)
        if recording is None:
            recording = asyncio.create_task(self._say(viewer, agency, cls, digest), name="viewing")
            self._recording[key] = recording
            recording.add_done_callback(lambda _: self._recording.pop(key))
        await asyncio.shield(recording)

    async def _say(self, viewer: TokenPrincipal, agency: str, cls: ObjectClass, digest: Digest) -> None:
        header = self._voice.header(agency)
        await self._voice.say(
            Custody(
                header=header,
                event="viewed",
                item=digest,
                item_name=cls.value,
                actor=viewer.name,
                details={"purpose": "api", "token": viewer.token_id},
            )
        )
        key = (viewer.token_id, agency, digest)
        self._seen[key] = header.issued_at
        self._seen.move_to_end(key)
        if len(self._seen) > _REMEMBERED_VIEWINGS:
            self._seen.popitem(last=False)


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
        self._viewings = Viewings(voice=voice, clock=clock)
        self._catalogue = catalogue

    async def original(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, ObjectClass.ORIGINALS)

    async def rendition(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, ObjectClass.RENDITIONS)

    async def _serve(self, request: web.Request, cls: ObjectClass) -> web.StreamResponse:
        principal = principal_of(request)
        viewer, agencies = allowed_holder(principal, decide_viewing_footage(principal))
        digest = Digest.parse(request.match_info["digest"])
        footage = await self._find(agencies, cls, digest)
        size_bytes = (await self._objects.stat(footage.agency, cls, digest)).size_bytes
        headers = _headers(footage, digest)
        if _has_it_already(request, digest):
            return web.Response(status=304, headers={"ETag": headers["ETag"]})
        try:
            wanted = _wanted(request, headers["ETag"], size_bytes)
        except RangeUnsatisfiableError as error:
            refusal = problem_response(RangeError(str(error)))
            refusal.headers["Content-Range"] = f"bytes */{size_bytes}"
            return refusal
        response = _response(headers, wanted, size_bytes)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        await self._viewings.record(viewer, footage.agency, cls, digest)
        return await self._send(request, response, footage.agency, cls, digest, wanted)

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        agency: str,
        cls: ObjectClass,
        digest: Digest,
        wanted: ByteRange | None,
    ) -> web.StreamResponse:
        """Once the head is out, a failure can only be told by cutting the connection."""
        start, length = (wanted.start, wanted.length) if wanted else (0, None)
        await response.prepare(request)
        try:
            async for block in self._objects.open_range(agency, cls, digest, start, length):
                await response.write(block)
            await response.write_eof()
        except ConnectionError:
            pass  # the viewer has gone, as players do
        except CollectorError as error:
            logger.error("footage.cut_short code=%s digest=%s", error.code, digest)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _find(self, agencies: frozenset[str] | None, cls: ObjectClass, digest: Digest) -> KnownBytes:
        found = await asyncio.to_thread(self._catalogue.known_bytes, _PURPOSE[cls], digest, agencies)
        if found is None:
            raise FootageUnknownError("no such original or rendition is known to you")
        return found


def _has_it_already(request: web.Request, digest: Digest) -> bool:
    return any(tag.value in ("*", str(digest)) for tag in request.if_none_match or ())


def _wanted(request: web.Request, etag: str, size_bytes: int) -> ByteRange | None:
    """Ranges are for GET, and only for the file the caller has the beginning of (If-Range)."""
    if request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    return decide_range(request.headers.get("Range"), size_bytes)


def _response(headers: dict[str, str], wanted: ByteRange | None, size_bytes: int) -> web.StreamResponse:
    response = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
    response.content_length = size_bytes
    if wanted is not None:
        last = wanted.start + wanted.length - 1
        response.content_length = wanted.length
        response.headers["Content-Range"] = f"bytes {wanted.start}-{last}/{size_bytes}"
    return response


def _headers(footage: KnownBytes, digest: Digest) -> dict[str, str]:
    """What recorders wrote is hostile: types a browser might run are downloads, and nothing runs in their place."""
    safe = footage.media_type in _SAFE_INLINE
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest}"',
        "Content-Type": footage.media_type if safe else "application/octet-stream",
        "Content-Disposition": f'{"inline" if safe else "attachment"}; filename="{digest.hex[:16]}"',
        "Content-Security-Policy": "default-src 'none'; media-src 'self'; img-src 'self'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }


def add_footage_routes(app: web.Application, handlers: FootageHandlers) -> None:
    """GET brings HEAD along."""
    app.router.add_get("/api/v1/originals/{digest}", handlers.original)
    app.router.add_get("/api/v1/renditions/{digest}", handlers.rendition)
