"""Does one text file prove, to somebody with the log's key and the entry, that the entry is in the log?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoint import Checkpoint
from protocol.errors import LimitError, MalformedError, ProofError, ProtocolError, SignatureError
from protocol.limits import MAX_NOTE_BYTES, MAX_PROOF_HASHES, MAX_TREE_SIZE
from protocol.note import SignerKey
from protocol.tlog_proof import (
    MAX_EXTRA_BYTES,
    MAX_TLOG_PROOF_BYTES,
    TlogProof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from tests.support.memory_log import MemoryLog

ENTRIES = [b"entry %d" % number for number in range(300)]
LOG = MemoryLog()
LOG.append(ENTRIES)
KEY = LOG.signer.verifier
PROOF = LOG.proof(123)
DATA = PROOF.to_bytes()

proofs = st.builds(
    TlogProof,
    index=st.integers(min_value=0, max_value=MAX_TREE_SIZE - 1),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF_HASHES).map(tuple),
    checkpoint_note=st.binary(max_size=100),
    extra=st.binary(max_size=100),
)


@given(proofs)
def test_a_proof_is_read_as_it_was_written(proof: TlogProof) -> None:
    assert parse_tlog_proof(proof.to_bytes()) == proof


def test_the_text_has_the_lines_of_the_specification() -> None:
    proof = TlogProof(index=7, hashes=(bytes(32),), checkpoint_note=b"note\n", extra=b"hi")
    zeros = "A" * 43 + "="
    assert proof.to_bytes().decode() == f"c2sp.org/tlog-proof@v1\nextra aGk=\nindex 7\n{zeros}\n\nnote\n"


@given(st.integers(min_value=0, max_value=len(ENTRIES) - 1))
def test_every_entry_of_a_log_can_be_proved(index: int) -> None:
    proof = parse_tlog_proof(LOG.proof(index).to_bytes())
    checkpoint = verify_tlog_proof(proof, ENTRIES[index], KEY)
    assert checkpoint == Checkpoint(origin=KEY.name, size=LOG.size, root=LOG.root)


def test_the_only_entry_of_a_log_needs_no_hashes() -> None:
    log = MemoryLog()
    log.append([b"only"])
    proof = parse_tlog_proof(log.proof(0).to_bytes())
    assert proof.hashes == ()
    assert verify_tlog_proof(proof, b"only", KEY).size == 1


def test_extra_data_prove_nothing_and_harm_nothing() -> None:
    proof = parse_tlog_proof(replace(PROOF, extra=b"anything").to_bytes())
    assert proof.extra == b"anything"
    verify_tlog_proof(proof, ENTRIES[123], KEY)


def test_another_entry_or_another_place_is_refused() -> None:
    with pytest.raises(ProofError):
        verify_tlog_proof(PROOF, ENTRIES[124], KEY)
    with pytest.raises(ProofError):
        verify_tlog_proof(replace(PROOF, index=124), ENTRIES[123], KEY)
    with pytest.raises(ProofError):
        verify_tlog_proof(replace(PROOF, index=300), ENTRIES[123], KEY)


def test_a_proof_under_another_logs_key_is_refused() -> None:
    stranger = SignerKey(name=KEY.name, seed=b"\x08" * 32).verifier
    with pytest.raises(SignatureError):
        verify_tlog_proof(PROOF, ENTRIES[123], stranger)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_proof_with_one_byte_changed_is_refused(place: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[place % len(DATA)] ^= change
    with pytest.raises(ProtocolError):
        verify_tlog_proof(parse_tlog_proof(bytes(damaged)), ENTRIES[123], KEY)


@given(st.integers(min_value=0, max_value=len(DATA) - 1))
def test_a_cut_proof_is_refused(kept: int) -> None:
    with pytest.raises(ProtocolError):
        verify_tlog_proof(parse_tlog_proof(DATA[:kept]), ENTRIES[123], KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v1\n\nnote",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nnote",
        b"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex\n\nnote",
        b"c2sp.org/tlog-proof@v1\nIndex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra aGk=\n\nnote",
        b"c2sp.org/tlog-proof@v1\nextra aGk=\nextra aGk=\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nextra aGl=\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\xc3\xa9\n\nnote",
    ],
)
def test_another_text_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_tlog_proof(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("index", -1),
        ("index", MAX_TREE_SIZE),
        ("hashes", (bytes(32),) * (MAX_PROOF_HASHES + 1)),
        ("checkpoint_note", bytes(MAX_NOTE_BYTES + 1)),
        ("extra", bytes(MAX_EXTRA_BYTES + 1)),
    ],
)
def test_a_proof_beyond_the_limits_cannot_be_made(field: str, value: object) -> None:
    with pytest.raises(LimitError):
        replace(PROOF, **{field: value})  # type: ignore[arg-type]


def test_the_largest_proof_allowed_can_be_read_back() -> None:
    largest = TlogProof(
        index=MAX_TREE_SIZE - 1,
        hashes=(b"\xff" * 32,) * MAX_PROOF_HASHES,
        checkpoint_note=bytes(MAX_NOTE_BYTES),
        extra=bytes(MAX_EXTRA_BYTES),
    )
    assert parse_tlog_proof(largest.to_bytes()) == largest
    with pytest.raises(LimitError):
        parse_tlog_proof(bytes(MAX_TLOG_PROOF_BYTES + 1))
