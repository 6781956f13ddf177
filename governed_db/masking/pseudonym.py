"""PSEUDONYM: equal values of a class become equal, different ones different, and no value can be told.

====================================  ==========================================================
text of any kind                      ``psn_EMAIL_ADDRESS_1_`` and 24 hexadecimal digits of keyed
                                      BLAKE2s (RFC 7693) over its UTF-8; shorter in a short varchar(n),
                                      redacted in one of less than 20 characters
bytea                                 the same, as bytes
uuid                                  a uuid of version 8 (RFC 9562) that carries a checksum
int2                                  a permutation of the range, the sign kept
int4, int8                            the same; a number that int4 holds becomes one that int4 holds,
                                      so that columns of both types join
numeric, where it is a whole number   a permutation of the numbers with as many digits, the sign kept
date, timestamp, timestamptz          a permutation of the days from 1900 to 2099, and one of the days
                                      outside of these; of the time of day another one
inet, cidr                            a permutation of the addresses of the family, the length of the
                                      prefix kept
json, arrays, rows                    element by element, as above
bool, float, interval, all others     neutral values: few values to hide among, or nothing that joins
====================================  ==========================================================

A value is taken as PostgreSQL's ``=`` takes it: case counts, trailing blanks of char(n) do not. Nothing is
folded otherwise, so what joins in the database joins here, and nothing else.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, Final

from governed_db.masking.keys import Keyring
from governed_db.masking.neutral import neutral
from governed_db.masking.permute import Permutation, permutation
from governed_db.masking.recognise import DIGITS, LEAST_DIGITS, fitting, with_checksum
from governed_db.masking.shapes import Leaf

PURPOSE: Final = "pseudonym"
PREFIX: Final = "psn_"

PADDED: Final = frozenset({1042, 1014})  # bpchar and its array
_SMALL_OIDS: Final = frozenset({21, 1005})  # int2 and its array
_OID_OIDS: Final = frozenset({26, 1028})  # oid, which has no sign, and its array

INT4: Final = 2**31
_INT8: Final = 2**63
_FIRST_DAY: Final = dt.date(1900, 1, 1).toordinal()
_DAYS: Final = dt.date(2100, 1, 1).toordinal() - _FIRST_DAY
_OTHER_DAYS: Final = dt.date.max.toordinal() - _DAYS
_MICROSECONDS: Final = 86_400_000_000  # of a day
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def text_form(keys: Keyring, label: str, max_length: int = 0) -> tuple[str, int] | None:
    """Return what the pseudonym of a text begins with, and how many digits of :func:`hashed` follow.

    ``None`` where ``max_length`` characters (0: any number) are too few to keep different values apart.
    """
    head = f"{PREFIX}{label}_{keys.current}_"
    if not max_length or len(head) + DIGITS <= max_length:
        return head, DIGITS
    head = f"{PREFIX}{keys.current}_"
    digits = min(DIGITS, max_length - len(head))
    return (head, digits) if digits >= LEAST_DIGITS else None


def hashed(keys: Keyring, label: str) -> hashlib.blake2s:
    """Return the hash of nothing yet under the key of the class: its copies give the digits."""
    return hashlib.blake2s(key=keys.key(PURPOSE, label), digest_size=DIGITS // 2)


def leaf(keys: Keyring, label: str, type_oid: int = 0, max_length: int = 0) -> Leaf:
    """Return the function from a value that holds no others to its pseudonym."""
    plain = _text(keys, label, max_length)

    def unpadded(value: str) -> str:
        return plain(value.rstrip(" "))

    of_text = unpadded if type_oid in PADDED else plain
    return _by_type(keys, label, type_oid in _SMALL_OIDS, type_oid in _OID_OIDS, of_text)


def _text(keys: Keyring, label: str, max_length: int) -> Callable[[str], str]:
    form = text_form(keys, label, max_length)
    if form is None:
        mark = fitting(label, max_length)
        return lambda _: mark
    head, digits = form
    copy = hashed(keys, label).copy

    def pseudonym(value: str) -> str:
        one = copy()
        one.update(value.encode("utf-8", "surrogatepass"))
        return head + one.hexdigest()[:digits]

    return pseudonym


def _by_type(keys: Keyring, label: str, small: bool, unsigned: bool, of_text: Callable[[str], str]) -> Leaf:
    copy = hashed(keys, label).copy
    head = f"{PREFIX}{label}_{keys.current}_"
    numbers = _Numbers(keys, label)
    integer = numbers.small if small else numbers.unsigned if unsigned else numbers.whole

    def of_bytes(value: bytes) -> bytes:
        one = copy()
        one.update(value)
        return (head + one.hexdigest()).encode()

    def of_uuid(value: uuid.UUID) -> uuid.UUID:
        key = keys.key(PURPOSE, label)
        return with_checksum(hashlib.blake2s(value.bytes, key=key, digest_size=12, person=b"uuid").digest())

    by_type: dict[type, Leaf] = {
        str: of_text,
        int: integer,
        bytes: of_bytes,
        uuid.UUID: of_uuid,
        Decimal: numbers.decimal,
        dt.date: numbers.date,
        dt.datetime: numbers.moment,
        **dict.fromkeys((IPv4Address, IPv6Address), numbers.address),
        **dict.fromkeys((IPv4Interface, IPv6Interface), numbers.interface),
        **dict.fromkeys((IPv4Network, IPv6Network), numbers.network),
    }
    find = by_type.get

    def pseudonym(value: Any) -> Any:
        return find(type(value), neutral)(value)

    return pseudonym


def permuted_int4(keys: Keyring, label: str) -> Permutation:
    """Return the permutation of what int4 holds from 0 on, of columns of int4 and of int8."""
    return _permutation(keys, label, "int4", INT4)


class _Numbers:
    """Pseudonyms of what is a number underneath. Permutations are made when first asked for."""

    def __init__(self, keys: Keyring, label: str) -> None:
        def permuted(purpose: str, size: int) -> Permutation:
            return _permutation(keys, label, purpose, size)

        self._permuted = permuted

    def small(self, value: int) -> int:
        """Permute what int2 holds; 0 stands for what it does not."""
        if 0 <= value < 2**15:
            return self._permuted("int2", 2**15)(value)
        return ~self._permuted("int2 below zero", 2**15)(~value) if -(2**15) <= value < 0 else 0

    def whole(self, value: int) -> int:
        """Permute what int4 holds, and by itself what only int8 holds; 0 stands for what that does not."""
        if value < 0:
            return ~self._apart("int8 below zero", "int4 below zero", ~value) if value >= -_INT8 else 0
        return self._apart("int8", "int4", value) if value < _INT8 else 0

    def _apart(self, wide: str, narrow: str, value: int) -> int:
        if value < INT4:
            return self._permuted(narrow, INT4)(value)
        return self._permuted(wide, _INT8 - INT4)(value - INT4) + INT4

    def unsigned(self, value: int) -> int:
        """Permute what oid holds; 0 stands for what it does not."""
        return self._permuted("oid", 2**32)(value) if 0 <= value < 2**32 else 0

    def decimal(self, value: Decimal) -> Decimal:
        """Permute a whole number among those with as many digits; others become 0, as amounts do."""
        if not value.is_finite() or value != value.to_integral_value() or value.adjusted() > _MAX_DIGITS:
            return Decimal(0)
        number = abs(int(value))
        digits = len(str(number))
        first = 10 ** (digits - 1) if digits > 1 else 0
        size = 10**digits - first
        return Decimal(self._permuted(f"{digits} digits", size)(number - first) + first).copy_sign(value)

    def date(self, value: dt.date) -> dt.date:
        """Permute the days of two centuries, and by themselves all others."""
        day = value.toordinal() - _FIRST_DAY
        if 0 <= day < _DAYS:
            return dt.date.fromordinal(self._permuted("days", _DAYS)(day) + _FIRST_DAY)
        other = value.toordinal() - 1 if day < 0 else value.toordinal() - 1 - _DAYS
        other = self._permuted("other days", _OTHER_DAYS)(other)
        return dt.date.fromordinal(other + 1 if other + 1 < _FIRST_DAY else other + 1 + _DAYS)

    def moment(self, value: dt.datetime) -> dt.datetime:
        """Permute the day and the time of day, in UTC where there is a time zone."""
        try:
            at = value if value.tzinfo is None else value.astimezone(dt.UTC)
            midnight = dt.datetime(at.year, at.month, at.day, tzinfo=at.tzinfo)
            time = self._permuted("time of day", _MICROSECONDS)((at - midnight) // _MICROSECOND)
            moved = dt.datetime.combine(self.date(at.date()), dt.time(), at.tzinfo) + time * _MICROSECOND
            return moved if value.tzinfo is None else moved.astimezone(value.tzinfo)
        except OverflowError:  # a time zone puts it before the year 1 or after 9999
            return dt.datetime(1970, 1, 1, tzinfo=value.tzinfo and dt.UTC)

    def address(self, value: Any) -> Any:
        """Permute the addresses of a family: no range that is nobody's is large enough to keep them apart."""
        return type(value)(self._bits(value.max_prefixlen, int(value)))

    def interface(self, value: Any) -> Any:
        """Permute the address, and keep the length of the prefix."""
        return type(value)((self._bits(value.max_prefixlen, int(value)), value.network.prefixlen))

    def network(self, value: Any) -> Any:
        """Permute the prefix, and keep its length: the bits of hosts stay 0."""
        hosts = value.max_prefixlen - value.prefixlen
        prefix = self._bits(value.prefixlen, int(value.network_address) >> hosts, network=True)
        return type(value)((prefix << hosts, value.prefixlen))

    def _bits(self, bits: int, number: int, *, network: bool = False) -> int:
        if bits < 2:  # nothing to hide among
            return 0
        purpose = f"network {bits}" if network else f"address {bits}"
        return self._permuted(purpose, 2**bits)(number)


@lru_cache(maxsize=64)  # classes and types that are pseudonymised in one process; 1.3 MB each at most
def _permutation(keys: Keyring, label: str, purpose: str, size: int) -> Permutation:
    return permutation(keys.key(PURPOSE, label), purpose, size)


_MAX_DIGITS: Final = 37
"""The longest number that is permuted: 38 digits, what other databases call NUMBER(38)."""
