"""Do canonical JSON, envelopes and our own formats give the published and the frozen answers, byte for byte?"""

from __future__ import annotations

import json
import runpy
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from protocol import ed25519
from protocol.admission import Admission, open_admission
from protocol.canonical import canonical, parse_canonical, parse_json
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE, Envelope, pre_authentication_encoding
from protocol.enrolment_code import EnrolmentCode
from protocol.entry import LogEntry
from protocol.errors import MalformedError
from protocol.listing import parse_listing
from protocol.note import VerifierKey
from protocol.receipt import Receipt
from protocol.statements import Inventory, Manifest, encode, parse_statement
from protocol.tiles import parse_bundle
from protocol.verify import Content, accepted, check_receipt
from protocol.verify_cli import main as zhilu_verify

ROOT = Path(__file__).parents[2]
FROZEN = Path(__file__).parent / "zhilu"
ENVELOPES = sorted((FROZEN / "envelopes").glob("*.json"))
COLLECTOR_PUBLIC, STATION_PUBLIC = (ed25519.public_from_seed(bytes([number]) * 32) for number in (2, 3))

# RFC 8785, section 3.2.2 to 3.2.4: the example that shows everything at once.

RFC8785_EXAMPLE = rb"""{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}"""
RFC8785_EXAMPLE_BYTES = bytes.fromhex(
    "7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 72"
    "73 22 3a 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30 30 32"
    "2c 31 65 2d 32 37 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c 22 5c 5c"
    "5c 5c 5c 22 2f 22 7d"
)

# RFC 8785, section 3.2.3: members are sorted by UTF-16 code units, so that the emoji comes before U+FB33.

RFC8785_SORTING = rb"""{
  "\u20ac": "Euro Sign",
  "\r": "Carriage Return",
  "\ufb33": "Hebrew Letter Dalet With Dagesh",
  "1": "One",
  "\ud83d\ude00": "Emoji: Grinning Face",
  "\u0080": "Control",
  "\u00f6": "Latin Small Letter O With Diaeresis"
}"""
RFC8785_SORTED = [
    "Carriage Return",
    "One",
    "Control",
    "Latin Small Letter O With Diaeresis",
    "Euro Sign",
    "Emoji: Grinning Face",
    "Hebrew Letter Dalet With Dagesh",
]

# RFC 8785, appendix B: IEEE 754 bits and their one decimal form.

RFC8785_NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


def from_bits(bits: str) -> float:
    return cast("float", struct.unpack(">d", bytes.fromhex(bits))[0])


def test_the_example_of_rfc_8785_has_its_published_bytes() -> None:
    assert canonical(parse_json(RFC8785_EXAMPLE, max_bytes=1_000, what="example")) == RFC8785_EXAMPLE_BYTES


def test_members_stand_in_the_order_of_rfc_8785() -> None:
    value = parse_json(RFC8785_SORTING, max_bytes=1_000, what="example")
    assert list(json.loads(canonical(value)).values()) == RFC8785_SORTED


@pytest.mark.parametrize(("bits", "text"), RFC8785_NUMBERS.items())
def test_numbers_are_written_as_in_appendix_b_of_rfc_8785(bits: str, text: str) -> None:
    assert canonical(from_bits(bits)).decode() == text


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_what_appendix_b_of_rfc_8785_calls_an_error_is_one(bits: str) -> None:
    with pytest.raises(MalformedError):
        canonical(from_bits(bits))


# The DSSE specification (secure-systems-lab/dsse, protocol.md), "Test Vectors".

DSSE_PAE = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
DSSE_ENVELOPE = {
    "payload": "aGVsbG8gd29ybGQ=",
    "payloadType": "http://example.com/HelloWorld",
    "signatures": [
        {
            "keyid": "published without one",
            "sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==",
        }
    ],
}


def test_the_pre_authentication_encoding_is_that_of_the_dsse_specification() -> None:
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == DSSE_PAE
    assert pre_authentication_encoding("", b"") == b"DSSEv1 0  0 "


def test_the_envelope_of_the_dsse_specification_is_read_and_written_the_same_again() -> None:
    data = json.dumps(DSSE_ENVELOPE).encode()
    envelope = Envelope.from_bytes(data)
    assert pre_authentication_encoding(envelope.payload_type, envelope.payload) == DSSE_PAE
    assert json.loads(envelope.to_bytes()) == DSSE_ENVELOPE


# Our own formats, frozen.


def read(name: str) -> bytes:
    return (FROZEN / name).read_bytes()


def envelope(name: str) -> Envelope:
    return Envelope.from_bytes(read(f"envelopes/{name}.json"))


def log_key() -> VerifierKey:
    return VerifierKey.parse(read("log/vkey").decode().strip())


