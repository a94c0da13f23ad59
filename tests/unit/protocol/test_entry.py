"""Does a log entry commit to one envelope, in one spelling, without holding its payload?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from protocol import ed25519
from protocol.canonical import canonical
from protocol.digest import Digest
from protocol.dsse import STATEMENT_TYPE
from protocol.entry import LogEntry
from protocol.errors import LimitError, MalformedError, ProtocolError, SignatureError, UnknownKindError
from protocol.limits import MAX_ENTRY_BYTES
from protocol.statements import Statement, sign_statement
from tests.support.evidence import COLLECTOR_SEED, STATION_SEED, enrolled, manifest, revoked
from tests.support.specimens import SPECIMENS

ENVELOPE = sign_statement(SPECIMENS["manifest"], STATION_SEED)
ENTRY = LogEntry.of(ENVELOPE, SPECIMENS["manifest"])


def changed(**members: object) -> bytes:
    value = json.loads(ENTRY.to_bytes()) | members
    return canonical({name: member for name, member in value.items() if member is not ...})


@pytest.mark.parametrize("statement", SPECIMENS.values(), ids=SPECIMENS)
def test_an_entry_is_read_as_it_was_written(statement: Statement) -> None:
    entry = LogEntry.of(sign_statement(statement, STATION_SEED), statement)
    assert LogEntry.from_bytes(entry.to_bytes()) == entry


def test_payload_and_entry_make_the_envelope_again() -> None:
    again = LogEntry.from_bytes(ENTRY.to_bytes()).envelope(ENVELOPE.payload)
    assert again == ENVELOPE
    again.verify(ed25519.public_from_seed(STATION_SEED), STATEMENT_TYPE)


def test_another_payload_does_not_fit_the_entry() -> None:
    other = sign_statement(manifest(b"other", Digest.of(b"i")), STATION_SEED)
    with pytest.raises(SignatureError):
        ENTRY.envelope(other.payload).verify(ed25519.public_from_seed(STATION_SEED), STATEMENT_TYPE)


def test_an_entry_holds_nothing_of_the_payload_but_kind_and_agency() -> None:
    value = json.loads(ENTRY.to_bytes())
    assert set(value) == {"agency", "key_id", "kind", "signature", "statement", "v"}
    assert value["statement"] == str(Digest.of(ENVELOPE.payload))


@pytest.mark.parametrize("statement", [enrolled(STATION_SEED), revoked(STATION_SEED)])
def test_entries_about_keys_name_the_key(statement: Statement) -> None:
    entry = LogEntry.of(sign_statement(statement, COLLECTOR_SEED), statement)
    key = ed25519.public_from_seed(STATION_SEED)
    assert json.loads(entry.to_bytes())["subject"] == str(Digest.of(key))
    assert entry.subject_key_id == ed25519.key_id(key)
    assert ENTRY.subject_key_id is None


def test_only_entries_about_keys_have_a_subject() -> None:
    with pytest.raises(MalformedError, match="subject"):
        replace(ENTRY, subject=Digest.of(b"key"))
    with pytest.raises(MalformedError, match="subject"):
        replace(ENTRY, kind="revoked")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        ENTRY.to_bytes() + b"\n",
        b" " + ENTRY.to_bytes(),
        ENTRY.to_bytes().replace(b'"v":1', b'"v":1.0'),
        changed(extra=1),
        changed(subject=str(Digest.of(b"key"))),
        changed(kind="enrolled"),
        changed(agency=...),
        changed(agency=""),
        changed(v=...),
        changed(v="1"),
        changed(statement="0" * 64),
        changed(signature="AAAA"),
        changed(signature="A" * 88),
    ],
)
def test_anything_else_than_the_one_spelling_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        LogEntry.from_bytes(data)


def test_another_version_is_unknown() -> None:
    with pytest.raises(UnknownKindError):
        LogEntry.from_bytes(changed(v=2))


def test_a_kind_of_a_later_version_can_still_be_read_in_an_old_log() -> None:
    assert LogEntry.from_bytes(changed(kind="released")).kind == "released"


def test_an_entry_has_a_largest_size() -> None:
    with pytest.raises(LimitError):
        LogEntry.from_bytes(b" " * (MAX_ENTRY_BYTES + 1))


def test_every_flipped_bit_is_refused_or_makes_another_entry() -> None:
    data = ENTRY.to_bytes()
    for position in range(len(data) * 8):
        bent = bytearray(data)
        bent[position // 8] ^= 1 << position % 8
        try:
            assert LogEntry.from_bytes(bytes(bent)).to_bytes() == bytes(bent)
        except ProtocolError:
            continue
