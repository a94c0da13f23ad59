"""Does a checkpoint have one text, and is it opened only under the key of its own log?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text, sign_checkpoint
from protocol.errors import LimitError, MalformedError, ProtocolError, SignatureError
from protocol.limits import MAX_TREE_SIZE
from protocol.lines import encode_base64
from protocol.merkle import EMPTY_ROOT
from protocol.note import SignerKey, sign_note

LOG = SignerKey(name="log.example/collector", seed=b"\x05" * 32)
WITNESS = SignerKey(name="station-1.example", seed=b"\x06" * 32)
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(origin=LOG.name, size=70_000, root=ROOT)
TEXT = CHECKPOINT.to_text()

one_line = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(code) for code in range(32)]),
    min_size=1,
    max_size=20,
)
checkpoints = st.builds(
    Checkpoint,
    origin=one_line,
    size=st.integers(min_value=1, max_value=MAX_TREE_SIZE),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(one_line, max_size=3).map(tuple),
)


@given(checkpoints)
def test_a_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert parse_checkpoint_text(checkpoint.to_text()) == checkpoint


def test_the_text_is_origin_size_and_root_on_three_lines() -> None:
    root = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert CHECKPOINT.to_text() == f"log.example/collector\n70000\n{root}\n"


def test_a_signed_checkpoint_opens_under_the_key_of_its_log() -> None:
    assert open_checkpoint(sign_checkpoint(CHECKPOINT, LOG), LOG.verifier) == CHECKPOINT


def test_a_checkpoint_that_others_have_signed_too_opens() -> None:
    assert open_checkpoint(sign_note(TEXT, [WITNESS, LOG]), LOG.verifier) == CHECKPOINT


def test_a_checkpoint_only_others_have_signed_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_checkpoint(sign_note(TEXT, [WITNESS]), LOG.verifier)


def test_a_key_cannot_speak_for_another_log() -> None:
    with pytest.raises(SignatureError):
        sign_checkpoint(CHECKPOINT, WITNESS)
    with pytest.raises(SignatureError):
        open_checkpoint(sign_note(TEXT, [WITNESS]), WITNESS.verifier)


def test_extension_lines_are_kept_and_signed_again_unchanged() -> None:
    note = sign_note(TEXT + "future 1\nfuture 2\n", [LOG])
    checkpoint = open_checkpoint(note, LOG.verifier)
    assert checkpoint.extensions == ("future 1", "future 2")
    assert sign_checkpoint(checkpoint, LOG) == note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n\n",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "extension",
        TEXT + "a\n\nb\n",
        TEXT.replace("log.example/collector", ""),
        TEXT.replace("70000", "070000"),
        TEXT.replace("70000", "-1"),
        TEXT.replace("70000", "7e4"),
        TEXT.replace("70000", "٧٠٠٠٠"),
        TEXT.replace("70000", "70000 "),
        TEXT.replace("=", ""),
        TEXT.replace("h8=", "h9="),
        TEXT.replace("AAEC", "AAECAAEC"),
        TEXT.replace("\n", "\r\n"),
        "log.example/collector\n70000\n",
        f"log\ud800\n1\n{encode_base64(ROOT)}\n",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_checkpoint_text(text)


@given(
    st.lists(st.sampled_from(["\n", "0", "1", "log", encode_base64(EMPTY_ROOT), "\r", "\ud800"]), max_size=10)
)
def test_hostile_text_raises_nothing_but_protocol_errors(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        checkpoint = parse_checkpoint_text(text)
    except ProtocolError:
        return
    assert checkpoint.to_text() == text


def test_a_signed_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(MalformedError):
        open_checkpoint(sign_note("hello\n", [LOG]), LOG.verifier)


@pytest.mark.parametrize("size", ["9007199254740992", "9" * 100_000])
def test_a_size_beyond_the_limit_is_refused(size: str) -> None:
    with pytest.raises(LimitError):
        parse_checkpoint_text(TEXT.replace("70000", size))


def test_a_size_out_of_range_cannot_be_made() -> None:
    for size in (-1, MAX_TREE_SIZE + 1):
        with pytest.raises(LimitError):
            Checkpoint(origin="x", size=size, root=ROOT)


def test_the_empty_log_has_one_root_only() -> None:
    assert Checkpoint(origin="x", size=0, root=EMPTY_ROOT).to_text().startswith("x\n0\n47DEQpj8HBSa")
    with pytest.raises(MalformedError):
        Checkpoint(origin="x", size=0, root=ROOT)