def test_todays_code_writes_the_frozen_bytes() -> None:
    script = runpy.run_path(str(ROOT / "scripts/make_vectors.py"))
    vectors = cast("Callable[[], dict[str, bytes]]", script["vectors"])()
    on_disk = {str(path.relative_to(FROZEN)): path for path in FROZEN.rglob("*") if path.is_file()}
    del on_disk["README.md"]
    assert {name: path.read_bytes() for name, path in on_disk.items()} == vectors


def test_there_is_an_envelope_of_every_kind() -> None:
    kinds = {path.stem.partition("-")[2] for path in ENVELOPES}
    assert kinds == {
        "inventory",
        "manifest",
        "media",
        "rendition",
        "stored",
        "enrolled",
        "revoked",
        "custody",
        "release-intent",
        "released",
    }


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.stem)
def test_a_frozen_envelope_is_read_verified_and_written_the_same_again(path: Path) -> None:
    found = Envelope.from_bytes(path.read_bytes())
    statement = parse_statement(found.payload)
    by_collector = statement.header.signer == "_collector"
    found.verify(COLLECTOR_PUBLIC if by_collector else STATION_PUBLIC, STATEMENT_TYPE)
    assert f"-{statement.kind}" in path.stem
    assert encode(statement) == found.payload
    assert found.to_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", ENVELOPES, ids=lambda path: path.stem)
def test_a_frozen_payload_has_the_shape_of_an_in_toto_statement(path: Path) -> None:
    """in-toto/attestation spec/v1/statement.md and resource_descriptor.md."""
    written = json.loads(path.read_bytes())
    assert written["payloadType"] == "application/vnd.in-toto+json"
    value: dict[str, Any] = json.loads(envelope(path.stem).payload)
    assert set(value) == {"_type", "subject", "predicateType", "predicate"}
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert urlsplit(value["predicateType"]).scheme == "urn"
    (subject,) = value["subject"]
    assert set(subject) == {"name", "digest"}
    assert isinstance(subject["name"], str)
    assert len(bytes.fromhex(subject["digest"]["sha256"])) == 32
    assert isinstance(value["predicate"], dict)


@pytest.mark.parametrize("name", ["1-enrolled", "3-manifest"])
def test_a_frozen_entry_is_read_and_stands_in_the_frozen_log(name: str) -> None:
    data = read(f"entries/{name}.json")
    entry = LogEntry.from_bytes(data)
    assert entry.to_bytes() == data
    assert entry.envelope(envelope(name).payload) == envelope(name)
    assert parse_bundle(read("log/tile/entries/000.p/9"), 9)[int(name[0])] == data


def test_the_frozen_admission_is_opened_and_written_the_same_again() -> None:
    admission = open_admission(read("admission.json"), COLLECTOR_PUBLIC)
    assert [result.outcome for result in admission.results] == ["admitted", "refused"]
    assert admission.results[0].statement == Digest.of(envelope("3-manifest").payload)
    payload = Envelope.from_bytes(read("admission.json")).payload
    assert Admission.from_payload(payload).to_payload() == payload


def test_the_frozen_listing_is_the_one_the_frozen_inventory_is_about() -> None:
    inventory = parse_statement(envelope("2-inventory").payload)
    assert isinstance(inventory, Inventory)
    assert (Digest.of(read("listing.jsonl")), len(read("listing.jsonl"))) == (
        inventory.listing,
        inventory.listing_size_bytes,
    )
    rows = list(parse_listing([read("listing.jsonl")]))
    manifest = parse_statement(envelope("3-manifest").payload)
    assert isinstance(manifest, Manifest)
    assert rows[manifest.row].raw_path == manifest.path_bytes


def test_the_frozen_receipt_is_read_verified_and_written_the_same_again() -> None:
    clip = read("clip.mp4")
    content = Content(digest=Digest.of(clip), size_bytes=len(clip))
    assert accepted(check_receipt(read("receipt.json"), log_key(), content=content))
    assert Receipt.from_bytes(read("receipt.json")).to_bytes() == read("receipt.json")


def test_the_frozen_set_passes_the_command_an_auditor_runs(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--receipt",
        "receipt.json",
        "--log-key",
        "log/vkey",
        "--log",
        "log",
        "--checkpoint",
        "log/checkpoint",
    ]
    files = [argument if argument.startswith("--") else str(FROZEN / argument) for argument in arguments]
    assert zhilu_verify([str(FROZEN / "clip.mp4"), *files]) == 0
    assert "VERIFIED" in capsys.readouterr().out


def test_the_frozen_enrolment_code_is_read_and_written_the_same_again() -> None:
    text = read("enrolment-code.txt").decode().strip()
    code = EnrolmentCode.from_text(text)
    assert code.to_text() == text
    assert (code.station, code.agencies, code.log_key) == (
        "station-1",
        ("lands-bureau", "water-bureau"),
        log_key(),
    )


@pytest.mark.parametrize("path", sorted(FROZEN.rglob("*.json")), ids=lambda path: path.stem)
def test_every_frozen_json_file_is_canonical(path: Path) -> None:
    parse_canonical(path.read_bytes(), max_bytes=1 << 20, what=path.name)
