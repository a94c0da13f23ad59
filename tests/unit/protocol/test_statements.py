"""Is every kind of statement read as it was written, and is everything else refused before it can mean something?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from protocol import ed25519
from protocol.canonical import canonical
from protocol.digest import Digest
from protocol.errors import (
    KeyRejectedError,
    LimitError,
    MalformedError,
    ProtocolError,
    UnknownCriticalError,
    UnknownKindError,
)
from protocol.ids import COLLECTOR
from protocol.limits import MAX_LISTING_ROWS, MAX_PATH_BYTES, MAX_PAYLOAD_BYTES, MAX_TREE_SIZE
from protocol.statements import (
    Custody,
    Enrolled,
    Manifest,
    Media,
    ReleaseIntent,
    Rendition,
    Statement,
    Subject,
    encode,
    parse_statement,
    sign_statement,
    statement_id,
)
from protocol.statements.release import MAX_GENERATION_CHARS, MAX_RELEASE_ITEMS
from tests.support.evidence import COLLECTOR_SEED, OTHER_SEED, STATION_SEED, enrolled, header
from tests.support.specimens import SPECIMENS, as_json, bent

every_specimen = pytest.mark.parametrize("statement", SPECIMENS.values(), ids=SPECIMENS)

WRONG_TYPES: list[object] = [[], [{}], 1.5, -(2**53) + 1]

LOW_ORDER_KEY = bytes([1]) + bytes(31)


def item(row: int) -> dict[str, object]:
    some = str(Digest.of(b"some"))
    return {"row": row, "manifest": some, "digest": some, "stored_index": 17}


def specimen(name: str) -> Any:
    return SPECIMENS[name]


@every_specimen
def test_a_statement_is_read_as_it_was_written(statement: Statement) -> None:
    payload = encode(statement)
    assert parse_statement(payload) == statement
    assert encode(parse_statement(payload)) == payload


def test_the_specimens_show_every_kind() -> None:
    of_stations = {"inventory", "manifest", "media", "rendition", "release-intent", "released"}
    kinds = of_stations | {"stored", "enrolled", "revoked", "custody"}
    assert {statement.kind for statement in SPECIMENS.values()} == kinds


@every_specimen
def test_members_of_a_later_version_are_tolerated(statement: Statement) -> None:
    assert parse_statement(bent(statement, later={"deep": [1]})) == statement


@every_specimen
def test_a_critical_member_of_a_later_version_is_refused(statement: Statement) -> None:
    with pytest.raises(UnknownCriticalError, match="later"):
        parse_statement(bent(statement, later=1, critical=["nonce", "later"]))


@every_specimen
def test_a_known_member_may_be_critical(statement: Statement) -> None:
    critical = sorted(as_json(statement)["predicate"])
    assert parse_statement(bent(statement, critical=critical)) == statement


@every_specimen
def test_no_member_can_be_missing_unless_null_is_one_of_its_values(statement: Statement) -> None:
    for name, value in as_json(statement)["predicate"].items():
        if value is None:
            assert parse_statement(bent(statement, **{name: ...})) == statement
        else:
            _refused_or_less_is_known(statement, name)


def _refused_or_less_is_known(statement: Statement, name: str) -> None:
    try:
        lacking = parse_statement(bent(statement, **{name: ...}))
    except MalformedError:
        return
    assert as_json(lacking)["predicate"][name] is None


@every_specimen
def test_no_member_takes_a_value_of_another_type(statement: Statement) -> None:
    for name, written in as_json(statement)["predicate"].items():
        empty_fits = isinstance(written, list)
        for value in WRONG_TYPES[empty_fits:]:
            with pytest.raises(ProtocolError):
                parse_statement(bent(statement, **{name: value}))


@every_specimen
def test_the_subject_is_the_one_the_predicate_leads_to(statement: Statement) -> None:
    value = as_json(statement)
    value["subject"][0]["digest"]["sha256"] = Digest.of(b"something else").hex
    _refused_or_another(value, statement)
    value = as_json(statement)
    value["subject"][0]["name"] = "something else"
    _refused_or_another(value, statement)


def _refused_or_another(value: Any, statement: Statement) -> None:
    """A subject that is repeated in the predicate must agree with it; otherwise it is the fact itself."""
    try:
        other = parse_statement(canonical(value))
    except MalformedError as error:
        assert "subject of this" in str(error)  # noqa: PT017 - both outcomes are right, for different kinds
        return
    assert other != statement
    assert encode(other) == canonical(value)


def test_the_subject_of_an_enrolment_is_its_key() -> None:
    value = as_json(enrolled(STATION_SEED))
    value["subject"][0]["digest"]["sha256"] = Digest.of(ed25519.public_from_seed(OTHER_SEED)).hex
    with pytest.raises(
        MalformedError, match="the subject of this enrolled statement must be 'station:station-1'"
    ):
        parse_statement(canonical(value))


def test_the_subject_of_a_rendition_that_was_not_made_is_its_original() -> None:
    value = as_json(SPECIMENS["rendition not made"])
    value["subject"][0]["digest"]["sha256"] = Digest.of(b"something else").hex
    with pytest.raises(MalformedError, match="subject"):
        parse_statement(canonical(value))


def test_the_id_is_the_digest_of_the_payload_whoever_signs() -> None:
    one, other = (sign_statement(SPECIMENS["manifest"], seed) for seed in (STATION_SEED, OTHER_SEED))
    assert statement_id(one) == statement_id(other) == Digest.of(encode(SPECIMENS["manifest"]))


def test_a_nonce_makes_equal_claims_different_statements() -> None:
    claim = specimen("manifest")
    again = replace(claim, header=header(99))
    assert Digest.of(encode(claim)) != Digest.of(encode(again))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("predicateType", "urn:zhilu:statement:manifest:v2"),
        ("predicateType", "urn:zhilu:statement::v1"),
        ("predicateType", "urn:zhilu:statement:erased:v1"),
    ],
)
def test_another_kind_or_version_is_unknown_not_malformed(member: str, value: str) -> None:
    with pytest.raises(UnknownKindError):
        parse_statement(canonical(as_json(SPECIMENS["manifest"]) | {member: value}))


@pytest.mark.parametrize(
    "subject",
    [
        [],
        None,
        {},
        [{"name": "a", "digest": {"sha256": "0" * 64}}] * 2,
        [{"name": "a", "digest": {"sha256": "0" * 64}}] * 17,
        [{"name": "", "digest": {"sha256": "0" * 64}}],
        [{"name": "a" * (MAX_PATH_BYTES + 1), "digest": {"sha256": "0" * 64}}],
        [{"digest": {"sha256": "0" * 64}}],
        [{"name": "a"}],
        [{"name": "a", "digest": {}}],
        [{"name": "a", "digest": {"sm3": "0" * 64}}],
        [{"name": "a", "digest": {"sha256": "A" * 64}}],
        [{"name": "a", "digest": {"sha256": "0" * 63}}],
    ],
)
def test_a_statement_has_one_subject_with_a_name_and_a_sha256(subject: object) -> None:
    with pytest.raises(MalformedError):
        parse_statement(canonical(as_json(SPECIMENS["manifest"]) | {"subject": subject}))


def test_a_second_digest_of_the_subject_is_tolerated() -> None:
    value = as_json(SPECIMENS["manifest"])
    value["subject"][0]["digest"]["sm3"] = "0" * 64
    assert parse_statement(canonical(value)) == SPECIMENS["manifest"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("agency", "Lands"),
        ("agency", "-lands"),
        ("agency", "_other"),
        ("agency", "a" * 64),
        ("agency", "lands/bureau"),
        ("signer", "_station"),
        ("signer", "+"),
        ("issued_at", "2026-03-04T05:06:07Z"),
        ("issued_at", "2026-02-30T05:06:07.089Z"),
        ("issued_at", "2026-03-04T24:00:00.000Z"),
        ("nonce", "0" * 31),
        ("nonce", "A" * 32),
    ],
)
def test_a_header_that_says_nothing_certain_is_refused(member: str, value: str) -> None:
    with pytest.raises(MalformedError):
        parse_statement(bent(SPECIMENS["manifest"], **{member: value}))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("inventory", {"sequence": 0}),
        ("inventory", {"rows": -1}),
        ("inventory", {"rows": 2_000_001}),
        ("inventory", {"battery_percent": 101}),
        ("inventory", {"visit": "5" * 33}),
        ("inventory", {"volume_label": ""}),
        ("inventory", {"recorder": {"value": "x", "source": "guess"}}),
        ("inventory", {"recorder": {"value": "", "source": "name"}}),
        ("inventory", {"recorder": "ABC1234"}),
        ("inventory", {"clock": {"offset_ms": 0, "uncertainty_ms": -1, "method": "device"}}),
        ("inventory", {"listing_size_bytes": 2**40 + 1}),
        ("manifest", {"path_b64": ""}),
        ("manifest", {"path_b64": "QQ="}),
        ("manifest", {"attempts": 0}),
        ("manifest", {"size_bytes": 2**40 + 1}),
        ("manifest", {"inventory": "0" * 64}),
        ("manifest", {"marked": 0}),
        ("manifest", {"media_type": "x" * 101}),
        ("manifest", {"started_at": {"value": "yesterday", "source": "name"}}),
        ("manifest", {"started_at": {"value": "2026-03-04T05:06:07.089Z", "source": "name", "zone": "+8"}}),
        ("media", {"facts": None}),
        ("media", {"facts": "h264"}),
        ("media", {"problem": {"code": "c", "detail": "d"}}),
        ("media unreadable", {"problem": None}),
        ("media unreadable", {"problem": {"code": "c"}}),
        ("rendition", {"rendition": "preview"}),
        ("rendition", {"rendered": None}),
        ("rendition", {"problem": {"code": "c", "detail": "d"}}),
        ("rendition not made", {"problem": None}),
        ("stored", {"purpose": "copy"}),
        ("stored", {"stored_at": None}),
        ("enrolled station", {"role": "officer"}),
        ("enrolled station", {"role": "collector"}),
        ("enrolled station", {"name": COLLECTOR}),
        ("enrolled station", {"name": "Station 1"}),
        ("enrolled collector", {"name": "station-1"}),
        ("revoked", {"reason": ""}),
        ("custody viewed", {"event": "looked"}),
        ("custody viewed", {"details": {"deep": {}}}),
        ("custody viewed", {"details": {"flag": True}}),
        ("custody viewed", {"details": {"part": 0.5}}),
        ("custody viewed", {"details": {"long": "x" * 1_025}}),
        ("custody viewed", {"details": {str(number): number for number in range(33)}}),
        ("release intent", {"items": []}),
        ("release intent", {"items": [item(5), item(0)]}),
        ("release intent", {"items": [item(5), item(5)]}),
        ("release intent", {"items": [item(row) for row in range(201)]}),
        ("release intent", {"items": [item(-1)]}),
        ("release intent", {"items": [{"row": 1}]}),
        ("release intent", {"items": [7]}),
        ("release intent", {"visit": "5"}),
        ("release intent", {"generation": ""}),
        ("release intent", {"generation": "x" * 257}),
        ("released", {"kept": None}),
        ("released", {"kept": [{"row": 1, "code": ""}]}),
        ("released", {"kept": [{"row": 1, "code": "x" * 65}]}),
        ("released", {"kept": [{"row": 1, "code": "c"}, {"row": 1, "code": "d"}]}),
        ("released", {"visit": "5"}),
    ],
)
def test_a_predicate_that_breaks_the_rules_of_its_kind_is_malformed(
    name: str, changes: dict[str, object]
) -> None:
    with pytest.raises(MalformedError):
        parse_statement(bent(SPECIMENS[name], **changes))


@pytest.mark.parametrize("arguments", [[1], [None], "-i", ["-i"] * 257])
def test_a_recipe_is_a_list_of_texts(arguments: object) -> None:
    rendered = as_json(SPECIMENS["rendition"])["predicate"]["rendered"] | {"arguments": arguments}
    with pytest.raises(MalformedError):
        parse_statement(bent(SPECIMENS["rendition"], rendered=rendered))


def test_a_key_of_another_algorithm_is_unknown() -> None:
    with pytest.raises(UnknownKindError, match="sm2"):
        parse_statement(bent(enrolled(STATION_SEED), algorithm="sm2"))


@pytest.mark.parametrize("key", [LOW_ORDER_KEY, b"\xff" * 32, bytes(31), bytes(33)])
def test_a_key_that_verifiers_disagree_on_cannot_be_enrolled(key: bytes) -> None:
    with pytest.raises(KeyRejectedError):
        replace(enrolled(STATION_SEED), public_key=key)


def test_a_low_order_key_is_refused_when_read() -> None:
    value = as_json(enrolled(STATION_SEED))
    value["subject"][0]["digest"]["sha256"] = Digest.of(LOW_ORDER_KEY).hex
    value["predicate"]["public_key"] = "AQ" + "A" * 41 + "="
    with pytest.raises(KeyRejectedError):
        parse_statement(canonical(value))


def test_a_payload_has_a_largest_size_for_writer_and_reader() -> None:
    media: Media = specimen("media")
    with pytest.raises(ProtocolError, match="exceeds"):
        encode(replace(media, facts={"long": "x" * MAX_PAYLOAD_BYTES}))
    with pytest.raises(LimitError):
        parse_statement(b" " * (MAX_PAYLOAD_BYTES + 1))


def test_the_longest_path_in_the_worst_spelling_fits_into_a_payload() -> None:
    claim: Manifest = specimen("manifest")
    longest = replace(claim, path="\x01" * MAX_PATH_BYTES, path_bytes=b"\x01" * MAX_PATH_BYTES)
    assert parse_statement(encode(longest)) == longest


def test_the_longest_intent_in_the_worst_spelling_fits_into_a_payload() -> None:
    intent: ReleaseIntent = specimen("release intent")
    (first, _) = intent.items
    items = tuple(
        replace(first, row=MAX_LISTING_ROWS - number, stored_index=MAX_TREE_SIZE)
        for number in reversed(range(MAX_RELEASE_ITEMS))
    )
    longest = replace(intent, generation="\x01" * MAX_GENERATION_CHARS, items=items)
    assert parse_statement(encode(longest)) == longest


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"", "malformed"),
        (b"/etc/passwd", "malformed"),
        (b"../../etc/passwd", "malformed"),
        (b"DCIM/./a", "malformed"),
        (b"DCIM//a", "malformed"),
        (b"a\0b", "malformed"),
        (b"x" * (MAX_PATH_BYTES + 1), "limit-exceeded"),
    ],
)
def test_a_path_stays_in_its_volume_and_has_a_length(path: bytes, code: str) -> None:
    with pytest.raises(ProtocolError, match="path") as refused:
        replace(specimen("manifest"), path_bytes=path)
    assert refused.value.code == code


def test_values_are_checked_where_they_are_made() -> None:
    media: Media = specimen("media")
    rendition: Rendition = specimen("rendition")
    key: Enrolled = enrolled(COLLECTOR_SEED, name=COLLECTOR, agency=COLLECTOR)
    with pytest.raises(MalformedError, match="exactly one"):
        replace(media, facts=None)
    with pytest.raises(MalformedError, match="exactly one"):
        replace(rendition, rendered=None)
    with pytest.raises(MalformedError, match="go together"):
        replace(key, role="station")
    with pytest.raises(MalformedError, match="visit"):
        replace(specimen("inventory"), visit="now")
    with pytest.raises(MalformedError, match="nonce"):
        replace(key.header, nonce="")


def test_a_lone_surrogate_is_not_signed() -> None:
    with pytest.raises(MalformedError):
        encode(replace(specimen("manifest"), path="\udcff.mp4"))


def test_the_details_of_a_custody_event_are_read_as_written() -> None:
    event: Custody = specimen("custody viewed")
    read = parse_statement(encode(event))
    assert isinstance(read, Custody)
    assert dict(read.details) == {"address": "192.0.2.7", "bytes": 1_000}
    assert read.subject == Subject("original", event.item)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 40_000])
def test_rubbish_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_statement(payload)


def test_a_statement_need_not_be_canonical_to_be_read_since_its_bytes_are_what_was_signed() -> None:
    loose = json.dumps(as_json(SPECIMENS["stored"]), indent=1).encode()
    assert parse_statement(loose) == SPECIMENS["stored"]
