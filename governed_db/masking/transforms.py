"""What a masked value turns into: functions over loaded Python values, no I/O.

A mask is decided by the label, the strategy and the type of the value, never by what the value says
(PARTIAL excepted, which shows a bounded part of it on purpose). The neutral value of a type is the one
that is valid in every Python and PostgreSQL version and is read by people as "nothing here":

====================================  ==========================================================
text of any kind                      the label in brackets: ``[EMAIL_ADDRESS]``
int, float, Decimal                   0, which sums and compares without an error
bool                                  False
date, timestamp, timestamptz          1970-01-01 (00:00, UTC): the Unix epoch, known as a default
time, timetz, interval                00:00 (UTC), no time at all
uuid                                  the nil UUID (RFC 9562, section 5.9)
bytea                                 no bytes
inet, cidr                            0.0.0.0/0 or ::/0 in the class of the value, keeping the family
json, jsonb, hstore                   the same shape, each leaf masked, keys as :func:`_key` says
arrays, rows, composites              element by element; NULL elements stay NULL
ranges, multiranges                   the empty range
Python enums, anything else           ``None``: there is no neutral member, and no guess is safe
====================================  ==========================================================

Text is not shortened to a varchar(n): the mark is shown, never written back. NULL stays NULL.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import Any, Final

from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from governed_db.masking.model import Strategy
from governed_db.masking.names import tokens
from governed_db.masking.phrases import LABELS
from governed_db.masking.words import JSON_KEYS

Transform = Callable[[Any], Any]

DEFAULT_STRATEGIES: Final[Mapping[str, Strategy]] = MappingProxyType(dict.fromkeys(LABELS, Strategy.REDACT))
"""REDACT for every label. What PARTIAL shows (a mail domain, four digits of a card) is what support desks
accept as proof of identity, so showing it is for a policy to choose, never for a default."""

_EPOCH: Final = dt.date(1970, 1, 1)
_NIL: Final = uuid.UUID(int=0)

# OIDs from PostgreSQL's pg_type.dat, where they are fixed for good.
_TEXT_OIDS: Final = frozenset({18, 19, 25, 1042, 1043})  # "char", name, text, bpchar, varchar
_TEXT_ARRAY_OIDS: Final = frozenset({1002, 1003, 1009, 1014, 1015})
_NEUTRAL_BY_OID: Final[Mapping[int, Any]] = MappingProxyType(
    {
        16: False,  # bool
        17: b"",  # bytea
        20: 0,  # int8
        21: 0,  # int2
        23: 0,  # int4
        26: 0,  # oid
        700: 0.0,  # float4
        701: 0.0,  # float8
        1082: _EPOCH,  # date
        1083: dt.time(0),  # time
        1114: dt.datetime(1970, 1, 1),  # timestamp
        1184: dt.datetime(1970, 1, 1, tzinfo=dt.UTC),  # timestamptz
        1186: dt.timedelta(0),  # interval
        1266: dt.time(0, tzinfo=dt.UTC),  # timetz
        1700: Decimal(0),  # numeric
        2950: _NIL,  # uuid
    }
)

_READABLE: Final = _TEXT_OIDS | _TEXT_ARRAY_OIDS | {0}

DEPENDS: Final[Any] = object()
"""What :func:`constant` answers where the mask cannot be told without the value."""


def mark(label: str) -> str:
    """Return the text that stands where a value of this class was."""
    return f"[{label}]"


def default_strategy(label: str) -> Strategy:
    """Return the strategy for a label no policy spoke about; labels of a policy's own are redacted too."""
    return DEFAULT_STRATEGIES.get(label, Strategy.REDACT)


def constant(strategy: Strategy, label: str, type_oid: int) -> Any:
    """Return the one value every non-NULL value of this type becomes, or :data:`DEPENDS`.

    It holds for psycopg's own Python types of ``type_oid``; a connection that loads the type as
    something else needs :func:`mask_value` on what it loaded.
    """
    if strategy is Strategy.NULLIFY:
        return None
    if type_oid in _TEXT_OIDS:
        partial = strategy is Strategy.PARTIAL and label in _PARTIAL
        return DEPENDS if partial else mark(label)
    return _NEUTRAL_BY_OID.get(type_oid, DEPENDS)


@lru_cache(maxsize=1024)
def mask_value(strategy: Strategy, label: str, type_oid: int = 0) -> Transform:
    """Return the function from a loaded value to its mask; its results have the type of the value.

    ``type_oid`` is 0 where it is unknown. What decides is the Python value, because an application may
    load any type as it likes; the OID only chooses whether PARTIAL may read it as text.
    """
    if strategy is Strategy.NULLIFY:
        return _nullify
    text: Callable[[str], str] = _Mark(mark(label))
    # Text of an unregistered type (a range, a row, a point) has a syntax of its own around the value.
    if strategy is Strategy.PARTIAL and label in _PARTIAL and type_oid in _READABLE:
        text = _Partial(_PARTIAL[label], mark(label))

    def masked(value: Any) -> Any:
        return text(value) if type(value) is str else _mask(value, text)

    return masked


