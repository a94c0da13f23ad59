"""The Merkle tree of RFC 6962 §2 over SHA-256: hashing, checking proofs and making them.

Checks are strict: a proof has exactly the hashes its sizes call for, and every hash is 32 bytes. Proofs are
made from the hashes of complete subtrees, whoever stores them, with O(log n) reads. Sizes count leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

from protocol.errors import ProofError
from protocol.limits import MAX_TREE_SIZE

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 §2.1)."""


class HashReader(Protocol):
    """Gives the hash of the ``index``-th complete subtree of ``2**level`` leaves."""

    def __call__(self, level: int, index: int, /) -> bytes: ...


def leaf_hash(data: bytes) -> bytes:
    """SHA-256 of 0x00 and the entry (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and both children (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_from_inclusion_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root this audit path (RFC 6962 §2.1.1) leads to from a leaf hash.

    Raises ProofError if the index is outside the tree, the path has not the length that index and size
    determine, or a hash is not 32 bytes.
    """
    _check_size(size)
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    _check_hashes(leaf, *proof)
    inner = _inner_length(index, size)
    _check_length(proof, inner + (index >> inner).bit_count())
    result = leaf
    for level, sibling in enumerate(proof):
        right = _is_right_child(index, level, inner)
        result = node_hash(sibling, result) if right else node_hash(result, sibling)
    return result


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofError unless the leaf hash stands at ``index`` in the tree of that size and root."""
    if root_from_inclusion_proof(leaf, index, size, proof) != root:
        raise ProofError(f"leaf {index} does not lead to the root of the tree of {size}")


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raises ProofError unless the new tree begins with all leaves of the old one (RFC 6962 §2.1.2).

    Every tree extends the empty one and itself: there the proof must be empty, the empty tree must have the
    empty root, and equal sizes must have equal roots.
    """
    _check_size(old_size)
    _check_size(new_size)
    if old_size > new_size:
        raise ProofError(f"a tree of {new_size} cannot extend a tree of {old_size}")
    _check_hashes(old_root, new_root, *proof)
    _check_empty_root(old_size, old_root)
    _check_empty_root(new_size, new_root)
    if old_size in (0, new_size):
        _check_length(proof, 0)
        if old_size == new_size and old_root != new_root:
            raise ProofError(f"two different roots for a tree of {new_size}")
        return
    if _roots_from_consistency_proof(old_size, new_size, proof, old_root) != (old_root, new_root):
        raise ProofError(f"the tree of {new_size} does not extend the tree of {old_size}")


def tree_root(size: int, read: HashReader) -> bytes:
    """The root of the first ``size`` leaves. Raises ProofError for a size out of range."""
    _check_size(size)
    return _range_root(0, size, read) if size else EMPTY_ROOT


def make_inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of the first ``size`` leaves, the leaf's sibling first.

    Raises ProofError if the index is outside the tree.
    """
    _check_size(size)
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    return _siblings(index, size, 0, read)


def make_consistency_proof(old_size: int, new_size: int, read: HashReader) -> list[bytes]:
    """The proof that the first ``new_size`` leaves extend the first ``old_size``; empty if that is trivial.

    Raises ProofError for sizes out of order or out of range.
    """
    _check_size(new_size)
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of {new_size} cannot extend a tree of {old_size}")
    if old_size in (0, new_size):
        return []
    level = _trailing_zeros(old_size)
    last = old_size - 1
    path = _siblings(last, new_size, level, read)
    # The verifier knows the subtree the path starts from if it is the whole old tree.
    return path if old_size == 1 << level else [read(level, last >> level), *path]


def _roots_from_consistency_proof(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes
) -> tuple[bytes, bytes]:
    """Old and new root that the path leads to from the last complete subtree of the old tree."""
    start = _trailing_zeros(old_size)
    seeded = old_size != 1 << start
    last = (old_size - 1) >> start
    inner = _inner_length(old_size - 1, new_size) - start
    _check_length(proof, seeded + inner + (last >> inner).bit_count())
    old = new = proof[0] if seeded else old_root
    for level, sibling in enumerate(proof[seeded:]):
        if _is_right_child(last, level, inner):
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return old, new


def _siblings(index: int, size: int, start: int, read: HashReader) -> list[bytes]:
    """Siblings, from level ``start`` up, of the nodes over leaf ``index``; past the right edge is none."""
    path = []
    for level in range(start, (size - 1).bit_length()):
        sibling = (index >> level) ^ 1
        low = sibling << level
        if low + (1 << level) <= size:
            path.append(read(level, sibling))
        elif low < size:
            path.append(_range_root(low, size, read))
    return path


def _range_root(low: int, high: int, read: HashReader) -> bytes:
    """Root over leaves ``[low, high)``, where ``low`` starts a subtree at least that large.

    The complete subtrees in it follow the binary digits of its length; RFC 6962 folds them from the right.
    """
    complete: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        complete.append(read(level, low >> level))
        low += 1 << level
    root = complete.pop()
    while complete:
        root = node_hash(complete.pop(), root)
    return root


def _inner_length(index: int, size: int) -> int:
    """Levels below the point where the paths of this leaf and of the last leaf meet."""
    return (index ^ (size - 1)).bit_length()


def _is_right_child(index: int, level: int, inner: int) -> bool:
    """Above the meeting point the path runs along the right edge, where only left siblings are in a proof."""
    return level >= inner or bool(index >> level & 1)


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1


def _check_size(size: int) -> None:
    if not 0 <= size <= MAX_TREE_SIZE:
        raise ProofError(f"a tree has 0 to {MAX_TREE_SIZE} leaves, not {size}")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofError(f"a hash in a proof is not {HASH_BYTES} bytes")


def _check_length(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        raise ProofError(f"the proof must have {expected} hashes, it has {len(proof)}")


def _check_empty_root(size: int, root: bytes) -> None:
    if size == 0 and root != EMPTY_ROOT:
        raise ProofError("the empty tree has another root than SHA-256 of nothing")
