"""Every parameter that the collector says it has, with what breaks databases, paths, parsers and terminals.

Driven from the served OpenAPI document, so that no parameter is forgotten: a new one is asked the same questions.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from collector.core.access import Scope
from tests.support.attacker import EnrolledStation
from tests.support.processes import CollectorHost, needs_site

pytestmark = [pytest.mark.e2e, needs_site]

HOSTILE = (
    "",
    "'",
    "' OR '1'='1",
    "'; DROP TABLE clips; --",
    '" UNION SELECT secret FROM tokens --',
    "%' ESCAPE '",
    "\\",
    "../../keys/log.key",
    "..\\..\\keys",
    "/etc/passwd",
    "....//....//etc/passwd",
    "%2e%2e%2f",
    "a\x00b",
    "\n\r\nX-Injected: 1",
    "\x1b[2J\u202e",
    "\ud800",
    "😀" * 300,
    "١٢٣",
    "-1",
    "1e400",
    "NaN",
    "9" * 400,
    "9223372036854775808",
    "0x10",
    "sha256:" + "0" * 64,
    "sha256:" + "A" * 64,
    "0" * 32,
    "{}",
    "[]",
    "${jndi:ldap://x}",
    "<script>",
    "x" * 6000,
)
CONTROL = [chr(code) for code in (*range(32), 127)]
VALID = {"path": "0/000", "upload_id": "0" * 32, "visit": "0" * 32}
DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Site:
    """A running collector, somebody who may read everything, and a station."""

    collector: CollectorHost
    token: str
    station: EnrolledStation


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("parameters")
    collector = CollectorHost(folder / "collector")
    try:
        collector.start()
        station = EnrolledStation.enrol(collector, folder / "dock", "dock-1", "jing-an")
        station.say(station.inventory())
        yield Site(collector, collector.token("reader", *(scope.value for scope in Scope)), station)
    finally:
        collector.child.make_sure_it_ended()
        print(collector.child.last_words())


class Line:
    """One connection kept open; a new one whenever the collector hangs up."""

    def __init__(self, site: Site, context: ssl.SSLContext, headers: Mapping[str, str]) -> None:
        self._port = site.collector.config.http_port
        self._context = context
        self._headers = headers
        self._connection: http.client.HTTPSConnection | None = None

    def ask(self, method: str, target: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", self._port, context=self._context, timeout=30
            )
        try:
            self._connection.request(method, target, headers=dict(self._headers))
            with self._connection.getresponse() as answer:
                found = answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except (http.client.HTTPException, ConnectionError):
            self.close()
            raise
        if answer.will_close:
            self.close()
        return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def coded(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def targets(path: str, parameters: list[dict[str, Any]], wanted: Mapping[str, str]) -> str:
    """The path with ``wanted`` values; what is in the path and not wanted gets a value of the right form."""
    for one in (one for one in parameters if one["in"] == "path"):
        name = one["name"]
        path = path.replace(f"{{{name}}}", wanted.get(name) or VALID.get(name, DIGEST))
    query = [f"{one['name']}={wanted[one['name']]}" for one in parameters if one["in"] == "query"
             and one["name"] in wanted]  # fmt: skip
    return "?".join([path, "&".join(query)]) if query else path


def questions(document: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Method, target, and whether it is a station's, for every parameter and every hostile value."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_certificate = {"token": []} not in operation["security"] and bool(operation["security"])
            for one in operation["parameters"]:
                for value in (*HOSTILE, *CONTROL):
                    if one["in"] == "path" and not value:
                        continue
                    target = targets(path, operation["parameters"], {one["name"]: coded(value)})
                    yield method.upper(), target, by_certificate
                if one["in"] == "query":  # repeated, unknown, without a value
                    for query in (f"{one['name']}=1&{one['name']}=2", f"{one['name']}[]=1", one["name"]):
                        yield (
                            method.upper(),
                            targets(path, operation["parameters"], {}) + "?" + query,
                            by_certificate,
                        )


def test_no_value_of_any_parameter_is_more_than_a_value(site: Site) -> None:
    token = {"Authorization": f"Bearer {site.token}", "Tus-Resumable": "1.0.0"}
    reader = Line(site, site.collector.context, token)
    station = Line(site, site.station.context, {"Tus-Resumable": "1.0.0"})
    document = json.loads(reader.ask("GET", "/api/v1/openapi.json")[2])
    wrong, asked, refused = [], 0, 0
    for method, target, by_certificate in questions(document):
        status, kind, body = (station if by_certificate else reader).ask(method, target)
        asked += 1
        refused += status >= 400
        is_problem = kind.startswith("application/problem+json")
        has_code = method == "HEAD" or (is_problem and bool(json.loads(body)["code"]))
        if status >= 500 or (status >= 400 and not has_code) or b"Traceback" in body:
            wrong.append((method, target[:120], status, body[:200]))
    reader.close()
    station.close()
    assert wrong == []
    assert asked > 1500
    assert refused > asked // 2
    said = site.collector.child.log.read_text(errors="replace")
    assert "internal-error" not in said
    assert "Traceback" not in said
    assert site.collector.get("/healthz").status == 200
