"""Slows down whoever guesses enrolment codes or tokens; nobody who showed an enrolled certificate or a good token."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from collector.core.attempts import Attempts
from collector.errors import CollectorError
from collector.http.enrolment import ENROLMENTS_PATH
from collector.http.identity import is_known
from collector.http.problems import problem_response


class TooManyAttemptsError(CollectorError):
    """Too many wrong codes or tokens from this address; try again later."""

    code = "too-many-attempts"
    status = 429
    fault = "caller"
    retryable = True


def slowing(attempts: Attempts, clock_s: Callable[[], float] = time.monotonic) -> Middleware:
    """The middleware; it comes after ``identifying``."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_known(request) or not _is_guess(request):
            return await handler(request)
        address = request.remote or ""
        if (wait_s := attempts.wait_s(address, clock_s())) > 0:
            return _later(wait_s)
        response = await _answer(request, handler)
        if 400 <= response.status < 500:
            attempts.failed(address, clock_s())
        return response

    return middleware


def _is_guess(request: web.Request) -> bool:
    return "Authorization" in request.headers or (
        request.method == "POST" and request.path == ENROLMENTS_PATH
    )


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler says, refusals included."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem_response(error)
    except Exception as error:
        return problem_response(error)


def _later(wait_s: float) -> web.Response:
    response = problem_response(TooManyAttemptsError("too many wrong codes or tokens from this address"))
    response.headers["Retry-After"] = str(math.ceil(wait_s))
    return response
