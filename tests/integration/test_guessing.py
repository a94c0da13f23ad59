"""Whoever guesses codes and tokens over HTTP is slowed; whoever has shown who it is, is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from collector.core.access import Scope, TokenPrincipal
from collector.core.attempts import Attempts
from collector.http.enrolment import ENROLMENTS_PATH, EnrolmentRefusedError
from collector.http.guessing import slowing
from collector.http.identity import identifying, principal_of
from collector.http.problems import problems_middleware
from tests.support.catalogues import catalogue_in
from tests.support.statements import NOW

GOOD = "a good token"
HOLDER = TokenPrincipal(token_id="0" * 16, name="cases", agencies=None, scopes=frozenset({Scope.CLIPS}))


def find_token(text: str, _now: datetime) -> TokenPrincipal | None:
    return HOLDER if text == GOOD else None


class Door:
    """A collector's outer middlewares with a hand on their clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.client: TestClient[web.Request, web.Application]

    async def knock(
        self, method: str, path: str, token: str | None = None
    ) -> tuple[int, str | None, str | None]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.client.request(method, path, headers=headers) as answer:
            body = await answer.json() if answer.content_type == "application/problem+json" else {}
            return answer.status, body.get("code"), answer.headers.get("Retry-After")


@pytest.fixture
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async def enrol(_request: web.Request) -> web.Response:
        raise EnrolmentRefusedError("enrolment-code-unknown", 403, "no such code")

    async def clips(request: web.Request) -> web.Response:
        principal_of(request)
        return web.json_response({})

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({})

    @asynccontextmanager
    async def serving() -> AsyncIterator[Door]:
        door = Door()
        with catalogue_in(tmp_path_factory.mktemp("door")) as catalogue:
            identify = identifying(catalogue, find_token, lambda: NOW)
            slow = slowing(Attempts(burst=3, refill_s=10.0), lambda: door.now_s)
            app = web.Application(middlewares=[problems_middleware, identify, slow])
            app.router.add_post(ENROLMENTS_PATH, enrol)
            app.router.add_get("/api/v1/clips", clips)
            app.router.add_get("/healthz", health)
            async with TestClient(TestServer(app)) as door.client:
                yield door

    async with serving() as running:
        yield running


async def test_after_too_many_wrong_guesses_an_address_has_to_wait(door: Door) -> None:
    for _ in range(2):
        assert await door.knock("POST", ENROLMENTS_PATH) == (403, "enrolment-code-unknown", None)
    assert await door.knock("GET", "/api/v1/clips", "wrong") == (401, "not-authenticated", None)
    assert await door.knock("POST", ENROLMENTS_PATH) == (429, "too-many-attempts", "10")
    assert await door.knock("GET", "/api/v1/clips", "wrong") == (429, "too-many-attempts", "10")
    door.now_s = 9.5
    assert await door.knock("POST", ENROLMENTS_PATH) == (429, "too-many-attempts", "1")
    door.now_s = 10.0
    assert await door.knock("POST", ENROLMENTS_PATH) == (403, "enrolment-code-unknown", None)


async def test_a_good_token_and_a_station_are_not_slowed(door: Door) -> None:
    for _ in range(10):
        await door.knock("GET", "/api/v1/clips", "wrong")
    assert (await door.knock("GET", "/api/v1/clips", "wrong"))[0] == 429
    for _ in range(10):
        assert (await door.knock("GET", "/api/v1/clips", GOOD))[0] == 200


async def test_who_guesses_nothing_is_not_slowed(door: Door) -> None:
    for _ in range(10):
        await door.knock("POST", ENROLMENTS_PATH)
        assert (await door.knock("GET", "/api/v1/clips"))[0] == 401
        assert (await door.knock("GET", "/healthz"))[0] == 200
