"""The tus 1.0.0 routes: headers in, ``UploadService`` asked, headers out.

``X-HTTP-Method-Override`` replaces the method whatever it was, as the standard demands; answers are problems like
everywhere else, with the tus headers added.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from collector.http.bodies import Body, body_of, expect_later
from collector.http.problems import problem_response
from collector.http.uploads import Uploader, UploadService
from collector.staged import StagedUpload
from protocol.upload import (
    CHECKSUM_BYTES,
    EXTENSIONS,
    MAX_UPLOAD_BYTES,
    METHOD_OVERRIDE,
    REPR_DIGEST,
    TUS_CHECKSUM_ALGORITHM,
    TUS_EXTENSION,
    TUS_MAX_SIZE,
    TUS_RESUMABLE,
    TUS_VERSION,
    TUS_VERSIONS,
    UPLOAD_DEFER_LENGTH,
    UPLOAD_EXPIRES,
    UPLOAD_LENGTH,
    UPLOAD_METADATA,
    UPLOAD_OFFSET,
    UPLOADS_PATH,
    check_version,
    format_repr_digest,
)
from protocol.upload_errors import MethodNotAllowedError, PartCutError, SupersededError, TusVersionError

UPLOAD_SERVICE: Final = web.AppKey("upload_service", UploadService)

_BODY: Final = web.RequestKey("body", Body)
"""The body of a request, once it was asked for."""

_Verb = Callable[[web.Request, UploadService, Uploader], Awaitable[web.Response]]


def add_tus_routes(app: web.Application, service: UploadService) -> None:
    """Serves uploads below ``/api/v1/uploads``; the service starts and stops with the application."""
    app[UPLOAD_SERVICE] = service
    app.router.add_route("*", UPLOADS_PATH, _at_collection, expect_handler=expect_later)
    app.router.add_route("*", UPLOADS_PATH + "/{upload_id}", _at_upload, expect_handler=expect_later)
    app.on_startup.append(_start)
    app.on_shutdown.append(_stop)


async def _start(app: web.Application) -> None:
    await app[UPLOAD_SERVICE].start()


async def _stop(app: web.Application) -> None:
    await app[UPLOAD_SERVICE].stop()


async def _at_collection(request: web.Request) -> web.Response:
    return await _dispatch(request, {"POST": _post})


async def _at_upload(request: web.Request) -> web.Response:
    return await _dispatch(request, {"HEAD": _head, "PATCH": _patch, "DELETE": _delete})


async def _dispatch(request: web.Request, verbs: Mapping[str, _Verb]) -> web.Response:
    method = request.headers.get(METHOD_OVERRIDE, request.method).upper()
    try:
        response = _options() if method == "OPTIONS" else await _ask(request, method, verbs)
    except Exception as error:
        response = problem_response(error)
        if isinstance(error, TusVersionError):
            response.headers[TUS_VERSIONS] = TUS_VERSION
        if isinstance(error, MethodNotAllowedError):
            response.headers["Allow"] = ", ".join(["OPTIONS", *verbs])
        if isinstance(error, SupersededError | PartCutError):
            _release(request)
            await _answer_and_hang_up(request, response)
    if not _release(request):
        response.force_close()
    response.headers[TUS_RESUMABLE] = TUS_VERSION
    return response


async def _ask(request: web.Request, method: str, verbs: Mapping[str, _Verb]) -> web.Response:
    verb = verbs.get(method)
    if verb is None:
        raise MethodNotAllowedError(f"{method[:20]} is not possible here")
    check_version(request.headers)
    service = request.app[UPLOAD_SERVICE]
    return await verb(request, service, service.hooks.authenticate(request))


def _options() -> web.Response:
    headers = {
        TUS_VERSIONS: TUS_VERSION,
        TUS_EXTENSION: ",".join(EXTENSIONS),
        TUS_MAX_SIZE: str(MAX_UPLOAD_BYTES),
        TUS_CHECKSUM_ALGORITHM: ",".join(CHECKSUM_BYTES),
    }
    return web.Response(status=204, headers=headers)


async def _post(request: web.Request, service: UploadService, uploader: Uploader) -> web.Response:
    upload = await service.create(
        uploader, request.headers, _body(request) if request.can_read_body else None
    )
    headers = _progress(upload)
    headers["Location"] = f"{UPLOADS_PATH}/{upload.upload_id}"
    return web.Response(status=201, headers=headers)


async def _head(request: web.Request, service: UploadService, uploader: Uploader) -> web.Response:
    upload = await service.look(uploader, _upload_id(request))
    headers = _progress(upload)
    headers["Cache-Control"] = "no-store"
    if upload.size_bytes is None:
        headers[UPLOAD_DEFER_LENGTH] = "1"
    else:
        headers[UPLOAD_LENGTH] = str(upload.size_bytes)
    if upload.metadata is not None:
        headers[UPLOAD_METADATA] = upload.metadata
    return web.Response(status=200, headers=headers)


async def _patch(request: web.Request, service: UploadService, uploader: Uploader) -> web.Response:
    upload = await service.append(uploader, _upload_id(request), request.headers, _body(request))
    return web.Response(status=204, headers=_progress(upload))


async def _delete(request: web.Request, service: UploadService, uploader: Uploader) -> web.Response:
    await service.delete(uploader, _upload_id(request))
    return web.Response(status=204)


def _body(request: web.Request) -> Body:
    request[_BODY] = body = body_of(request)
    return body


def _release(request: web.Request) -> bool:
    """Whether the connection can serve another request."""
    body = request.get(_BODY)
    return body is None or body.close()


def _upload_id(request: web.Request) -> str:
    return request.match_info["upload_id"]


def _progress(upload: StagedUpload) -> dict[str, str]:
    """Headers of every answer about an upload: how far, how long, and once complete what it is."""
    headers = {UPLOAD_OFFSET: str(upload.offset_bytes)}
    if not upload.stored:
        headers[UPLOAD_EXPIRES] = format_datetime(upload.expires_at, usegmt=True)
    if upload.actual is not None:
        headers[REPR_DIGEST] = format_repr_digest(upload.actual)
    return headers


async def _answer_and_hang_up(request: web.Request, response: web.Response) -> None:
    """The rest of the body will not be read: the answer goes out, then the connection goes down."""
    response.headers[TUS_RESUMABLE] = TUS_VERSION
    response.force_close()
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return  # most likely nobody is listening any more
    request.protocol.force_close()
