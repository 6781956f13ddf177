"""Masks that say what they are: made here, and recognised by their value alone, without a key.

======================  ==============================================================================
redaction mark          ``[EMAIL_ADDRESS]``; ``[KEY 1]`` for a key of a document; ``[*]`` where the
                        label does not fit into a varchar(n)
pseudonym               ``psn_EMAIL_ADDRESS_1_`` and 24 hexadecimal digits; ``psn_1_`` and 14 or more
                        where the label does not fit
pseudonym of a uuid     a uuid of version 8 whose last 32 bits are a checksum of the others
token                   ``tok_EMAIL_ADDRESS_1_`` and 32 or more hexadecimal digits
cut                     a pseudonym or token of a known label with fewer digits
partial                 ``***@example.com``, ``****1234``
======================  ==============================================================================

The number is the version of the key. Letters may be of either case: mail addresses are often folded. A value
may be bytea as PostgreSQL writes it, in hexadecimal.
All other masks (0, dates, NULL, fakes, initials, ...) are values like any other and cannot be recognised.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Set as AbstractSet
from typing import Final

from attrs import frozen

from governed_db.masking.model import ANYTHING
from governed_db.masking.phrases import LABELS

REDACTION: Final = "redaction"
PSEUDONYM: Final = "pseudonym"
TOKEN: Final = "token"  # noqa: S105 - the name of a kind
PARTIAL: Final = "partial"


@frozen
class Recognised:
    """A mask: ``kind`` is "redaction", "pseudonym", "token" or "partial"; ``label`` "" where it says none."""

    kind: str
    label: str


DIGITS: Final = 24
"""Hexadecimal digits of a pseudonym: 96 bits. Among 10^9 values two share one with a chance of 1 in 10^11."""

LEAST_DIGITS: Final = 14
"""The fewest where a varchar(n) leaves no room for more: 56 bits, 1 in 140,000 among 10^6 values."""

_KNOWN: Final = frozenset(LABELS) | {ANYTHING}
_VERSION: Final = r"[1-9][0-9]{0,5}"
_LABEL: Final = r"[A-Z][A-Z0-9_]{0,99}"  # bounded, so that a search takes linear time
_KEYED: Final = re.compile(
    rf"psn_(?P<of>{_LABEL})_{_VERSION}_[0-9a-f]{{{DIGITS}}}"
    rf"|psn_{_VERSION}_[0-9a-f]{{{LEAST_DIGITS},{DIGITS}}}"
    rf"|tok_(?P<token>{_LABEL})_{_VERSION}_[0-9a-f]{{32,}}",
    re.IGNORECASE,
)
_CUT: Final = re.compile(rf"(?P<kind>psn|tok)_(?P<of>{_LABEL})_{_VERSION}_[0-9a-f]*", re.IGNORECASE)
_HEX: Final = re.compile(r"\\x((?:[0-9a-f]{2})+)", re.IGNORECASE)
_MARK: Final = re.compile(rf"\[(?:({_LABEL})|KEY [1-9][0-9]*)\]", re.IGNORECASE)
_UUID: Final = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}-?[0-9a-f]{4}-?8[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}(?![0-9a-f])",
    re.IGNORECASE,
)
_SHORT: Final = "[*]"
_PARTIAL: Final = re.compile(r"\*\*\*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}|\*\*\*\*[^\W_]{2,4}")


def recognise(text: str, labels: AbstractSet[str] = _KNOWN) -> Recognised | None:
    """Return what mask ``text`` is as a whole, or ``None``. White space around it does not count.

    Args:
        text: a value.
        labels: what may stand in a redaction mark; others, like ``[INFO]``, are ordinary text.
    """
    text = _unfolded(text).strip()
    if len(text) < len(_SHORT):
        return None
    if text[0] == "[":
        if text == _SHORT:
            return Recognised(REDACTION, "")
        return _marked(_MARK.fullmatch(text), labels)
    if text[0] == "*":
        return Recognised(PARTIAL, "") if _PARTIAL.fullmatch(text) else None
    if (found := _KEYED.fullmatch(text)) is not None:
        return _keyed(found)
    if (found := _CUT.fullmatch(text)) is not None:
        return _cut(found, labels)
    bare = text.strip("{}") if len(text) <= 38 else text  # PostgreSQL reads a uuid in braces as well
    if _UUID.fullmatch(bare) and carries_checksum(uuid.UUID(bare)):
        return Recognised(PSEUDONYM, "")
    return None


def contains(text: str, labels: AbstractSet[str] = _KNOWN) -> Recognised | None:
    """Return the first mask anywhere inside ``text`` (a document, a row, a sentence), or ``None``.

    Partial masks are recognised as whole values only: inside of a text, ``****1234`` is how people write.
    """
    text = _unfolded(text)
    whole = recognise(text, labels)
    if whole is not None:
        return whole
    if (found := _KEYED.search(text)) is not None:
        return _keyed(found)
    for each in _CUT.finditer(text):
        if (part := _cut(each, labels)) is not None:
            return part
    for each in _MARK.finditer(text):
        if (mark := _marked(each, labels)) is not None:
            return mark
    for each in _UUID.finditer(text):
        if carries_checksum(uuid.UUID(each[0])):
            return Recognised(PSEUDONYM, "")
    return None


def mark(label: str) -> str:
    """Return the text that stands where a value of this class was."""
    return f"[{label}]"


def fitting(label: str, length: int) -> str:
    """Return the mark that fits into ``length`` characters; 0 stands for any number."""
    text = mark(label)
    if not length or len(text) <= length:
        return text
    return _SHORT if length >= len(_SHORT) else "*" * length


def with_checksum(bits: bytes) -> uuid.UUID:
    """Return a uuid (version 8, RFC 9562) made of 12 random bytes, of which 90 bits are kept."""
    high = int.from_bytes(bits[:8], "big") & ~(0xF << 12) | (0x8 << 12)
    low = int.from_bytes(bits[8:12], "big") & 0x3FFFFFFF | 0x80000000
    return uuid.UUID(int=high << 64 | low << 32 | _checksum(high << 32 | low))


def carries_checksum(value: uuid.UUID) -> bool:
    """Return whether :func:`with_checksum` can have made ``value``: others do with a chance of 2**-32."""
    return value.int & 0xFFFFFFFF == _checksum(value.int >> 32) and value.int >> 76 & 0xF == 0x8


def _checksum(bits: int) -> int:
    made = hashlib.blake2s(bits.to_bytes(12, "big"), digest_size=4, person=b"gdb uuid")
    return int.from_bytes(made.digest(), "big")


def stub(text: str) -> bool:
    """Return whether ``text`` is what :func:`fitting` leaves of a mark where not even ``[*]`` fits.

    That is how people write too, so that it says something only of a value that goes into a masked column.
    """
    text = text.strip()
    return 0 < len(text) < len(_SHORT) and not text.strip("*")


def _unfolded(text: str) -> str:
    found = _HEX.fullmatch(text.strip()) if "\\x" in text[:8] else None
    return text if found is None else bytes.fromhex(found[1]).decode("latin-1")


def _cut(found: re.Match[str], labels: AbstractSet[str]) -> Recognised | None:
    label = found["of"].upper()
    kind = TOKEN if found["kind"].lower() == "tok" else PSEUDONYM
    return Recognised(kind, label) if label in labels else None


def _keyed(found: re.Match[str]) -> Recognised:
    if found["token"] is not None:
        return Recognised(TOKEN, found["token"].upper())
    return Recognised(PSEUDONYM, (found["of"] or "").upper())


def _marked(found: re.Match[str] | None, labels: AbstractSet[str]) -> Recognised | None:
    if found is None:
        return None
    label = (found[1] or "").upper()
    return Recognised(REDACTION, label) if not label or label in labels else None
