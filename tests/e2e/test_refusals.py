"""Who is refused at a collector's door, with which word, and what of it gets into the log; who may look, and how."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from protocol import ed25519
from protocol.admission import AdmissionResult, open_admission
from protocol.checkpoint import open_checkpoint
from protocol.lines import decode_base64
from protocol.log_reading import LogCopy, RootAccumulator, check_entries, read_entries
from protocol.merkle import verify_consistency
from protocol.note import VerifierKey
from protocol.statements import Custody, sign_statement, statement_id
from protocol.tiles import Tile
from tests.support.furnished import FOREIGN, OWN, Furnished
from tests.support.processes import Reply, needs_site

pytestmark = [pytest.mark.e2e, pytest.mark.media, needs_site]

STRANGERS_SEED = b"x" * ed25519.SEED_BYTES


def refusal_of(reply: Reply) -> tuple[int, str]:
    """Status and stable code of a problem."""
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    problem = reply.json()
    assert problem["status"] == reply.status
    return reply.status, problem["code"]


def knock(furnished: Furnished, context: ssl.SSLContext, **headers: str) -> set[tuple[int, str]]:
    """Everything a station does, tried by somebody else: how it is refused."""
    replies = (
        furnished.announce_something(context, **headers),
        furnished.begin_upload(context, **headers),
        furnished.get(f"/api/v1/receipts/{statement_of(furnished)}", context, **headers),
    )
    return {refusal_of(reply) for reply in replies}


def statement_of(furnished: Furnished) -> str:
    return str(next(said.id for said in furnished.said() if said.statement == furnished.clip))


def admission_of(furnished: Furnished, reply: Reply) -> AdmissionResult:
    assert reply.status == 200, reply.body
    (result,) = open_admission(reply.body, furnished.enrolment.collector_public_key).results
    return result


# --- at the station's door


def test_nobody_in_particular_is_not_authenticated(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    assert knock(furnished, furnished.site.collector.context) == {(401, "not-authenticated")}
    assert furnished.said_since(size) == []


def test_a_station_with_a_certificate_but_no_enrolment_is_not_enrolled(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    assert knock(furnished, furnished.as_unenrolled()) == {(403, "not-enrolled")}
    assert furnished.said_since(size) == []


def test_a_certificate_of_another_ca_opens_no_connection_at_all(furnished: Furnished) -> None:
    size, stranger = furnished.site.collector.log_size(), furnished.as_stranger()
    for path in ("/healthz", "/log/checkpoint", f"/api/v1/receipts/{statement_of(furnished)}"):
        with pytest.raises(OSError, match=r"(?i)alert|reset|closed|EOF"):
            furnished.get(path, stranger)
    assert furnished.said_since(size) == []


def test_a_token_does_not_make_a_station(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    bearer = f"Bearer {furnished.token('case-system', 'clips:read', 'footage:read')}"
    refused = knock(furnished, furnished.site.collector.context, Authorization=bearer)
    assert refused == {(403, "not-allowed")}
    assert furnished.said_since(size) == []


def test_a_statement_signed_by_nobody_known_is_refused_and_leaves_no_trace(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    forged = sign_statement(furnished.inventory(), STRANGERS_SEED)
    result = admission_of(furnished, furnished.announce(furnished.as_station(), forged))
    assert (result.outcome, result.code, result.retryable) == ("refused", "not-enrolled", False)
    assert furnished.said_since(size) == []


def test_a_statement_altered_after_it_was_signed_is_refused_and_leaves_no_trace(
    furnished: Furnished,
) -> None:
    size = furnished.site.collector.log_size()
    honest = sign_statement(furnished.inventory(), furnished.seed)
    altered = replace(honest, payload=honest.payload.replace(b'"rows":2', b'"rows":3'))
    result = admission_of(furnished, furnished.announce(furnished.as_station(), altered))
    assert (result.outcome, result.code) == ("refused", "signature-invalid")
    assert furnished.said_since(size) == []


def test_a_station_that_speaks_in_anothers_name_is_refused(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    envelope = sign_statement(furnished.inventory(signer="dock-2"), furnished.seed)
    result = admission_of(furnished, furnished.announce(furnished.as_station(), envelope))
    assert (result.outcome, result.code) == ("refused", "not-enrolled")
    (recorded,) = furnished.said_since(size)
    assert isinstance(recorded, Custody)
    assert recorded.event == "refused"


def test_speaking_for_another_agency_is_refused_and_the_refusal_recorded_once(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    envelope = sign_statement(furnished.inventory(agency=FOREIGN), furnished.seed)
    for _ in range(3):
        result = admission_of(furnished, furnished.announce(furnished.as_station(), envelope))
        assert (result.outcome, result.code, result.index) == ("refused", "agency-not-allowed", None)
    (recorded,) = furnished.said_since(size)
    assert isinstance(recorded, Custody)
    assert (recorded.event, recorded.actor, recorded.item) == (
        "refused",
        furnished.enrolment.station,
        statement_id(envelope),
    )
    assert recorded.details == {"code": "agency-not-allowed", "agency": FOREIGN}


def test_uploading_for_another_agency_is_refused(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    reply = furnished.begin_upload(furnished.as_station(), agency=FOREIGN)
    assert refusal_of(reply) == (403, "agency-not-allowed")
    assert furnished.begin_upload(furnished.as_station(), agency=OWN).status == 201
    assert furnished.said_since(size) == []


# --- at the viewers' door


def originals(furnished: Furnished) -> str:
    return f"/api/v1/originals/{furnished.clip.digest}"


def renditions(furnished: Furnished) -> str:
    assert furnished.playable.rendered is not None
    return f"/api/v1/renditions/{furnished.playable.rendered.digest}"


@pytest.mark.parametrize("path_of", [originals, renditions])
def test_footage_is_shown_to_nobody_without_a_token_for_it(
    furnished: Furnished, path_of: Callable[[Furnished], str]
) -> None:
    size, collector, path = furnished.site.collector.log_size(), furnished.site.collector, path_of(furnished)
    assert refusal_of(collector.get(path)) == (401, "not-authenticated")
    assert refusal_of(collector.get(path, "zlt_0123456789abcdef_" + "0" * 64)) == (401, "not-authenticated")
    reply = collector.get(path, furnished.token("clerk", "clips:read"))
    assert reply.status == 403
    assert refusal_of(furnished.get(path, furnished.as_station())) == (403, "not-allowed")
    assert furnished.said_since(size) == []


def test_an_original_is_shown_whole_and_in_ranges_bit_by_bit(furnished: Furnished) -> None:
    collector, token = furnished.site.collector, furnished.token("prosecutor", "footage:read")
    path, content = originals(furnished), furnished.content
    whole = collector.get(path, token)
    assert (whole.status, whole.body) == (200, content)
    assert whole.headers["Accept-Ranges"] == "bytes"
    for wanted, expected in {
        "bytes=0-99": content[:100],
        "bytes=1000-": content[1000:],
        "bytes=-77": content[-77:],
        "bytes=500-500": content[500:501],
    }.items():
        part = collector.get(path, token, Range=wanted)
        assert (part.status, part.body) == (206, expected), wanted
        assert part.headers["Content-Range"].endswith(f"/{len(content)}")
    beyond = collector.get(path, token, Range=f"bytes={len(content)}-")
    assert refusal_of(beyond) == (416, "range-not-satisfiable")


def test_one_viewer_of_one_clip_leaves_one_entry_however_many_ranges_a_player_asks_for(
    furnished: Furnished,
) -> None:
    size, collector = furnished.site.collector.log_size(), furnished.site.collector
    tokens = [furnished.token(name, "footage:read") for name in ("viewer-1", "viewer-2")]
    paths = [originals(furnished), renditions(furnished)]
    wishes = [(path, token, start) for start in range(0, 6000, 1000) for path in paths for token in tokens]
    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(
                lambda wish: collector.get(wish[0], wish[1], Range=f"bytes={wish[2]}-{wish[2] + 9}"), wishes
            )
        )
    assert {reply.status for reply in replies} == {206}
    assert furnished.playable.rendered is not None
    viewed = [event for event in furnished.said_since(size) if isinstance(event, Custody)]
    assert {event.event for event in viewed} == {"viewed"}
    assert Counter((event.actor, event.item) for event in viewed) == {
        (viewer, digest): 1
        for viewer in ("viewer-1", "viewer-2")
        for digest in (furnished.clip.digest, furnished.playable.rendered.digest)
    }
    assert len(viewed) == len(furnished.said_since(size))


def test_looking_without_seeing_leaves_no_entry(furnished: Furnished) -> None:
    size = furnished.site.collector.log_size()
    bearer = f"Bearer {furnished.token('curious', 'footage:read')}"
    context = furnished.site.collector.context
    head = furnished.get(originals(furnished), context, method="HEAD", Authorization=bearer)
    assert (head.status, int(head.headers["Content-Length"])) == (200, len(furnished.content))
    unknown = furnished.get(f"/api/v1/originals/sha256:{'0' * 64}", context, Authorization=bearer)
    assert refusal_of(unknown) == (404, "footage-unknown")
    assert furnished.said_since(size) == []


# --- at the open door


def test_the_log_is_open_to_everybody_and_can_be_recomputed_from_what_is_served(furnished: Furnished) -> None:
    collector = furnished.site.collector
    key = VerifierKey.parse(collector.get("/log/vkey").body.decode().strip())
    assert key == furnished.enrolment.log_key
    note = collector.get("/log/checkpoint").body
    checkpoint = open_checkpoint(note, key)

    def read(tile: Tile) -> bytes:
        reply = collector.get(f"/log/{tile.path}")
        assert reply.status == 200
        return reply.body

    copy, old_size = LogCopy(note, read), checkpoint.size // 2
    check_entries(copy, [checkpoint], {})
    early = RootAccumulator()
    for _, entry in read_entries(copy, 0, old_size, checkpoint.size):
        early.add(entry)
    proof = collector.get(f"/api/v1/log/consistency?from={old_size}&to={checkpoint.size}").json()
    hashes = [decode_base64(text, "hash") for text in proof["hashes"]]
    verify_consistency(old_size, checkpoint.size, hashes, early.root(), checkpoint.root)
    assert refusal_of(collector.get("/log/tile/0/007")) == (404, "tile-unknown")


def test_health_and_metrics_answer_everybody(furnished: Furnished) -> None:
    collector = furnished.site.collector
    health = collector.get("/healthz")
    assert (health.status, health.json()["status"]) == (200, "ok")
    assert set(health.json()["parts"]) == {"log", "storage", "broker"}
    metrics = collector.get("/metrics").body.decode()
    assert f"zhilu_log_entries {collector.log_size()}.0" in metrics.splitlines()