def _nullify(value: Any) -> None:
    """Forget the value."""


class _Mark:
    """Replace any text by one mark."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, value: str) -> str:
        return self.text


class _Partial:
    """Show the part of a text that ``show`` finds, or the mark where it finds none that is safe."""

    def __init__(self, show: Callable[[str], str | None], text: str) -> None:
        self.show = show
        self.text = text

    def __call__(self, value: str) -> str:
        return self.show(value) or self.text


def _mask(value: Any, text: Callable[[str], str]) -> Any:
    if value is None:
        return None
    if isinstance(value, Enum):  # before str and int: an enum can be either
        return None
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_mask(v, text) for v in value]
    if isinstance(value, dict):
        return {_key(k, n): _mask(v, text) for n, (k, v) in enumerate(value.items(), 1)}
    if isinstance(value, tuple):
        return _mask_row(value, text)
    return _neutral(value)


def _mask_row(value: tuple[Any, ...], text: Callable[[str], str]) -> Any:
    fields = [_mask(v, text) for v in value]
    if type(value) is tuple:
        return tuple(fields)
    # psycopg makes named tuples of registered composites; other subclasses may compute from their items.
    make = getattr(type(value), "_make", None)
    return None if make is None else make(fields)


def _neutral(value: Any) -> Any:
    kind = type(value)
    if (simple := _NEUTRAL_BY_TYPE.get(kind, DEPENDS)) is not DEPENDS:
        return simple
    if isinstance(value, dt.datetime):
        return dt.datetime(1970, 1, 1, tzinfo=value.tzinfo and dt.UTC)
    if isinstance(value, dt.time):
        return dt.time(0, tzinfo=value.tzinfo and dt.UTC)
    if isinstance(value, _NETWORK):
        return kind((0, 0)) if issubclass(kind, (IPv4Network, IPv6Network)) else kind(0)
    if isinstance(value, Range):
        return kind(empty=True)
    if isinstance(value, Multirange):
        return kind()
    return None


_NEUTRAL_BY_TYPE: Final[Mapping[type, Any]] = MappingProxyType(
    {
        bool: False,
        int: 0,
        float: 0.0,
        Decimal: Decimal(0),
        dt.date: _EPOCH,
        dt.timedelta: dt.timedelta(0),
        uuid.UUID: _NIL,
        bytes: b"",
        bytearray: b"",
        memoryview: b"",
    }
)
_NETWORK: Final = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)


def _key(key: Any, position: int) -> str:
    """Keep a key that names a field; number one that may itself be data (``{"alice": {...}}``).

    A name of a person looks like an identifier, so looking like one is not enough: every word of the
    key must be one that fields are called by.
    """
    return key if isinstance(key, str) and _names_a_field(key) else f"[KEY {position}]"


@lru_cache(maxsize=4096)
def _names_a_field(key: str) -> bool:
    if len(key) > 64 or not key.isidentifier() or not key.isascii():
        return False
    words = tokens(key)
    # Digits beyond a short counter (line1, address_2) can be a number of somebody.
    return bool(words) and all(w in JSON_KEYS or (w.isdigit() and len(w) == 1) for w in words)


# PARTIAL. At most a third of the characters that matter is shown, so that the rest cannot be guessed.


def _tail(value: str) -> str | None:
    """Show the last four letters or digits, fewer where four would be more than a third."""
    kept = [c for c in value if c.isalnum()]
    shown = min(4, len(kept) // 3)
    return "****" + "".join(kept[-shown:]) if shown >= 2 else None


_MAILBOX: Final = re.compile(r"[^@\s<>,;]+@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})")


def _mail_domain(value: str) -> str | None:
    """Show the domain of one bare address; nothing of the mailbox, whose first letter helps guessing."""
    found = _MAILBOX.fullmatch(value)
    return f"***@{found[1]}" if found else None


def _initials(value: str) -> str | None:
    """Show the first letter of each word, where that is at most a third of the letters."""
    words = value.split()
    letters = sum(c.isalnum() for c in value)
    if not words or len(words) * 3 > letters or not all(w[0].isalpha() for w in words):
        return None
    return " ".join(f"{w[0]}." for w in words)


_PARTIAL: Final[Mapping[str, Callable[[str], str | None]]] = MappingProxyType(
    {
        "EMAIL_ADDRESS": _mail_domain,
        "PERSON_NAME": _initials,
        "FIRST_NAME": _initials,
        "LAST_NAME": _initials,
        **dict.fromkeys(
            (
                "PHONE_NUMBER",
                "CREDIT_CARD_NUMBER",
                "IBAN_CODE",
                "BANK_ACCOUNT_NUMBER",
                "US_SOCIAL_SECURITY_NUMBER",
            ),
            _tail,
        ),
    }
)
