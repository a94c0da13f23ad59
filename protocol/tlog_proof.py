"""C2SP proofs of logging (c2sp.org/tlog-proof@v1): inclusion proof and checkpoint of one entry, as text.

The entry itself is not in the proof: who checks it brings the bytes and the log's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.checkpoint import Checkpoint, open_checkpoint
from protocol.errors import LimitError, MalformedError
from protocol.limits import MAX_NOTE_BYTES, MAX_PROOF_HASHES, MAX_TREE_SIZE
from protocol.lines import decode_base64, encode_base64, parse_decimal
from protocol.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from protocol.note import VerifierKey

MAX_EXTRA_BYTES: Final = 65_535
"""Extra data: enough to carry the entry beside its proof, the largest thing a verifier could want there."""

MAX_TLOG_PROOF_BYTES: Final = MAX_NOTE_BYTES + 128 * 1024
"""A whole proof: its note, 87 KiB of extra data in Base 64, and 3 KiB of hashes."""

_FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


@dataclass(frozen=True, slots=True, kw_only=True)
class TlogProof:
    """That an entry stands at ``index`` of the log whose checkpoint note is enclosed (日志包含证明).

    ``hashes`` run from the leaf's sibling upwards. ``extra`` is not authenticated by anything.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint_note: bytes
    extra: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_TREE_SIZE:
            raise LimitError(f"an index is 0 to {MAX_TREE_SIZE - 1}, not {self.index}")
        if len(self.hashes) > MAX_PROOF_HASHES:
            raise LimitError(f"a proof has at most {MAX_PROOF_HASHES} hashes, not {len(self.hashes)}")
        if any(len(value) != HASH_BYTES for value in self.hashes):
            raise MalformedError(f"a hash in a proof is {HASH_BYTES} bytes")
        if len(self.checkpoint_note) > MAX_NOTE_BYTES:
            raise LimitError(f"a checkpoint note has at most {MAX_NOTE_BYTES} bytes")
        if len(self.extra) > MAX_EXTRA_BYTES:
            raise LimitError(f"extra data of a proof have at most {MAX_EXTRA_BYTES} bytes")

    def to_bytes(self) -> bytes:
        """The text of a ``.tlog-proof`` file."""
        lines = [_FIRST_LINE]
        if self.extra:
            lines.append(_EXTRA + encode_base64(self.extra))
        lines.append(f"{_INDEX}{self.index}")
        lines.extend(encode_base64(value) for value in self.hashes)
        return "\n".join(lines).encode("ascii") + b"\n\n" + self.checkpoint_note


def parse_tlog_proof(data: bytes) -> TlogProof:
    """The inverse of ``TlogProof.to_bytes``; nothing is verified. Raises MalformedError or LimitError."""
    if len(data) > MAX_TLOG_PROOF_BYTES:
        raise LimitError(f"a proof has at most {MAX_TLOG_PROOF_BYTES} bytes")
    head, blank_line, note = data.partition(b"\n\n")
    if not blank_line or not head.isascii():
        raise MalformedError("a proof is ASCII lines, a blank line and a checkpoint")
    first, *lines = head.decode("ascii").split("\n")
    if first != _FIRST_LINE:
        raise MalformedError(f"a proof begins with the line {_FIRST_LINE}")
    extra = _parse_extra(lines.pop(0)) if lines and lines[0].startswith(_EXTRA) else b""
    if not lines or not lines[0].startswith(_INDEX):
        raise MalformedError("a proof names its index before its hashes")
    index, *hashes = lines
    return TlogProof(
        index=parse_decimal(index.removeprefix(_INDEX), "the index of a proof", MAX_TREE_SIZE - 1),
        hashes=tuple(decode_base64(line, "a hash in a proof") for line in hashes),
        checkpoint_note=note,
        extra=extra,
    )


def verify_tlog_proof(proof: TlogProof, entry: bytes, verifier: VerifierKey) -> Checkpoint:
    """The checkpoint under which the log's key vouches for ``entry`` at ``proof.index``.

    Raises MalformedError, LimitError or SignatureError for the checkpoint, ProofError if the entry is not
    in the log it describes.
    """
    checkpoint = open_checkpoint(proof.checkpoint_note, verifier)
    verify_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return checkpoint


def _parse_extra(line: str) -> bytes:
    extra = decode_base64(line.removeprefix(_EXTRA), "the extra data of a proof")
    if not extra:
        raise MalformedError("a proof without extra data has no extra line")
    return extra
