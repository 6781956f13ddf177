from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion

from governed_db.audit import tree

LARGEST = 70


def leaves(count: int) -> list[bytes]:
    return [tree.leaf_hash(b"record %d" % n) for n in range(count)]


def theirs(count: int) -> InmemoryTree:
    other = InmemoryTree(algorithm="sha256")
    for n in range(count):
        other.append_entry(b"record %d" % n)
    return other


def root_of(some: list[bytes]) -> bytes:
    return tree.root(tree.extend(tree.Range(), some))


def inclusion(some: list[bytes], index: int) -> list[bytes]:
    return [root_of(some[a:b]) for a, b in tree.inclusion_ranges(index, len(some))]


def consistency(some: list[bytes], old: int) -> list[bytes]:
    return [root_of(some[a:b]) for a, b in tree.consistency_ranges(old, len(some))]


def test_roots_are_those_of_another_implementation_for_every_size() -> None:
    other = theirs(LARGEST)
    for size in range(LARGEST + 1):
        assert root_of(leaves(size)) == other.get_root(size)
    assert root_of([]) == tree.EMPTY_ROOT


@given(st.lists(st.integers(0, 20), max_size=12))
def test_a_range_grows_to_the_same_root_however_it_is_cut(pieces: list[int]) -> None:
    known = tree.Range()
    everything = leaves(sum(pieces))
    at = 0
    for piece in pieces:
        known = tree.extend(known, everything[at : at + piece])
        at += piece
        assert tree.fits(known)
    assert tree.root(known) == theirs(at).get_root()


@given(st.integers(1, LARGEST).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_inclusion_proofs_hold_here_and_in_another_implementation(case: tuple[int, int]) -> None:
    size, index = case
    some = leaves(size)
    proof = inclusion(some, index)
    assert tree.includes(some[index], index, size, proof, root_of(some))
    other = theirs(size).prove_inclusion(index + 1, size)
    assert other.path[1:] == proof
    verify_inclusion(some[index], root_of(some), other, index=index + 1, size=size)
    assert not tree.includes(some[index], index, size, [*proof, proof[0] if proof else b""], root_of(some))
    assert not tree.includes(tree.leaf_hash(b"else"), index, size, proof, root_of(some))
    if proof:
        assert not tree.includes(some[index], index, size, proof[:-1], root_of(some))
        for wrong in (index - 1, index + 1):
            assert not tree.includes(some[index], wrong, size, proof, root_of(some))


@given(st.integers(1, LARGEST).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_consistency_proofs_hold_and_only_for_the_trees_they_are_about(case: tuple[int, int]) -> None:
    new, old = case
    some = leaves(new)
    proof = consistency(some, old)
    assert tree.consistent(old, root_of(some[:old]), new, root_of(some), proof)
    # The other implementation agrees that the one tree begins with the other.
    other = theirs(new)
    verify_consistency(root_of(some[:old]), root_of(some), other.prove_consistency(old, new))
    forged = [*some[: old - 1], tree.leaf_hash(b"else")]
    assert not tree.consistent(old, root_of(forged), new, root_of(some), proof)
    assert not tree.consistent(old, root_of(some[:old]), new, root_of(some), [*proof, tree.EMPTY_ROOT])
    if proof:
        assert not tree.consistent(old, root_of(some[:old]), new, root_of(some), proof[:-1])


def test_the_empty_tree_and_nonsense() -> None:
    assert tree.consistent(0, tree.EMPTY_ROOT, 5, b"any", [])
    assert not tree.consistent(0, b"else", 5, b"any", [])
    assert not tree.consistent(5, b"r", 3, b"r", [])
    assert not tree.includes(b"", 0, 0, [], tree.EMPTY_ROOT)
    with pytest.raises(ValueError, match="not in the tree"):
        tree.inclusion_ranges(3, 3)
    with pytest.raises(ValueError, match="must have leaves"):
        tree.consistency_ranges(4, 3)
    assert not tree.fits(tree.Range(3, (b"x" * 32,)))
