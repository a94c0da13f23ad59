"""Does everything the protocol writes survive reading, and does nothing that arrives ever do worse than be refused?"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ed25519
from protocol.admission import MAX_RESULTS, Admission, AdmissionResult, open_admission, sign_admission
from protocol.canonical import canonical, parse_canonical, parse_json
from protocol.checkpoint import open_checkpoint
from protocol.claims import SOURCES, Claim, TimeClaim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.enrolment_proof import enrolment_proof_json, verify_enrolment_proof
from protocol.entry import LogEntry
from protocol.errors import LimitError, ProtocolError, UnknownCriticalError
from protocol.ids import COLLECTOR
from protocol.limits import MAX_JSON_DEPTH, MAX_ORIGINAL_BYTES
from protocol.log_reading import LogCopy, RootAccumulator, check_entries, read_entries
from protocol.merkle import tree_root
from protocol.receipt import Receipt
from protocol.statements import (
    Custody,
    Enrolled,
    Header,
    Inventory,
    KeptRow,
    Manifest,
    Media,
    Problem,
    RecorderClock,
    Released,
    ReleaseIntent,
    ReleaseItem,
    Rendered,
    Rendition,
    Revoked,
    Statement,
    Stored,
    encode,
    parse_statement,
    sign_statement,
)
from protocol.statements.custody import EVENTS
from protocol.statements.station import METHODS, RENDITION_KINDS
from protocol.times import format_time, parse_time
from protocol.verify import accepted, check_receipt
from tests.support.evidence import AGENCY, COLLECTOR_SEED, NOW, STATION, STATION_SEED, EvidenceLog, Story
from tests.support.memory_log import MemoryLog
from tests.support.reference_tree import mth
from tests.support.specimens import SPECIMENS, as_json

LARGEST: Final = 2**53 - 1

# Any text JSON can carry: no lone surrogates.
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
digests = st.binary(max_size=4).map(Digest.of)
sizes = st.integers(0, MAX_ORIGINAL_BYTES)
counts = st.integers(0, LARGEST)
times = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
)
sources = st.sampled_from(sorted(SOURCES))
claims = st.none() | st.builds(Claim, texts, sources)
time_claims = st.none() | st.builds(TimeClaim, times, sources)
problems = st.builds(Problem, code=texts, detail=texts)
public_keys = st.binary(min_size=32, max_size=32).map(ed25519.public_from_seed)
numbers = st.integers(-LARGEST, LARGEST) | st.floats(-1e15, 1e15)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def headers(signers: st.SearchStrategy[str]) -> st.SearchStrategy[Header]:
    agencies = names | st.just(COLLECTOR)
    return st.builds(Header, agency=agencies, signer=signers, issued_at=times, nonce=ids)


of_stations, of_collectors = headers(names), headers(st.just(COLLECTOR))

inventories = st.builds(
    Inventory,
    header=of_stations,
    listing=digests,
    listing_size_bytes=sizes,
    rows=st.integers(0, 2_000_000),
    listed_bytes=counts,
    visit=ids,
    sequence=st.integers(1, LARGEST),
    dock=texts,
    bay=texts,
    profile=texts,
    volume_label=st.none() | texts,
    total_bytes=st.none() | counts,
    free_bytes=st.none() | counts,
    battery_percent=st.none() | st.integers(0, 100),
    recorder=claims,
    officer=claims,
    clock=st.none()
    | st.builds(RecorderClock, offset_ms=st.integers(-LARGEST, LARGEST), uncertainty_ms=counts, method=texts),
)
raw_paths = st.lists(
    st.binary(min_size=1, max_size=30).filter(
        lambda name: not {0, 0x2F} & {*name} and name not in (b".", b"..")
    ),
    min_size=1,
    max_size=3,
).map(b"/".join)
manifests = st.builds(
    Manifest,
    header=of_stations,
    digest=digests,
    size_bytes=sizes,
    inventory=digests,
    visit=ids,
    row=st.integers(0, 2_000_000),
    path=texts,
    path_bytes=raw_paths,
    media_type=texts,
    modified_at=st.none() | times,
    recorder=claims,
    officer=claims,
    started_at=time_claims,
    marked=st.booleans(),
    read_started_at=times,
    read_finished_at=times,
    attempts=st.integers(1, LARGEST),
    resumed=st.booleans(),
)


def media_of(facts: st.SearchStrategy[Any], problem: st.SearchStrategy[Any]) -> st.SearchStrategy[Media]:
    return st.builds(
        Media,
        header=of_stations,
        original=digests,
        manifest=digests,
        media_type=texts,
        duration_ms=st.none() | counts,
        started_at=time_claims,
        recorder=claims,
        facts=facts,
        problem=problem,
    )


def rendition_of(
    rendered: st.SearchStrategy[Any], problem: st.SearchStrategy[Any]
) -> st.SearchStrategy[Rendition]:
    return st.builds(
        Rendition,
        header=of_stations,
        original=digests,
        manifest=digests,
        rendition=st.sampled_from(sorted(RENDITION_KINDS)),
        rendered=rendered,
        problem=problem,
    )


made = st.builds(
    Rendered,
    digest=digests,
    size_bytes=sizes,
    media_type=texts,
    method=st.sampled_from(sorted(METHODS)),
    tool=texts,
    tool_version=texts,
    arguments=st.lists(st.text(st.characters(codec="utf-8")), max_size=5).map(tuple),
)
media = media_of(st.dictionaries(texts, json_values, max_size=4), st.none()) | media_of(st.none(), problems)
renditions = rendition_of(made, st.none()) | rendition_of(st.none(), problems)
stations_enrolled = st.builds(
    Enrolled, header=of_collectors, role=st.just("station"), name=names, public_key=public_keys
)
collectors_enrolled = st.builds(
    Enrolled, header=of_collectors, role=st.just("collector"), name=st.just(COLLECTOR), public_key=public_keys
)
revocations = st.builds(Revoked, header=of_collectors, name=texts, key_digest=digests, reason=texts)
storings = st.builds(
    Stored,
    header=of_collectors,
    digest=digests,
    size_bytes=sizes,
    purpose=st.sampled_from(["original", "rendition", "listing"]),
    statement=digests,
    stored_at=times,
)
custody = st.builds(
    Custody,
    header=of_stations | of_collectors,
    event=st.sampled_from(sorted(EVENTS)),
    item=digests,
    item_name=texts,
    actor=texts,
    details=st.dictionaries(texts, texts | st.integers(-LARGEST, LARGEST), max_size=5),
)
release_items = st.builds(
    ReleaseItem, row=st.integers(0, 2_000_000), manifest=digests, digest=digests, stored_index=counts
)
kept_rows = st.builds(KeptRow, row=st.integers(0, 2_000_000), code=texts)


def rising(items: st.SearchStrategy[Any], *, least: int) -> st.SearchStrategy[tuple[Any, ...]]:
    several = st.lists(items, min_size=least, max_size=5, unique_by=lambda item: item.row)
    return several.map(lambda found: tuple(sorted(found, key=lambda item: item.row)))


intents = st.builds(
    ReleaseIntent,
    header=of_stations,
    visit=ids,
    inventory=digests,
    generation=texts,
    items=rising(release_items, least=1),
)
releases = st.builds(
    Released,
    header=of_stations,
    visit=ids,
    intent=digests,
    inventory_after=digests,
    kept=rising(kept_rows, least=0),
)
statements: st.SearchStrategy[Statement] = st.one_of(
    inventories,
    manifests,
    media,
    renditions,
    stations_enrolled,
    collectors_enrolled,
    revocations,
    storings,
    custody,
    intents,
    releases,
)


@given(statements)
def test_every_statement_survives_writing_and_reading(statement: Statement) -> None:
    payload = encode(statement)
    read = parse_statement(payload)
    assert read == statement
    assert encode(read) == payload


@given(statements)
def test_every_envelope_and_entry_survives_and_is_written_the_same_again(statement: Statement) -> None:
    envelope = sign_statement(statement, STATION_SEED)
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
    entry = LogEntry.of(envelope, statement)
    again = LogEntry.from_bytes(entry.to_bytes())
    assert again == entry
    assert again.envelope(envelope.payload).to_bytes() == envelope.to_bytes()


new_members = st.dictionaries(texts.map("x-{}".format), json_values, min_size=1, max_size=3)


@given(statements, new_members, st.data())
def test_later_members_are_tolerated_until_one_is_critical(
    statement: Statement, later: dict[str, object], data: st.DataObject
) -> None:
    value = as_json(statement)
    value["predicate"] |= later
    assert parse_statement(canonical(value)) == statement
    value["predicate"]["critical"] = ["nonce", data.draw(st.sampled_from(sorted(later)))]
    with pytest.raises(UnknownCriticalError):
        parse_statement(canonical(value))


results = st.builds(AdmissionResult.admitted, digests, st.integers(0, LARGEST)) | st.builds(
    AdmissionResult.refused, digests, texts, st.text(st.characters(codec="utf-8")), retryable=st.booleans()
)
admissions = st.builds(
    Admission,
    station=names,
    issued_at=times,
    results=st.lists(results, min_size=1, max_size=MAX_RESULTS).map(tuple),
    checkpoint=st.none() | texts.map(str.encode),
)


@given(admissions)
def test_every_admission_survives_signing_and_opening(admission: Admission) -> None:
    signed = sign_admission(admission, COLLECTOR_SEED).to_bytes()
    assert open_admission(signed, ed25519.public_from_seed(COLLECTOR_SEED)) == admission


@given(times)
def test_every_time_survives(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


@given(st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fullmatch=True))
def test_whatever_looks_like_a_time_is_refused_or_has_this_one_spelling(text: str) -> None:
    with suppress(ProtocolError):
        assert format_time(parse_time(text)) == text


@given(json_values)
def test_every_json_value_has_one_canonical_form(value: object) -> None:
    data = canonical(value)
    assert parse_canonical(data, max_bytes=len(data), what="value") == value
    loose = json.dumps(value, indent=1).encode()
    assert canonical(parse_json(loose, max_bytes=len(loose), what="value")) == data


@given(st.lists(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]), max_size=2 * MAX_JSON_DEPTH))
def test_json_is_read_to_the_named_depth_and_no_deeper(brackets: list[tuple[bytes, bytes]]) -> None:
    opening, closing = ([pair[side] for pair in brackets] for side in (0, 1))
    data = b"".join(opening) + b"1" + b"".join(reversed(closing))
    if len(brackets) <= MAX_JSON_DEPTH:
        parse_json(data, max_bytes=len(data), what="value")
    else:
        with pytest.raises(LimitError):
            parse_json(data, max_bytes=len(data), what="value")


# Hostile bytes: what comes from outside, for each reader that takes it.

STORY: Final = Story()
KEY: Final = STORY.log.log_key.verifier
COLLECTOR_PUBLIC: Final = ed25519.public_from_seed(COLLECTOR_SEED)
ADMITTED: Final = Admission(
    station=STATION,
    issued_at=NOW,
    results=(AdmissionResult.admitted(STORY.manifest_id, 3),),
    checkpoint=STORY.log.note,
)
PROOF: Final = canonical(enrolment_proof_json([STORY.log.item(0), STORY.log.item(1)]))


def read_proof(data: bytes) -> object:
    return verify_enrolment_proof(
        parse_json(data, max_bytes=1 << 20, what="proof"),
        log_key=KEY,
        public_key=ed25519.public_from_seed(STATION_SEED),
        station=STATION,
        agencies=[AGENCY],
    )


FULLEST: Final = (
    "inventory of everything known",
    "manifest of everything known",
    "media",
    "rendition",
    "stored",
    "enrolled station",
    "revoked",
    "custody viewed",
)
READERS: Final[dict[str, tuple[Callable[[bytes], object], bytes]]] = {
    "receipt": (Receipt.from_bytes, STORY.receipt().to_bytes()),
    "envelope": (Envelope.from_bytes, sign_statement(STORY.manifest, STATION_SEED).to_bytes()),
    "entry": (
        LogEntry.from_bytes,
        LogEntry.of(STORY.log.envelopes[1], SPECIMENS["enrolled station"]).to_bytes(),
    ),
    "admission payload": (Admission.from_payload, ADMITTED.to_payload()),
    "checkpoint": (lambda data: open_checkpoint(data, KEY), STORY.log.note),
} | {name: (parse_statement, encode(SPECIMENS[name])) for name in FULLEST}
VERIFIERS: Final[dict[str, tuple[Callable[[bytes], object], bytes]]] = {
    "admission": (
        lambda data: open_admission(data, COLLECTOR_PUBLIC),
        sign_admission(ADMITTED, COLLECTOR_SEED).to_bytes(),
    ),
    "enrolment proof": (read_proof, PROOF),
}

hostile_json = json_values.map(lambda value: json.dumps(value).encode())
rubbish = st.binary(max_size=200) | hostile_json | st.text('[]{}",:0e-\\u ', max_size=60).map(str.encode)


def only_refused(read: Callable[[bytes], object], data: bytes) -> None:
    with suppress(ProtocolError):  # to be read is as good as to be refused
        read(data)


@pytest.mark.parametrize("name", [*READERS, *VERIFIERS])
@given(data=rubbish)
def test_rubbish_is_only_ever_refused(name: str, data: bytes) -> None:
    read, _ = (READERS | VERIFIERS)[name]
    only_refused(read, data)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_a_flipped_bit_is_only_ever_refused_or_read_as_something(name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    only_refused(read, flipped(good, data))


@pytest.mark.parametrize("name", VERIFIERS)
@given(data=st.data())
def test_a_flipped_bit_under_a_signature_is_refused_or_means_the_same(name: str, data: st.DataObject) -> None:
    read, good = VERIFIERS[name]
    try:
        found = read(flipped(good, data))
    except ProtocolError:
        return
    assert found == read(good)


@given(data=st.data())
def test_a_flipped_bit_in_a_receipt_is_refused_or_changes_nothing_it_says(data: st.DataObject) -> None:
    good = STORY.receipt()
    bent = flipped(good.to_bytes(), data)
    if accepted(check_receipt(bent, KEY, log=STORY.log.copy())):
        assert Receipt.from_bytes(bent) == good


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"checkpoint"}))
@given(data=st.data())
def test_any_json_in_place_of_any_member_is_only_ever_refused(name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    value = json.loads(good)
    replace_somewhere(value, data)
    only_refused(read, json.dumps(value).encode())


def flipped(good: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    bent = bytearray(good)
    bent[bit // 8] ^= 1 << bit % 8
    return bytes(bent)


def replace_somewhere(value: Any, data: st.DataObject) -> None:
    """Walk down at random and put something else in place of what is there."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        place = data.draw(st.sampled_from(places))
        below = value[place]
        if not isinstance(below, dict | list) or not below or data.draw(st.booleans()):
            value[place] = data.draw(json_values)
            return
        value = below


# The tree: what a stranger recomputes from the entries is what the log's own arithmetic gives.


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_accumulated_root_is_the_root_of_the_tree(entries: list[bytes]) -> None:
    tree, log = RootAccumulator(), MemoryLog()
    log.append(entries)
    for entry in entries:
        tree.add(entry)
    assert tree.size == len(entries)
    assert tree.root() == tree_root(len(entries), log.hashes()) == mth(entries)


@given(st.data())
def test_a_log_whose_tiles_are_anything_is_only_ever_refused(data: st.DataObject) -> None:
    log = EvidenceLog()
    for envelope_of in ("enrolled collector", "enrolled station", "inventory"):
        log.add(SPECIMENS[envelope_of], COLLECTOR_SEED)

    def read(tile: Any) -> bytes:
        good = log.tiles[tile]
        return data.draw(st.binary(max_size=300) | st.just(flipped(good, data)))

    copy = LogCopy(log.note, read)
    only_refused(lambda _: list(read_entries(copy, 0, 3, 3)), b"")
    with pytest.raises(ProtocolError):
        check_entries(copy, [log.checkpoint], {})
