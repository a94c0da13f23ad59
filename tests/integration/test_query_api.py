"""The query API over real HTTP: who sees what, what is refused, and that the document tells the truth."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from collector.catalogue import Catalogue
from collector.core.access import Principal, Scope, StationPrincipal, TokenPrincipal
from collector.errors import NotAuthenticatedError
from collector.http.api_operations import API_OPERATIONS
from collector.http.enrolment import EnrolmentHandlers, add_enrolment_routes
from collector.http.explanations import ExplanationHandlers, add_explanation_routes
from collector.http.footage import FootageHandlers, add_footage_routes
from collector.http.log import LogHandlers, add_log_routes
from collector.http.openapi import openapi_document
from collector.http.operations import OperationsHandlers, add_operations_routes
from collector.http.problems import problems_middleware
from collector.http.queries import QueryHandlers, add_query_routes
from collector.http.query_operations import QUERY_OPERATIONS
from collector.http.statements import StatementHandlers, add_statement_routes
from collector.http.tus import add_tus_routes
from collector.http.uploads import UploadService
from protocol.claims import TimeClaim
from protocol.ids import COLLECTOR
from tests.support.catalogues import apply_all, catalogue_in
from tests.support.statements import (
    NOW,
    VISIT,
    Log,
    again,
    custody,
    digest,
    enrolled,
    header,
    id_of,
    inventory,
    manifest,
    media,
    rendition,
    stored,
)

CLIPS = frozenset({Scope.CLIPS})
PRINCIPALS: dict[str, Principal] = {
    "everything": TokenPrincipal(token_id="0" * 16, name="auditor", agencies=None, scopes=CLIPS),
    "alpha": TokenPrincipal(token_id="0" * 16, name="cases", agencies=frozenset({"alpha"}), scopes=CLIPS),
    "beta": TokenPrincipal(token_id="0" * 16, name="others", agencies=frozenset({"beta"}), scopes=CLIPS),
    "footage only": TokenPrincipal(
        token_id="0" * 16, name="player", agencies=None, scopes=frozenset({Scope.FOOTAGE})
    ),
    "dock": StationPrincipal(name="dock-1", agencies=frozenset({"alpha"})),
}

INVENTORY = inventory(rows=3)
CLIP = manifest(INVENTORY, recorder="R1", officer="012345", started_at=TimeClaim(NOW, "name"))
FOREIGN = manifest(inventory(head=header("beta", "dock-9"), visit="b" * 32), content="foreign")
OTHERS = [again(manifest(INVENTORY, 1, content=f"clip {number}"), number + 10) for number in range(5)]


def authenticate(request: web.Request) -> Principal:
    principal = PRINCIPALS.get(request.headers.get("Authorization", ""))
    if principal is None:
        raise NotAuthenticatedError("a token is needed")
    return principal


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    log = Log()
    log.add(enrolled(COLLECTOR), INVENTORY, CLIP, stored(CLIP), FOREIGN, *OTHERS)
    log.add(media(CLIP), rendition(CLIP), custody("viewed", CLIP.digest), custody("viewed", CLIP.digest))
    log.add(
        *(custody("damaged", digest(name), details={"code": "object-missing"}) for name in ("one", "two"))
    )
    with catalogue_in(tmp_path) as opened:
        apply_all(opened, log)
        yield opened


class Api:
    """Asks as somebody, and reads JSON."""

    def __init__(self, client: TestClient[web.Request, web.Application]) -> None:
        self._client = client

    async def ask(self, path: str, who: str = "alpha", **headers: str) -> tuple[int, Any]:
        async with self._client.get(path, headers={"Authorization": who, **headers}) as response:
            body = await response.read()
            self.headers = response.headers
            return response.status, json.loads(body) if body else None

    async def code(self, path: str, who: str = "alpha") -> tuple[int, str]:
        status, body = await self.ask(path, who)
        assert self.headers["Content-Type"].startswith("application/problem+json")
        return status, body["code"]


@pytest.fixture
async def api(catalogue: Catalogue) -> AsyncIterator[Api]:
    app = web.Application(middlewares=[problems_middleware])
    add_query_routes(app, QueryHandlers(catalogue=catalogue, authenticate=authenticate))
    async with TestClient(TestServer(app)) as client:
        yield Api(client)


async def test_a_clip_is_told_with_the_sources_of_its_claims(api: Api) -> None:
    status, clip = await api.ask(f"/api/v1/clips/{id_of(CLIP)}")
    assert status == 200
    assert clip["name"] == "DCIM/clip.mp4"
    assert clip["officer"] == {"value": "012345", "source": "name"}
    assert clip["started_at"] == {"value": "2026-03-01T08:00:00.000Z", "source": "name"}
    assert (clip["log_index"], clip["stored_index"], clip["stored_at"]) == (2, 3, "2026-03-01T08:01:00.000Z")
    assert [made["rendition"] for made in clip["renditions"]] == ["playable"]


async def test_an_unchanged_resource_is_not_sent_again(api: Api) -> None:
    for path in (f"/api/v1/clips/{id_of(CLIP)}", f"/api/v1/visits/{VISIT}/inventory", "/api/v1/openapi.json"):
        await api.ask(path)
        etag = api.headers["ETag"]
        assert await api.ask(path, **{"If-None-Match": f'"other", {etag}'}) == (304, None)
        assert api.headers["ETag"] == etag
        status, _ = await api.ask(path, **{"If-None-Match": '"other"'})
        assert status == 200


async def test_pages_lead_to_each_other_until_the_end(api: Api) -> None:
    path, found = "/api/v1/clips?limit=2&agency=alpha", []
    cursor = None
    while True:
        status, page = await api.ask(path if cursor is None else f"{path}&cursor={cursor}")
        assert status == 200
        found += [clip["manifest"] for clip in page["clips"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [str(id_of(CLIP)), *(str(id_of(clip)) for clip in reversed(OTHERS))]


async def test_filters_narrow_the_list(api: Api) -> None:
    local = quote("2026-03-01T16:00:00+08:00")
    for query, count in {
        "recorder=R1": 1,
        "officer=012345&stored=true": 1,
        "officer=nobody": 0,
        "stored=false": 5,
        f"started_from={local}": 1,
        f"started_before={local}": 0,
        f"digest={CLIP.digest}": 1,
        "agency=beta": 0,
    }.items():
        status, page = await api.ask(f"/api/v1/clips?{query}")
        assert (status, len(page["clips"])) == (200, count), query


async def test_the_clips_of_an_original_are_those_with_its_bytes(api: Api) -> None:
    status, page = await api.ask(f"/api/v1/originals/{CLIP.digest}/clips")
    assert (status, [clip["manifest"] for clip in page["clips"]]) == (200, [str(id_of(CLIP))])
    assert (await api.ask(f"/api/v1/originals/{digest('unknown')}/clips"))[1]["clips"] == []


async def test_a_visit_is_accounted_for(api: Api) -> None:
    status, visit = await api.ask(f"/api/v1/visits/{VISIT}/inventory")
    assert status == 200
    assert visit["accounting"] == visit["inventories"][0]["accounting"]
    assert visit["accounting"] | {"listed": 3, "stored": 1, "pending": 2} == visit["accounting"]
    assert visit["inventories"][0]["listing"] == "awaited"


async def test_custody_events_come_in_pages_too(api: Api) -> None:
    status, first = await api.ask(f"/api/v1/custody/{CLIP.digest}?limit=1")
    assert (status, [event["event"] for event in first["events"]]) == (200, ["viewed"])
    _, second = await api.ask(f"/api/v1/custody/{CLIP.digest}?after={first['next_after']}")
    assert (len(second["events"]), second["next_after"]) == (1, None)


async def test_findings_say_what_is_wrong_and_what_to_do(api: Api) -> None:
    status, page = await api.ask("/api/v1/findings?limit=1")
    assert (status, len(page["findings"])) == (200, 1)
    (found,) = page["findings"]
    assert (found["code"], found["severity"], found["closed_by"]) == ("object-missing", "alarm", None)
    assert found["says"]["zh"]
    assert found["advice"]["en"]
    _, second = await api.ask(f"/api/v1/findings?limit=1&cursor={page['next_cursor']}")
    assert second["findings"][0]["opened_index"] == found["opened_index"] - 1
    assert second["next_cursor"] is None
    assert await api.ask(f"/api/v1/findings/{found['finding']}") == (200, found)
    assert await api.code(f"/api/v1/findings/{found['finding']}", "beta") == (404, "not-found")
    assert [one["code"] for one in (await api.ask("/api/v1/findings", "beta"))[1]["findings"]] == [
        "manifest-before-inventory"
    ]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("code=object-missing", 2),
        ("code=object-altered", 0),
        ("open=true", 2),
        ("open=false", 0),
        ("agency=beta", 0),
        ("station=dock-1", 0),
        ("recorder=R1", 0),
        (f"visit={VISIT}", 0),
        ("opened_from=2026-01-01T00:00:00Z", 2),
        ("opened_before=2026-01-01T00:00:00Z", 0),
    ],
)
async def test_findings_are_filtered(api: Api, query: str, count: int) -> None:
    status, page = await api.ask(f"/api/v1/findings?{query}")
    assert (status, len(page["findings"])) == (200, count)


@pytest.mark.parametrize(
    "query", ["code=no-such", "open=maybe", "visit=1", "station=A%27--", "opened_from=now", "cursor=AAAA"]
)
async def test_a_mistyped_filter_of_findings_is_refused(api: Api, query: str) -> None:
    status, code = await api.code(f"/api/v1/findings?{query}")
    assert (status, code) == (400, "cursor-invalid" if query.startswith("cursor") else "parameter-invalid")


async def test_a_cursor_of_clips_opens_no_findings(api: Api) -> None:
    _, page = await api.ask("/api/v1/clips?limit=1")
    assert await api.code(f"/api/v1/findings?cursor={page['next_cursor']}") == (400, "cursor-invalid")


async def test_other_agencies_do_not_exist(api: Api) -> None:
    foreign = id_of(FOREIGN)
    assert await api.code(f"/api/v1/clips/{foreign}") == (404, "not-found")
    assert await api.code(f"/api/v1/clips/{foreign}", "dock") == (404, "not-found")
    assert await api.code(f"/api/v1/visits/{VISIT}/inventory", "beta") == (404, "not-found")
    for path, rows in {
        f"/api/v1/originals/{FOREIGN.digest}/clips": "clips",
        "/api/v1/clips?agency=beta": "clips",
    }.items():
        assert (await api.ask(path))[1][rows] == []
        assert len((await api.ask(path, "beta"))[1][rows]) == 1
    assert (await api.ask(f"/api/v1/custody/{CLIP.digest}", "beta"))[1]["events"] == []
    assert len((await api.ask("/api/v1/clips", "everything"))[1]["clips"]) == 7


PATHS = [
    "/api/v1/clips",
    f"/api/v1/clips/{id_of(CLIP)}",
    f"/api/v1/originals/{CLIP.digest}/clips",
    f"/api/v1/visits/{VISIT}/inventory",
    f"/api/v1/custody/{CLIP.digest}",
    "/api/v1/findings",
]


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_reads_without_a_token_of_this_scope(api: Api, path: str) -> None:
    assert await api.code(path, "stranger") == (401, "not-authenticated")
    assert await api.code(path, "footage only") == (403, "scope-missing")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["unknown=1", "limit=1&limit=2", "Limit=1", "%00=1", "=", "recorder[]=x"])
async def test_unknown_and_repeated_parameters_are_refused(api: Api, path: str, query: str) -> None:
    assert await api.code(f"{path}?{query}") == (400, "parameter-invalid")


HOSTILE = {
    "limit": ["0", "-1", "501", "1e3", "", "9" * 400, "1.0", " 1", "१", "0x1", "1;DROP TABLE clips"],
    "recorder": ["", "a\x00b", "a\nb", "x" * 257, "\x1f"],
    "officer": ["", "\x00", "y" * 5000],
    "agency": ["", "Alpha", "a'--", "../alpha", "x" * 64, "_collector"],
    "digest": ["", "sha256:", "md5:" + "0" * 32, "sha256:" + "G" * 64, "sha256:" + "0" * 65, "0" * 64],
    "stored": ["", "1", "TRUE", "null"],
    "started_from": [
        "",
        "now",
        "2026-03-01",
        "2026-03-01T08:00:00",
        "2026-02-30T08:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-03-01T08:00:00 08:00",
        "2026-03-01T08:00:00+99:99",
        "1e400",
    ],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in HOSTILE.items() for value in values]
)
async def test_hostile_values_are_refused_with_a_code(api: Api, name: str, value: str) -> None:
    assert await api.code(f"/api/v1/clips?{name}={quote(value)}") == (400, "parameter-invalid")


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "_", "R1'; DROP TABLE clips; --", "R\u202e1"])
async def test_sql_in_a_filter_is_only_text(api: Api, text: str) -> None:
    assert (await api.ask(f"/api/v1/clips?recorder={quote(text)}")) == (
        200,
        {"clips": [], "next_cursor": None},
    )
    assert len((await api.ask("/api/v1/clips"))[1]["clips"]) == 6


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "A" * 32, "A" * 5000, "%00", "ä", "../..", "-" * 32])
async def test_a_cursor_that_was_not_given_out_is_refused(api: Api, cursor: str) -> None:
    assert await api.code(f"/api/v1/clips?cursor={quote(cursor)}") == (400, "cursor-invalid")


async def test_a_cursor_serves_only_the_query_it_was_given_for(api: Api) -> None:
    _, page = await api.ask("/api/v1/clips?limit=1")
    cursor = page["next_cursor"]
    assert (await api.ask(f"/api/v1/clips?limit=3&cursor={cursor}"))[0] == 200
    assert await api.code(f"/api/v1/clips?recorder=R1&cursor={cursor}") == (400, "cursor-invalid")
    assert await api.code(f"/api/v1/originals/{CLIP.digest}/clips?cursor={cursor}") == (400, "cursor-invalid")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/clips/sha256:00",
        "/api/v1/clips/%00",
        "/api/v1/originals/x/clips",
        "/api/v1/visits/..%2F..%2Fetc/inventory",
        "/api/v1/visits/" + "G" * 32 + "/inventory",
        "/api/v1/custody/sha256:" + "0" * 5000,
        f"/api/v1/custody/{CLIP.digest}?after=-1",
        f"/api/v1/custody/{CLIP.digest}?after=" + "9" * 30,
    ],
)
async def test_hostile_paths_are_refused_with_a_code(api: Api, path: str) -> None:
    assert await api.code(path) == (400, "parameter-invalid")


# the document


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi_document([*QUERY_OPERATIONS, *API_OPERATIONS])


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


async def test_the_document_is_served_to_everybody(api: Api, document: dict[str, Any]) -> None:
    status, served = await api.ask("/api/v1/openapi.json", "stranger")
    assert (status, served) == (200, json.loads(msgspec.json.encode(document)))
    assert served["openapi"] == "3.1.0"


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(_references(document))
    assert references
    for reference in references:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_operation_of_the_document_is_of_the_standards_form(document: dict[str, Any]) -> None:
    """The constraints of the OpenAPI 3.1 schema that apply to what we use of it."""
    assert set(document) == {"openapi", "info", "paths", "components"}
    assert set(document["info"]) >= {"title", "version"}
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} <= {"http", "mutualTLS"}
    for path, methods in document["paths"].items():
        assert path.startswith("/")
        for method, operation in methods.items():
            assert method in {"get", "head", "post", "patch", "delete", "options"}
            assert set(operation) <= {
                "operationId",
                "summary",
                "parameters",
                "security",
                "responses",
                "requestBody",
            }
            assert operation["responses"].keys() - {"default"} <= {"200", "201", "204", "206", "304", "503"}
            assert all(response["description"] for response in operation["responses"].values())
            assert all(scheme in schemes for entry in operation["security"] for scheme in entry)
            in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert all(one["required"] for one in operation["parameters"] if one["in"] == "path")


def test_the_routes_are_those_of_the_document(document: dict[str, Any]) -> None:
    app = web.Application()
    nothing = cast(Any, None)
    add_query_routes(app, QueryHandlers(catalogue=nothing, authenticate=authenticate))
    add_explanation_routes(app, _empty(ExplanationHandlers))
    add_log_routes(app, LogHandlers(nothing, nothing))
    add_statement_routes(app, StatementHandlers(intake=nothing, receipts=nothing))
    add_tus_routes(app, UploadService(nothing, nothing, now=lambda: NOW))
    add_footage_routes(app, _empty(FootageHandlers))
    add_enrolment_routes(app, _empty(EnrolmentHandlers))
    add_operations_routes(app, OperationsHandlers(registry=nothing, probe=dict, vital=frozenset()))
    served = {
        (route.resource.canonical, route.method.lower())
        for route in app.router.routes()
        if route.resource is not None
    }
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    by_any_method = {path for path, method in served if method == "*"}
    assert {place for place in described if place[0] not in by_any_method} == {
        (path, method) for path, method in served if method not in ("*", "head")
    }
    assert by_any_method == {path for path, _ in described if path.startswith("/api/v1/uploads")}


def _empty(kind: type[Any]) -> Any:
    """Handlers nobody will call."""
    return object.__new__(kind)


async def test_answers_have_the_form_the_document_says(api: Api, document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for path, name in {
        "/api/v1/clips": "ClipPage",
        f"/api/v1/clips/{id_of(CLIP)}": "Clip",
        f"/api/v1/visits/{VISIT}/inventory": "Visit",
        f"/api/v1/custody/{CLIP.digest}": "CustodyPage",
        "/api/v1/findings": "FindingPage",
        "/api/v1/clips?limit=0": "Problem",
    }.items():
        _, body = await api.ask(path)
        assert set(schemas[name]["required"]) <= set(body) <= set(schemas[name]["properties"])


def test_two_operations_cannot_have_one_place() -> None:
    with pytest.raises(ValueError, match="twice"):
        openapi_document([QUERY_OPERATIONS[0], QUERY_OPERATIONS[0]])
