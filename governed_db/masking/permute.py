"""Keyed permutations of numbers: different numbers stay different, and only the key tells which became which.

Feistel networks (Luby and Rackoff, 1988) with as many rounds as FF1 has (NIST SP 800-38G). Up to 32 bits the
functions of the rounds are tables of random numbers from SHAKE-256 under the key, so that a round is a
look-up; above that they are keyed BLAKE2s. Numbers that a range does not hold are permuted again until it
does ("cycle walking"), which keeps a permutation of the range.

This is for pseudonyms, which nobody turns back: where a value has to be decrypted, or a standard is asked
for, there are tokens (AES-SIV) and format_preserving (FF1).
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Callable
from typing import Final

Permutation = Callable[[int], int]

ROUNDS: Final = 10
"""Rounds of each network, as FF1 has: the small ranges of our columns are its range."""

NARROW: Final = 32
"""Bits up to which the rounds are tables: 65,536 entries each, 1.3 MB for a permutation of 32 bits."""


def permutation(key: bytes, purpose: str, size: int) -> Permutation:
    """Return the permutation of ``range(size)`` under ``key``; another one for each ``purpose``.

    ``size`` is at least 4; numbers outside the range are not to be asked for.
    """
    bits = (size - 1).bit_length()
    seed = hashlib.blake2s(purpose.encode(), key=key, digest_size=32).digest()
    whole = _narrow(seed, bits) if bits <= NARROW else _wide(seed, bits)
    if size == 1 << bits:
        return whole

    def within(number: int) -> int:
        number = whole(number)
        while number >= size:
            number = whole(number)
        return number

    return within


def _narrow(seed: bytes, bits: int) -> Permutation:
    low = bits // 2
    high = bits - low
    tables = [
        _table(seed, n, *((low, high) if n % 2 == 0 else (high, low))) for n in range(ROUNDS)
    ]  # from one half, by turns, to what changes the other
    f0, g0, f1, g1, f2, g2, f3, g3, f4, g4 = tables
    mask = (1 << low) - 1

    def permute(number: int) -> int:
        b = number & mask
        a = number >> low ^ f0[b]
        b ^= g0[a]
        a ^= f1[b]
        b ^= g1[a]
        a ^= f2[b]
        b ^= g2[a]
        a ^= f3[b]
        b ^= g3[a]
        a ^= f4[b]
        return a << low | b ^ g4[a]

    return permute


def _table(seed: bytes, number: int, from_bits: int, to_bits: int) -> array[int]:
    size = 2 << from_bits
    random = int.from_bytes(hashlib.shake_256(seed + bytes((number,))).digest(size), "little")
    kept = int.from_bytes(((1 << to_bits) - 1).to_bytes(2, "little") * (1 << from_bits), "little")
    table = array("H", (random & kept).to_bytes(size, "little"))
    if sys.byteorder == "big":  # every machine makes the same table
        table.byteswap()
    return table


def _wide(seed: bytes, bits: int) -> Permutation:
    low = bits // 2
    high = bits - low
    rounds = []
    for n in range(ROUNDS):
        keyed = hashlib.blake2s(key=seed, person=b"round %d" % n, digest_size=16)
        rounds.append((keyed.copy, (1 << (high if n % 2 == 0 else low)) - 1))
    mask = (1 << low) - 1

    def permute(number: int) -> int:
        b, a = number & mask, number >> low
        for copy, kept in rounds:
            hashed = copy()
            hashed.update(b.to_bytes(16, "little"))
            # The halves change places: after an even number of rounds each is where it began.
            a, b = b, a ^ int.from_bytes(hashed.digest(), "little") & kept
        return a << low | b

    return permute
