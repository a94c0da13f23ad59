"""C2SP checkpoints (c2sp.org/tlog-checkpoint): a log's origin, size and root as the text of a signed note."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.errors import LimitError, MalformedError, SignatureError
from protocol.limits import MAX_TREE_SIZE
from protocol.lines import check_line, decode_base64, encode_base64, parse_decimal
from protocol.merkle import EMPTY_ROOT, HASH_BYTES
from protocol.note import SignerKey, VerifierKey, open_note, sign_note

_FIXED_LINES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a log at one moment (检查点): its first ``size`` entries have this Merkle root.

    ``extensions`` are further lines other logs may add: they are kept, so that the text is reproduced, and
    never interpreted.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_line(self.origin, "the origin of a checkpoint")
        for line in self.extensions:
            check_line(line, "an extension line of a checkpoint")
        if not 0 <= self.size <= MAX_TREE_SIZE:
            raise LimitError(f"a log has 0 to {MAX_TREE_SIZE} entries, not {self.size}")
        if len(self.root) != HASH_BYTES:
            raise MalformedError(f"a root is {HASH_BYTES} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedError("the empty log has another root than SHA-256 of nothing")

    def to_text(self) -> str:
        """The text that is signed, final newline included."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "\n".join(lines) + "\n"


def parse_checkpoint_text(text: str) -> Checkpoint:
    """The inverse of ``Checkpoint.to_text``; knows no signatures. Raises MalformedError or LimitError."""
    *lines, rest = text.split("\n")
    if rest or len(lines) < _FIXED_LINES:
        raise MalformedError("a checkpoint is the lines origin, size and root, each ended by a newline")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin=origin,
        size=parse_decimal(size, "the size of a checkpoint", MAX_TREE_SIZE),
        root=decode_base64(root, "the root of a checkpoint"),
        extensions=tuple(extensions),
    )


def sign_checkpoint(checkpoint: Checkpoint, signer: SignerKey) -> bytes:
    """The signed note. Raises SignatureError if the key is named for another log.

    Two inconsistent checkpoints of one log are a fork that can never be taken back: the caller signs only
    what it has made durable as the successor of the last one.
    """
    _check_origin(checkpoint, signer.name)
    return sign_note(checkpoint.to_text(), [signer])


def open_checkpoint(data: bytes, verifier: VerifierKey) -> Checkpoint:
    """The checkpoint in a note signed by the log's key, whatever other keys have signed it too.

    Raises MalformedError or LimitError for bytes that are no checkpoint, SignatureError if the log's
    signature is missing or bad, or the key is named for another log.
    """
    text, _ = open_note(data, [verifier])
    checkpoint = parse_checkpoint_text(text)
    _check_origin(checkpoint, verifier.name)
    return checkpoint


def _check_origin(checkpoint: Checkpoint, key_name: str) -> None:
    if checkpoint.origin != key_name:
        raise SignatureError(f"key {key_name} cannot speak for the log {checkpoint.origin[:80]}")
