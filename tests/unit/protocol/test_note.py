"""Is a note opened only if a known key has signed exactly this text?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import (
    KeyRejectedError,
    LimitError,
    MalformedError,
    ProtocolError,
    SignatureError,
    UnknownKindError,
)
from protocol.limits import MAX_NOTE_BYTES, MAX_NOTE_SIGNATURES
from protocol.note import NoteSignature, SignerKey, VerifierKey, open_note, parse_note, sign_note

ALICE = SignerKey(name="alice.example/log", seed=b"\x01" * 32)
BOB = SignerKey(name="bob.example/log", seed=b"\x02" * 32)
TEXT = "一行文字\nsecond line\n"
NOTE = sign_note(TEXT, [ALICE])
ALICE_LINE = NOTE.decode().splitlines(keepends=True)[-1]

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(32) if chr(c) != "\n"])
)
names = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="+"), min_size=1, max_size=30)
seeds = st.binary(min_size=32, max_size=32)


def note_with(*lines: str) -> bytes:
    return (TEXT + "\n" + "".join(lines)).encode()


# Verifier keys


@given(names, seeds)
def test_a_vkey_is_read_as_it_was_written(name: str, seed: bytes) -> None:
    verifier = SignerKey(name=name, seed=seed).verifier
    assert VerifierKey.parse(str(verifier)) == verifier


@given(st.integers(min_value=0), st.characters())
def test_a_vkey_with_one_character_replaced_is_refused(place: int, character: str) -> None:
    vkey = str(ALICE.verifier)
    place %= len(vkey)
    changed = vkey[:place] + character + vkey[place + 1 :]
    if changed != vkey:
        with pytest.raises(ProtocolError):
            VerifierKey.parse(changed)


def test_every_part_of_a_vkey_is_needed() -> None:
    vkey = str(ALICE.verifier)
    for start in range(len(vkey)):
        for end in range(start, len(vkey) + (start > 0)):
            with pytest.raises(ProtocolError):
                VerifierKey.parse(vkey[start:end])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2028b", "a\nb", "a\x00", "\ud800"])
def test_a_name_that_cannot_stand_in_a_signature_line_is_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        SignerKey(name=name, seed=b"\x01" * 32)


def test_a_vkey_of_another_signature_type_is_named_as_unknown() -> None:
    with pytest.raises(UnknownKindError):
        VerifierKey.parse("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")


def test_a_key_on_whose_signatures_verifiers_disagree_is_refused() -> None:
    with pytest.raises(KeyRejectedError):
        VerifierKey(name="x", public_key=bytes(32))


def test_an_overlong_vkey_is_refused() -> None:
    with pytest.raises(LimitError):
        VerifierKey.parse("n" * 2000 + "+00000000+AAAA")


def test_the_seed_is_not_shown() -> None:
    assert "seed" not in repr(ALICE)


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(KeyRejectedError):
        SignerKey(name="x", seed=b"short")


# Signing and opening


@given(texts, st.lists(st.sampled_from([ALICE, BOB]), min_size=1, max_size=2, unique=True))
def test_a_note_gives_back_its_text_and_its_signers_in_order(text: str, signers: list[SignerKey]) -> None:
    note = sign_note(text + "\n", signers)
    opened, signatures = open_note(note, [BOB.verifier, ALICE.verifier])
    assert opened == text + "\n"
    assert [signature.name for signature in signatures] == [signer.name for signer in signers]


@given(st.lists(st.sampled_from(["a", "", "— x AAAAAAA="]), min_size=1, max_size=6))
def test_empty_lines_and_signature_like_lines_in_the_text_stay_text(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    assert open_note(sign_note(text, [ALICE]), [ALICE.verifier])[0] == text


def test_unknown_signatures_are_ignored() -> None:
    opened, signatures = open_note(sign_note(TEXT, [BOB, ALICE]), [ALICE.verifier])
    assert opened == TEXT
    assert [signature.name for signature in signatures] == [ALICE.name]


def test_a_signature_with_a_known_name_but_another_key_id_is_unknown() -> None:
    namesake = SignerKey(name=ALICE.name, seed=b"\x03" * 32)
    assert len(open_note(sign_note(TEXT, [namesake, ALICE]), [ALICE.verifier])[1]) == 1
    with pytest.raises(SignatureError):
        open_note(sign_note(TEXT, [namesake]), [ALICE.verifier])


def test_a_note_nobody_known_has_signed_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_note(NOTE, [BOB.verifier])
    with pytest.raises(SignatureError):
        open_note(NOTE, [])


def test_a_bad_signature_of_a_known_key_refuses_the_note_despite_good_ones() -> None:
    forged = NoteSignature(name=BOB.name, key_id=BOB.verifier.key_id, signature=bytes(64)).to_line()
    with pytest.raises(SignatureError):
        open_note(note_with(ALICE_LINE, forged), [ALICE.verifier, BOB.verifier])
    assert open_note(note_with(ALICE_LINE, forged), [ALICE.verifier])[0] == TEXT


def test_a_bad_repetition_of_a_good_signature_refuses_the_note() -> None:
    forged = NoteSignature(name=ALICE.name, key_id=ALICE.verifier.key_id, signature=bytes(64)).to_line()
    with pytest.raises(SignatureError):
        open_note(note_with(ALICE_LINE, forged), [ALICE.verifier])


def test_a_repeated_signature_counts_once() -> None:
    assert len(open_note(note_with(ALICE_LINE, ALICE_LINE), [ALICE.verifier])[1]) == 1


def test_a_known_key_given_twice_is_one_key() -> None:
    assert len(open_note(NOTE, [ALICE.verifier, ALICE.verifier])[1]) == 1


def test_two_known_keys_that_share_name_and_id_are_refused() -> None:
    """Found by trying seeds: four bytes of id collide soon enough."""
    twins = [SignerKey(name="twin.example", seed=seed.to_bytes(32, "big")) for seed in (123_945, 131_039)]
    first, second = (twin.verifier for twin in twins)
    assert first.key_id == second.key_id
    with pytest.raises(SignatureError):
        open_note(sign_note(TEXT, twins[:1]), [first, second])
    with pytest.raises(SignatureError):
        open_note(sign_note(TEXT, twins[1:]), [first])


def test_sixteen_large_foreign_signatures_are_accepted_beside_ours() -> None:
    foreign = [
        NoteSignature(name=f"witness{number}.example", key_id=b"\x00" * 4, signature=bytes(4_900)).to_line()
        for number in range(16)
    ]
    assert len(open_note(note_with(*foreign, ALICE_LINE), [ALICE.verifier])[1]) == 1


def test_more_signature_lines_than_the_limit_are_refused() -> None:
    assert open_note(note_with(*[ALICE_LINE] * MAX_NOTE_SIGNATURES), [ALICE.verifier])
    with pytest.raises(LimitError):
        open_note(note_with(*[ALICE_LINE] * (MAX_NOTE_SIGNATURES + 1)), [ALICE.verifier])
    with pytest.raises(LimitError):
        sign_note(TEXT, [ALICE] * (MAX_NOTE_SIGNATURES + 1))


def test_a_note_above_the_size_limit_is_refused_both_ways() -> None:
    with pytest.raises(LimitError):
        sign_note("x" * MAX_NOTE_BYTES + "\n", [ALICE])
    with pytest.raises(LimitError):
        parse_note(b"x" * (MAX_NOTE_BYTES + 1))


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "cr\r\n", "nul\x00\n", "\ud800\n"])
def test_a_text_that_cannot_be_in_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedError):
        sign_note(text, [ALICE])


def test_a_note_without_signers_is_not_made() -> None:
    with pytest.raises(MalformedError):
        sign_note(TEXT, [])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        TEXT.encode() + b"\n",
        NOTE[:-1],
        NOTE[:-1] + b"x",
        NOTE + b"\n",
        NOTE + b"x",
        NOTE + b"trailing line\n",
        b"\xff" + NOTE,
        b"\x01" + NOTE,
        NOTE.replace(b"\n", b"\r\n"),
        note_with(ALICE_LINE.replace("—", "-")),
        note_with(ALICE_LINE.replace("— ", "—")),
        note_with(ALICE_LINE.replace("— ", "—  ")),
        note_with(ALICE_LINE.replace("alice", "ali ce")),
        note_with(ALICE_LINE.replace("alice", "ali+ce")),
        note_with("— alice.example/log\n"),
        note_with("— alice.example/log \n"),
        note_with("— alice.example/log AAAAAA==\n"),
        note_with("— alice.example/log not base64\n"),
        note_with("— \n"),
    ],
)
def test_bytes_that_are_no_note_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        open_note(data, [ALICE.verifier])


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_note_with_one_byte_changed_is_refused(place: int, change: int) -> None:
    damaged = bytearray(NOTE)
    damaged[place % len(NOTE)] ^= change
    with pytest.raises(ProtocolError):
        open_note(bytes(damaged), [ALICE.verifier])


@given(st.integers(min_value=0, max_value=len(NOTE) - 1))
def test_a_cut_note_is_refused(kept: int) -> None:
    with pytest.raises(ProtocolError):
        open_note(NOTE[:kept], [ALICE.verifier])


@given(
    st.lists(st.sampled_from([b"\n", b"\n\n", "— ".encode(), b"x ", b"AAAAAAAA", b"\xe2", b"="]), max_size=12)
)
def test_hostile_bytes_raise_nothing_but_protocol_errors(pieces: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        open_note(b"".join(pieces), [ALICE.verifier])
