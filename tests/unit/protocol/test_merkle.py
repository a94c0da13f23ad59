"""Do proofs made by the tree convince exactly when they should, measured against the RFC's own recursion?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProofError
from protocol.limits import MAX_TREE_SIZE
from protocol.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    make_consistency_proof,
    make_inclusion_proof,
    node_hash,
    root_from_inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.support import reference_tree

MAX_LEAVES = 300
ENTRIES = [b"entry %d" % number for number in range(MAX_LEAVES)]
sizes = st.integers(min_value=1, max_value=MAX_LEAVES)


def read(level: int, index: int) -> bytes:
    """A stored-hash reader that computes every hash anew."""
    width = 1 << level
    complete = ENTRIES[index * width : (index + 1) * width]
    assert len(complete) == width, "asked for a subtree that is not complete"
    return reference_tree.mth(complete)


@st.composite
def leaves_in_trees(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(sizes)
    return draw(st.integers(min_value=0, max_value=size - 1)), size


@st.composite
def growing_trees(draw: st.DrawFn) -> tuple[int, int]:
    new_size = draw(sizes)
    return draw(st.integers(min_value=1, max_value=new_size)), new_size


@given(sizes)
def test_the_root_is_the_merkle_tree_hash_of_the_rfc(size: int) -> None:
    assert tree_root(size, read) == reference_tree.mth(ENTRIES[:size])


def test_the_empty_tree_has_the_hash_of_nothing_as_root() -> None:
    assert tree_root(0, read) == EMPTY_ROOT == reference_tree.mth([])


@given(leaves_in_trees())
def test_an_inclusion_proof_is_the_audit_path_of_the_rfc_and_verifies(case: tuple[int, int]) -> None:
    index, size = case
    proof = make_inclusion_proof(index, size, read)
    assert proof == reference_tree.path(index, ENTRIES[:size])
    verify_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, tree_root(size, read))


@given(growing_trees())
def test_a_consistency_proof_is_the_proof_of_the_rfc_and_verifies(case: tuple[int, int]) -> None:
    old_size, new_size = case
    proof = make_consistency_proof(old_size, new_size, read)
    assert proof == reference_tree.proof(old_size, ENTRIES[:new_size])
    verify_consistency(old_size, new_size, proof, tree_root(old_size, read), tree_root(new_size, read))


def test_every_pair_of_sizes_up_to_forty_is_consistent() -> None:
    for new_size in range(41):
        for old_size in range(new_size + 1):
            proof = make_consistency_proof(old_size, new_size, read)
            verify_consistency(
                old_size, new_size, proof, tree_root(old_size, read), tree_root(new_size, read)
            )


@given(leaves_in_trees(), st.data())
def test_an_inclusion_proof_with_one_thing_changed_is_refused(
    case: tuple[int, int], data: st.DataObject
) -> None:
    index, size = case
    values = [leaf_hash(ENTRIES[index]), tree_root(size, read), *make_inclusion_proof(index, size, read)]
    changed = _flip_one_bit(values, data)
    with pytest.raises(ProofError):
        verify_inclusion(changed[0], index, size, changed[2:], changed[1])


@given(leaves_in_trees(), st.data())
def test_an_inclusion_proof_of_another_length_is_refused(case: tuple[int, int], data: st.DataObject) -> None:
    index, size = case
    proof = _change_length(make_inclusion_proof(index, size, read), data)
    with pytest.raises(ProofError):
        verify_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, tree_root(size, read))


@given(leaves_in_trees(), st.integers(min_value=-1, max_value=MAX_LEAVES))
def test_an_inclusion_proof_at_another_index_is_refused(case: tuple[int, int], other: int) -> None:
    index, size = case
    if other != index:
        with pytest.raises(ProofError):
            verify_inclusion(
                leaf_hash(ENTRIES[index]),
                other,
                size,
                make_inclusion_proof(index, size, read),
                tree_root(size, read),
            )


@given(growing_trees(), st.data())
def test_a_consistency_proof_with_one_thing_changed_is_refused(
    case: tuple[int, int], data: st.DataObject
) -> None:
    old_size, new_size = case
    roots = [tree_root(old_size, read), tree_root(new_size, read)]
    changed = _flip_one_bit([*roots, *make_consistency_proof(old_size, new_size, read)], data)
    with pytest.raises(ProofError):
        verify_consistency(old_size, new_size, changed[2:], changed[0], changed[1])


@given(growing_trees(), st.data())
def test_a_consistency_proof_of_another_length_is_refused(case: tuple[int, int], data: st.DataObject) -> None:
    old_size, new_size = case
    proof = _change_length(make_consistency_proof(old_size, new_size, read), data)
    with pytest.raises(ProofError):
        verify_consistency(old_size, new_size, proof, tree_root(old_size, read), tree_root(new_size, read))


@given(growing_trees())
def test_a_tree_whose_past_was_rewritten_is_refused(case: tuple[int, int]) -> None:
    old_size, new_size = case
    rewritten = reference_tree.mth([b"another", *ENTRIES[1:new_size]])
    proof = make_consistency_proof(old_size, new_size, read)
    with pytest.raises(ProofError):
        verify_consistency(old_size, new_size, proof, tree_root(old_size, read), rewritten)


def test_every_tree_extends_the_empty_tree_and_only_an_empty_proof_says_so() -> None:
    root = tree_root(5, read)
    verify_consistency(0, 5, [], EMPTY_ROOT, root)
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(ProofError):
        verify_consistency(0, 5, [root], EMPTY_ROOT, root)


def test_an_empty_tree_with_another_root_is_refused() -> None:
    with pytest.raises(ProofError):
        verify_consistency(0, 5, [], bytes(32), tree_root(5, read))
    with pytest.raises(ProofError):
        verify_consistency(0, 0, [], bytes(32), bytes(32))


def test_two_roots_for_one_size_are_refused() -> None:
    with pytest.raises(ProofError):
        verify_consistency(5, 5, [], tree_root(5, read), tree_root(6, read))


def test_a_tree_that_shrank_is_refused() -> None:
    with pytest.raises(ProofError):
        verify_consistency(6, 5, [], tree_root(6, read), tree_root(5, read))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (0, -1), (0, MAX_TREE_SIZE + 1)])
def test_an_index_outside_the_tree_is_refused_both_ways(index: int, size: int) -> None:
    with pytest.raises(ProofError):
        root_from_inclusion_proof(bytes(32), index, size, [])
    with pytest.raises(ProofError):
        make_inclusion_proof(index, size, read)


@pytest.mark.parametrize(("old_size", "new_size"), [(-1, 5), (6, 5), (0, -1), (1, MAX_TREE_SIZE + 1)])
def test_sizes_out_of_order_are_refused_both_ways(old_size: int, new_size: int) -> None:
    with pytest.raises(ProofError):
        make_consistency_proof(old_size, new_size, read)
    with pytest.raises(ProofError):
        verify_consistency(old_size, new_size, [], bytes(32), bytes(32))


def test_hashes_of_another_length_are_refused() -> None:
    leaf = leaf_hash(b"")
    for leaf_given, root in ((b"", leaf), (leaf, b""), (b"", b""), (leaf + b"\x00", leaf)):
        with pytest.raises(ProofError):
            verify_inclusion(leaf_given, 0, 1, [], root)


def test_a_proof_in_the_largest_tree_takes_few_reads() -> None:
    asked = []

    def count(level: int, index: int) -> bytes:
        asked.append((level, index))
        return bytes(32)

    make_inclusion_proof(MAX_TREE_SIZE // 3, MAX_TREE_SIZE, count)
    make_consistency_proof(MAX_TREE_SIZE // 3, MAX_TREE_SIZE, count)
    assert len(asked) <= 4 * 53


def test_a_leaf_and_a_node_with_the_same_bytes_have_different_hashes() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


def _flip_one_bit(values: list[bytes], data: st.DataObject) -> list[bytes]:
    place = data.draw(st.integers(min_value=0, max_value=len(values) - 1))
    bit = data.draw(st.integers(min_value=0, max_value=255))
    changed = bytearray(values[place])
    changed[bit // 8] ^= 1 << bit % 8
    return [*values[:place], bytes(changed), *values[place + 1 :]]


def _change_length(proof: list[bytes], data: st.DataObject) -> list[bytes]:
    """One hash fewer or one more, at any place."""
    place = data.draw(st.integers(min_value=0, max_value=len(proof)))
    if place < len(proof) and data.draw(st.booleans()):
        return proof[:place] + proof[place + 1 :]
    return [*proof[:place], data.draw(st.binary(min_size=32, max_size=32)), *proof[place:]]
