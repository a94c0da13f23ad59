"""Errors as RFC 9457 problem details, the same for every route.

Each answer carries our stable ``code`` and whether the same request can succeed later. What nobody foresaw is
answered with ``internal-error`` and a random incident id that the log has too; nothing else of it leaves the house.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from collector.errors import CollectorError, ObjectCorruptError, StorageFullError
from protocol.errors import (
    DigestMismatchError,
    EnrolmentError,
    LimitError,
    ProtocolError,
    SignatureError,
    UploadError,
)
from protocol.upload_errors import UploadDigestError

log = logging.getLogger(__name__)

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"

_STATUS: Final[tuple[tuple[type[ProtocolError], int], ...]] = (
    (LimitError, 413),
    (SignatureError, 403),
    (EnrolmentError, 403),
    (DigestMismatchError, 422),
    (ProtocolError, 400),
)
_WITH_DIGESTS: Final = (DigestMismatchError, UploadDigestError, ObjectCorruptError)


def problem_response(error: Exception) -> web.Response:
    """The answer to a request that ended in ``error``. Logs what is the collector's fault."""
    if isinstance(error, ProtocolError | CollectorError):
        return _known(error)
    if isinstance(error, web.HTTPException):
        return _from_router(error)
    incident = secrets.token_hex(8)
    log.error("internal-error", exc_info=error, extra={"incident": incident})
    detail = f"the collector failed; its log has the reason under incident {incident}"
    return _answer(500, "internal-error", detail, {"retryable": False, "incident": incident})


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every exception of a handler into a problem; redirects and the like pass."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem_response(error)
    except Exception as error:
        return problem_response(error)


def _known(error: ProtocolError | CollectorError) -> web.Response:
    members: dict[str, object] = {"retryable": error.retryable}
    if isinstance(error, _WITH_DIGESTS):
        members |= {"expected": error.expected, "actual": error.actual}
    if isinstance(error, CollectorError) and error.fault == "collector":
        # A full disk says the same for every upload of the hour: one line each, no trace.
        log.error(error.code, exc_info=None if isinstance(error, StorageFullError) else error)
    return _answer(_status(error), error.code, str(error), members)


def _status(error: ProtocolError | CollectorError) -> int:
    if isinstance(error, UploadError | CollectorError):
        return error.status
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def _from_router(error: web.HTTPException) -> web.Response:
    code = re.sub(r"[^a-z]+", "-", error.reason.lower()).strip("-")
    response = _answer(error.status, code, error.reason, {"retryable": False})
    if allow := error.headers.get("Allow"):
        response.headers["Allow"] = allow
    return response


def _answer(status: int, code: str, detail: str, members: Mapping[str, object]) -> web.Response:
    body = {
        "type": f"urn:zhilu:problem:{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    # headers that are no UTF-8 may be quoted in a detail: lone surrogates, which UTF-8 cannot say
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    return web.Response(status=status, body=data, content_type=PROBLEM_CONTENT_TYPE, charset="utf-8")
