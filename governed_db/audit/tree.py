"""RFC 6962's Merkle tree over the leaves of a log: roots, and proofs that are shorter than the log.

A leaf's hash is SHA-256 of 00 and its bytes, a node's that of 01 and its two children. The 00 and 01 keep
anybody from passing a node off as a leaf. A tree of n leaves splits at the largest power of two below n.

A :class:`Range` is what has to be remembered to go on appending: the roots of the perfect subtrees that the
leaves so far fill, one for each bit of their number, so 20 hashes for a million leaves. Everything here is
a pure function.

An inclusion proof shows that one leaf is in a tree whose root is known; a consistency proof that one tree
begins with another. Both are lists of hashes, made of the ranges of leaves that :func:`inclusion_ranges`
and :func:`consistency_ranges` name.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

HASH_SIZE = 32

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves (RFC 6962, section 2.1)."""


class Range(NamedTuple):
    """The leaves so far: how many, and the roots of the perfect subtrees they fill, from left to right."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf that holds ``data``."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over two others."""
    return sha256(b"\1" + left + right).digest()


def extend(known: Range, leaves: Sequence[bytes]) -> Range:
    """Return the range with the hashes of more leaves appended."""
    size, stack = known.size, list(known.hashes)
    at = 0
    while at < len(leaves):
        # The largest perfect subtree that starts here; whole levels at a time are hashed fastest.
        block = 1 << ((len(leaves) - at).bit_length() - 1)
        if size:
            block = min(block, size & -size)
        node = _perfect(leaves[at : at + block])
        larger = size // block
        while larger & 1:
            node = node_hash(stack.pop(), node)
            larger >>= 1
        stack.append(node)
        size += block
        at += block
    return Range(size, tuple(stack))


def root(known: Range) -> bytes:
    """Return the root of the tree over all leaves of the range."""
    if not known.hashes:
        return EMPTY_ROOT
    node = known.hashes[-1]
    for left in reversed(known.hashes[:-1]):
        node = node_hash(left, node)
    return node


def fits(known: Range) -> bool:
    """Whether the range has as many hashes, of the right length, as its size asks for."""
    return (
        known.size >= 0
        and len(known.hashes) == known.size.bit_count()
        and all(len(h) == HASH_SIZE for h in known.hashes)
    )


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that leaf ``index`` is among ``size``, sibling first.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    found: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """Return the ranges whose roots prove that the tree of ``new`` leaves begins with that of ``old``.

    Raises:
        ValueError: the old tree is empty, or larger than the new one.
    """
    if not 0 < old <= new:
        raise ValueError("the old tree must have leaves, and no more than the new one")
    if old == new:
        return []
    found: list[tuple[int, int]] = []
    start, end = 0, new
    whole = True  # whether the old tree's own root is the subtree that is left, and so known
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
            whole = False
    if not whole:
        found.append((start, end))
    return found[::-1]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether ``proof`` shows that the leaf with that hash is number ``index`` of the tree with that root.

    The procedure of RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        place >>= 1
        last >>= 1
    return last == 0 and node == expected


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows that the tree of ``new`` leaves begins with the tree of ``old`` leaves.

    The procedure of RFC 9162, section 2.1.4.2. Every tree begins with the empty one.
    """
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new:
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    first = second = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_hash(node, first), node_hash(node, second)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            second = node_hash(second, node)
        place >>= 1
        last >>= 1
    return last == 0 and first == old_root and second == new_root


def _perfect(hashes: Sequence[bytes]) -> bytes:
    while len(hashes) > 1:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [sha256(b"\1" + left + right).digest() for left, right in pairs]
    return hashes[0]


def _split(width: int) -> int:
    """Return the largest power of two below ``width``."""
    return 1 << (width - 1).bit_length() - 1
