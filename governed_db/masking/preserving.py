"""FORMAT_PRESERVING: another value of the same format (FF1 of NIST SP 800-38G; the extra ``fpe``).

The cipher is libffx's, which encrypts a number within a range. A text is read as a number whose digits are
its letters (each one of 26, the case kept) and its digits (each one of 10); all other characters stay where
they are. A whole number becomes one with as many digits.

FF1 is no standard for fewer than a million possible values (SP 800-38G Rev. 1), so shorter ones are redacted:
texts of less than 6 digits or 5 letters, numbers below 1,000,000. Check digits (of cards, of IBANs) are not
kept right. What the format says (how long, which separators) is shown.
"""

from __future__ import annotations

import importlib.util
import re
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from governed_db.errors import PolicyError
from governed_db.masking.keys import Keyring
from governed_db.masking.neutral import neutral
from governed_db.masking.recognise import fitting
from governed_db.masking.shapes import Leaf

if TYPE_CHECKING:
    from ffx import FF1

PURPOSE: Final = "format_preserving"

LEAST: Final = 1_000_000
"""The fewest values that FF1 may permute, SP 800-38G Rev. 1 (draft), section 5."""

MAX_CHARACTERS: Final = 128
"""The longest text: identifiers are shorter, and what is longer is prose, whose words would show through."""

_INT4: Final = 2**31
_INT8: Final = 2**63
_UPPER, _LOWER, _DIGIT = ord("A"), ord("a"), ord("0")


def check() -> None:
    """Refuse the strategy where its library is not there.

    Raises:
        PolicyError: libffx is not installed.
    """
    if importlib.util.find_spec("ffx") is None:
        raise PolicyError(
            "the strategy 'format_preserving' needs libffx, which is not installed",
            rule="masking.format_preserving",
            remedy="pip install 'governed-db[fpe]'",
        )


def leaf(keys: Keyring, label: str, type_oid: int = 0, max_length: int = 0) -> Leaf:
    """Return the function from a text or a whole number to another of the same format."""
    mark = fitting(label, max_length)
    top = _INT4 if type_oid in _INT4_OIDS else _INT8

    def of_text(value: str) -> str:
        if len(value) > MAX_CHARACTERS or not _FORMAT.fullmatch(value):
            return mark
        number, size = 0, 1
        for c in value:
            base = 10 if c.isdigit() else 26 if c.isalpha() else 1
            number, size = number * base + (0 if base == 1 else _digit(c)), size * base
        if size < LEAST:
            return mark
        # The format is the tweak: that two texts of different formats have as many values is no accident
        # that should make their masks alike.
        shape = re.sub("[0-9]", "0", re.sub("[a-z]", "a", re.sub("[A-Z]", "A", value)))
        number = _cipher(keys, label).encrypt_int(number, domain=size, tweak=shape.encode())
        made = []
        for c in reversed(value):
            if c.isdigit():
                number, digit = divmod(number, 10)
                made.append(chr(_DIGIT + digit))
            elif c.isalpha():
                number, digit = divmod(number, 26)
                made.append(chr((_UPPER if c.isupper() else _LOWER) + digit))
            else:
                made.append(c)
        return "".join(reversed(made))

    def of_int(value: int) -> int:
        number = abs(value)
        first = 10 ** (len(str(number)) - 1)
        size = min(10 * first, top) - first
        if number >= top or size < LEAST:
            return 0
        made: int = _cipher(keys, label).encrypt_int(number - first, domain=size, tweak=b"int") + first
        return made if value > 0 else -made

    def of_decimal(value: Decimal) -> Decimal:
        if not value.is_finite() or value != value.to_integral_value() or not -_INT8 < value < _INT8:
            return Decimal(0)
        return Decimal(of_int(int(value)))

    known: dict[type, Leaf] = {str: of_text, int: of_int, Decimal: of_decimal}

    def masked(value: Any) -> Any:
        return known.get(type(value), neutral)(value)

    return masked


_INT4_OIDS: Final = frozenset({23, 1007})
_FORMAT: Final = re.compile(r"[ -~]+")
"""Printable ASCII: letters of other alphabets would stay as they are."""


def _digit(character: str) -> int:
    code = ord(character)
    return code - (_DIGIT if code < _UPPER else _UPPER if code < _LOWER else _LOWER)


@lru_cache(maxsize=64)  # classes under this strategy
def _cipher(keys: Keyring, label: str) -> FF1:
    from ffx import FF1  # noqa: PLC0415 - an extra

    return FF1(keys.key(PURPOSE, label))
