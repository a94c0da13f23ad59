"""The collector over the network: strangers, holders of small tokens, stations of another agency, poison."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from collector.ca import CertificateAuthority
from protocol import ed25519
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.ids import COLLECTOR
from protocol.statements import (
    Custody,
    Enrolled,
    Media,
    Problem,
    RecorderClock,
    Rendered,
    Rendition,
    Revoked,
    Statement,
    Stored,
)
from tests.support.attacker import EnrolledStation, raw_get, raw_request, split_answer
from tests.support.processes import CollectorHost, call, needs_site, wait_until

pytestmark = [pytest.mark.e2e, needs_site]

MOST = 2**53 - 1
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
PAINT = "\x00\x1b[2J\u202e" * 150
BETAS = b"footage of the other agency " * 50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """A collector for two agencies with a station each; beta holds one clip."""

    collector: CollectorHost
    alpha: EnrolledStation
    beta: EnrolledStation
    betas_manifest: Digest
    betas_inventory: Digest
    betas_visit: str

    @cache  # noqa: B019 - one field lives as long as the module's tests
    def token(self, agency: str, *scopes: str) -> str:
        wanted = [argument for scope in scopes for argument in ("--scope", scope)]
        folder = str(self.collector.folder)
        answer = call(
            "zhilu-collector", "token", "--data", folder, "--name", "t", "--agency", agency, *wanted
        )
        token: str = answer["token"]
        return token

    def healthy(self) -> bool:
        return self.collector.child.is_running and self.collector.get("/healthz").status == 200


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("attack")
    collector = CollectorHost(folder / "collector", agencies=("alpha", "beta"))
    try:
        collector.start()
        beta = EnrolledStation.enrol(collector, folder / "dock-b", "dock-b", "beta")
        alpha = EnrolledStation.enrol(collector, folder / "dock-a", "dock-a", "alpha")
        listed = beta.inventory(officer=Claim("B-314", "name"))
        clip = beta.manifest(BETAS, beta.id_of(listed), listed.visit)
        beta.say(listed, clip)
        assert beta.upload(BETAS).status == 201
        wait_until(
            lambda: beta.ask(f"/api/v1/receipts/{beta.id_of(clip)}").status == 200, "beta's clip stored"
        )
        yield Field(
            collector=collector,
            alpha=alpha,
            beta=beta,
            betas_manifest=beta.id_of(clip),
            betas_inventory=beta.id_of(listed),
            betas_visit=listed.visit,
        )
    finally:
        collector.child.make_sure_it_ended()
        print(collector.child.last_words())


# --- strangers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/log/tile/../../keys/log.key",
        "/log/tile/%2e%2e/%2e%2e/keys/log.key",
        "/log/tile/0/..%2f..%2f..%2fkeys%2flog.key",
        "/log/tile/0/%00",
        "/log/tile/0/%D9%A0%D9%A0%D9%A0",
        "/log/tile/63/x999/x999/x999/x999/999",
        "/log/.lease",
        "/log/.scratch/",
        "//log/../keys/log.key",
        "/api/v1/receipts/%ff",
        "/api/v1/uploads/../../keys",
        "/api/v1/log/consistency?from=%D9%A1&to=2",
        "/api/v1/log/consistency?from=-1&to=2",
        "/api/v1/log/consistency?from=0&to=99999999999999999999",
    ],
)
def test_no_path_leads_out_of_what_is_published(field: Field, target: str) -> None:
    status, body = raw_get(field.collector, target)
    assert 400 <= status < 500
    assert b"PRIVATE" not in body


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /api/v1/statements HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/statements HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\naaaaaaaaa",
        b"POST /api/v1/statements HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\naaaa",
        b"POST /api/v1/statements HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: x\n\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    ],
    ids=[
        "length and chunked",
        "two lengths",
        "signed length",
        "odd coding",
        "bare LF",
        "header",
        "url",
        "headers",
    ],
)
def test_a_request_that_proxies_could_read_otherwise_is_answered_once_and_refused(
    field: Field, request_bytes: bytes
) -> None:
    answer = raw_request(field.collector, request_bytes)
    assert split_answer(answer)[0] == 400
    assert len(re.findall(rb"(?m)^HTTP/1\.[01] \d{3} ", answer)) == 1


def test_malformed_requests_leave_no_tracebacks_in_the_log(field: Field) -> None:
    for _ in range(20):
        raw_request(field.collector, b"GET / HTTP/1.1\nHost: x\n\n")
    assert "Traceback" not in field.collector.child.log.read_text(errors="replace")


def test_a_header_that_is_no_text_is_no_internal_error(field: Field) -> None:
    status, body = raw_get(field.collector, "/api/v1/uploads", "X-HTTP-Method-Override: \xff\xfe")
    assert status == 405, body


def test_an_override_of_the_method_overrides_no_authentication(field: Field) -> None:
    for method in ("DELETE", "HEAD", "PATCH"):
        status, _ = raw_get(
            field.collector,
            f"/api/v1/uploads/{'0' * 32}",
            f"X-HTTP-Method-Override: {method}",
            "Tus-Resumable: 1.0.0",
        )
        assert status == 401


def test_a_bomb_of_compressed_bytes_is_not_unpacked(field: Field) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    head = (
        "POST /api/v1/enrolments HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: gzip\r\n"
        f"Content-Length: {len(bomb)}\r\n\r\n"
    ).encode()
    status, body = split_answer(raw_request(field.collector, head + bomb))
    assert (status, json.loads(body)["code"]) == (400, "malformed")
    assert field.healthy()


@pytest.mark.parametrize(
    "token", ["", "zlt_", "zlt_" + "0" * 16 + "_" + "0" * 64, "x" * 4000, "zlt_\u00e9", "' OR 1=1 --"]
)
def test_what_is_no_token_opens_nothing(field: Field, token: str) -> None:
    assert raw_get(field.collector, "/api/v1/clips", f"Authorization: Bearer {token}")[0] == 401


def test_a_certificate_of_another_ca_ends_at_the_door(field: Field, tmp_path: Path) -> None:
    foreign = CertificateAuthority.create(datetime.now(UTC))
    credentials = foreign.issue_collector(datetime.now(UTC))
    (tmp_path / "foreign.pem").write_bytes(credentials.certificate_pem)
    (tmp_path / "foreign.key").write_bytes(credentials.key_pem)
    context = ssl.create_default_context(cafile=str(field.collector.config.trust.ca_certificate))
    context.load_cert_chain(tmp_path / "foreign.pem", tmp_path / "foreign.key")
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw_request(field.collector, request)
    assert raw_request(field.collector, request, context=context) == b""


def test_the_servers_own_certificate_is_no_station(field: Field) -> None:
    trust = field.collector.config.trust
    context = ssl.create_default_context(cafile=str(trust.ca_certificate))
    context.load_cert_chain(trust.server_certificate, trust.server_key)
    request = b"GET /api/v1/clips HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw_request(field.collector, request, context=context)
    assert not answer or split_answer(answer)[0] in (401, 403)


# --- small tokens ----------------------------------------------------------------------------------------------


def test_a_token_sees_its_agency_and_its_scope_only(field: Field) -> None:
    reader, viewer = (
        field.token("alpha", "clips:read"),
        field.token("alpha", "clips:read", "footage:read"),
    )
    original = f"/api/v1/originals/{Digest.of(BETAS)}"
    assert field.collector.get(original, reader).status == 403
    assert field.collector.get(original, viewer).status == 404
    assert field.collector.get(f"/api/v1/clips/{field.betas_manifest}", viewer).status == 404
    assert field.collector.get("/api/v1/clips", viewer).json()["clips"] == []
    assert field.collector.get("/api/v1/clips?agency=beta", viewer).json()["clips"] == []
    assert field.collector.get(f"/api/v1/receipts/{field.betas_manifest}", viewer).status == 403


def test_ranges_are_one_and_inside_the_file(field: Field) -> None:
    viewer, path = field.token("beta", "footage:read"), f"/api/v1/originals/{Digest.of(BETAS)}"
    for odd in ("bytes=0-0,1-1," + "2-3," * 1000, f"bytes={len(BETAS)}-", "bytes=9-1"):
        reply = field.collector.get(path, viewer, Range=odd)
        assert (reply.status, len(reply.body)) == (200, len(BETAS)) or reply.status == 416
    last = field.collector.get(path, viewer, Range="bytes=-5")
    assert (last.status, last.body) == (206, BETAS[-5:])
    assert field.collector.get(path, viewer, Range="bytes=0-99999999999").body == BETAS


# --- a station of another agency -------------------------------------------------------------------------------


def test_a_station_reads_nothing_of_another_agency(field: Field) -> None:
    for path in (
        f"/api/v1/receipts/{field.betas_manifest}",
        f"/api/v1/receipts/{field.betas_inventory}",
        f"/api/v1/clips/{field.betas_manifest}",
    ):
        assert field.alpha.ask(path).status == 404
    assert field.alpha.ask("/api/v1/clips?agency=beta").json()["clips"] == []
    assert field.beta.ask(f"/api/v1/originals/{Digest.of(BETAS)}").status == 403


def test_knowing_a_digest_of_another_agency_gives_neither_receipt_nor_bytes(field: Field) -> None:
    listed = field.alpha.inventory()
    claim = field.alpha.manifest(BETAS, field.alpha.id_of(listed), listed.visit)
    assert [result["outcome"] for result in field.alpha.say(listed, claim)] == ["admitted", "admitted"]
    marker = field.alpha.manifest(b"settled after it", field.alpha.id_of(listed), listed.visit)
    field.alpha.say(marker)
    field.alpha.upload(b"settled after it")
    pending = f"/api/v1/receipts/{field.alpha.id_of(marker)}"
    wait_until(lambda: field.alpha.ask(pending).status == 200, "the later one is stored")
    assert field.alpha.ask(f"/api/v1/receipts/{field.alpha.id_of(claim)}").json()["code"] == "receipt-pending"


def test_what_builds_on_another_agencys_statement_gets_no_receipt_with_it(field: Field) -> None:
    """Statement ids are public in the log; the payloads behind them are not."""
    claim = field.alpha.manifest(b"mine", field.betas_inventory, field.betas_visit)
    lie = _rendition(field, b"fake", field.betas_manifest)
    field.alpha.say(claim, lie)
    field.alpha.upload(b"mine")
    field.alpha.upload(b"fake", purpose="rendition")
    size = field.collector.log_size()
    wait_until(lambda: field.collector.log_size() >= size, "the log")
    for statement in (claim, lie):
        reply = field.alpha.ask(f"/api/v1/receipts/{field.alpha.id_of(statement)}")
        assert reply.status == 404
    token = field.token("beta", "clips:read")
    shown = field.collector.get(f"/api/v1/clips/{field.betas_manifest}", token).json()
    assert shown["renditions"] == []


def _rendition(field: Field, content: bytes, of: Digest) -> Rendition:
    return Rendition(
        header=field.alpha.header(),
        original=Digest.of(BETAS),
        manifest=of,
        rendition="playable",
        rendered=Rendered(
            digest=Digest.of(content),
            size_bytes=len(content),
            media_type="video/mp4",
            method="remux",
            tool="t",
            tool_version="1",
            arguments=(),
        ),
        problem=None,
    )


def test_media_facts_of_a_stranger_do_not_describe_a_clip(field: Field) -> None:
    facts = Media(
        header=field.alpha.header(),
        original=Digest.of(BETAS),
        manifest=field.betas_manifest,
        media_type="evil/evil",
        duration_ms=1,
        started_at=TimeClaim(FIRST, "name"),
        recorder=Claim("EVIL", "name"),
        facts={"a": 1},
        problem=None,
    )
    assert field.alpha.say(facts)[0]["outcome"] == "admitted"
    token = field.token("beta", "clips:read")
    shown = field.collector.get(f"/api/v1/clips/{field.betas_manifest}", token).json()
    assert (shown["media_type"], shown["recorder"]) == ("video/mp4", None)


def test_uploads_of_another_agency_cannot_be_made_touched_or_seen(field: Field) -> None:
    assert field.alpha.upload(b"zz", agency="beta").status == 403
    opened = field.beta.ask(
        "/api/v1/uploads", "POST", b"", Tus_Resumable="1.0.0", Upload_Length="9", Upload_Metadata=""
    )
    place = opened.headers["Location"]
    body_type = "application/offset+octet-stream"
    assert field.alpha.ask(place, "HEAD", Tus_Resumable="1.0.0").status == 404
    assert field.alpha.ask(place, "DELETE", Tus_Resumable="1.0.0").status == 404
    refused = field.alpha.ask(
        place, "PATCH", b"x", Tus_Resumable="1.0.0", Upload_Offset="0", Content_Type=body_type
    )
    assert refused.status == 404
    assert field.beta.ask(place, "DELETE", Tus_Resumable="1.0.0").status == 204


def test_a_station_says_nothing_it_has_no_authority_for(field: Field) -> None:
    alpha = field.alpha
    own = alpha.manifest(b"q", field.betas_inventory, field.betas_visit)
    public = ed25519.public_from_seed(alpha.seed)
    stored = Stored(
        header=alpha.header(),
        digest=own.digest,
        size_bytes=own.size_bytes,
        purpose="original",
        statement=alpha.id_of(own),
        stored_at=LAST,
    )
    viewed = Custody(
        header=alpha.header(), event="viewed", item=own.digest, item_name="x", actor="x", details={}
    )
    lies: list[Statement] = [
        replace(own, header=alpha.header(agency="beta")),
        replace(own, header=alpha.header(agency=COLLECTOR)),
        replace(own, header=alpha.header(agency="beta", signer="dock-b")),
        replace(own, header=alpha.header(signer="dock-b")),
        stored,
        replace(stored, header=alpha.header(signer=COLLECTOR)),
        Enrolled(header=alpha.header(agency="beta"), role="station", name="dock-a", public_key=public),
        Enrolled(header=alpha.header(), role="collector", name=COLLECTOR, public_key=public),
        Revoked(header=alpha.header(agency="beta"), name="dock-b", key_digest=Digest.of(b""), reason="x"),
        viewed,
    ]
    assert {result["outcome"] for result in alpha.say(*lies)} == {"refused"}


def test_the_broker_gives_and_takes_by_certificate_alone(field: Field) -> None:
    if shutil.which("mosquitto_pub") is None or shutil.which("mosquitto_sub") is None:
        pytest.skip("not installed: mosquitto_pub (apt-get install mosquitto-clients)")
    refused = _mqtt(field, "mosquitto_pub", "-t", "zhilu/v1/beta/dock-b/status", "-m", "{}", "-q", "1", "-r")
    assert "Not authorized" in refused.stdout + refused.stderr
    heard = _mqtt(
        field, "mosquitto_sub", "-t", "zhilu/#", "-t", "#", "-t", "$SYS/#", "-q", "1", "-W", "2", "-v"
    )
    assert "dock-b" not in heard.stdout
    assert "$SYS" not in heard.stdout


def _mqtt(field: Field, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    config, keys = field.collector.config, field.alpha.keys
    command = [program, "-V", "5", "-h", "127.0.0.1", "-p", str(config.mqtt_port)]
    command += ["--cafile", str(config.trust.ca_certificate), "-i", "dock-b"]
    command += ["--cert", str(keys / "station.pem"), "--key", str(keys / "tls.key")]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=20, check=False)


# --- poison ----------------------------------------------------------------------------------------------------


def test_statements_with_every_value_at_its_edge_harm_neither_log_nor_queries_nor_a_rebuild(
    field: Field,
) -> None:
    """What is in the log stays there: one statement the catalogue could not take would stop it for ever."""
    alpha = field.alpha
    listed = alpha.inventory(
        header=alpha.header(at=FIRST),
        rows=2_000_000,
        listing_size_bytes=2**40,
        listed_bytes=MOST,
        sequence=MOST,
        dock=PAINT,
        bay=PAINT,
        profile=PAINT,
        volume_label=PAINT,
        total_bytes=MOST,
        free_bytes=MOST,
        battery_percent=100,
        recorder=Claim(PAINT, "name"),
        officer=Claim(PAINT, "device"),
        clock=RecorderClock(offset_ms=-MOST, uncertainty_ms=MOST, method="x" * 64),
    )
    clip = alpha.manifest(
        b"edge",
        alpha.id_of(listed),
        listed.visit,
        size_bytes=2**40,
        row=2_000_000,
        path=PAINT,
        path_bytes=b"\x01" * 4096,
        media_type="\x00" * 100,
        modified_at=FIRST,
        recorder=Claim(PAINT, "name"),
        officer=Claim(PAINT, "name"),
        started_at=TimeClaim(LAST, "name"),
        read_started_at=LAST,
        read_finished_at=FIRST,
        attempts=MOST,
    )
    facts = Media(
        header=alpha.header(at=LAST),
        original=clip.digest,
        manifest=alpha.id_of(clip),
        media_type="m",
        duration_ms=MOST,
        started_at=TimeClaim(FIRST, "container"),
        recorder=Claim(PAINT, "exif"),
        facts={"k": [1.5, {"z": None}], "\x00": "\x00"},
        problem=None,
    )
    unmade = Rendition(
        header=alpha.header(),
        original=clip.digest,
        manifest=alpha.id_of(clip),
        rendition="poster",
        rendered=None,
        problem=Problem(code="\x00" * 64, detail=PAINT),
    )
    said: list[Statement] = [alpha.inventory(header=alpha.header(at=LAST)), listed, clip, facts, unmade]
    marks: list[dict[str, str | int]] = [
        {"row": MOST, "code": PAINT},
        {"row": -1, "code": 5},
        {"row": "0", "\x00" * 5000: "y"},
    ]
    said += [
        Custody(
            header=alpha.header(),
            event="unreadable",
            item=alpha.id_of(listed),
            item_name=PAINT,
            actor=PAINT,
            details=details,
        )
        for details in marks
    ]
    assert {result["outcome"] for result in alpha.say(*said)} == {"admitted"}
    token = field.token("alpha", "clips:read")
    for path in ("clips?limit=500", f"clips/{alpha.id_of(clip)}", f"custody/{alpha.id_of(listed)}"):
        assert field.collector.get(f"/api/v1/{path}", token).status == 200
    assert "\x1b" not in field.collector.child.log.read_text(errors="replace")
    _rebuild_and_compare(field.collector)


def _rebuild_and_compare(collector: CollectorHost) -> None:
    """What is said later of the catalogue as it is, of one made anew, and of what a start makes of nothing."""
    data = str(collector.folder)
    assert call("zhilu-collector", "rebuild", "--data", data, "--compare")["identical"]
    collector.child.end()
    for path in collector.folder.glob("catalogue.sqlite*"):
        path.unlink()
    collector.start()
    assert call("zhilu-collector", "rebuild", "--data", data, "--compare")["identical"]
    collector.child.end()
    call("zhilu-collector", "rebuild", "--data", data)
    collector.start()
