"""The value of a type that says nothing: valid in every Python and PostgreSQL version, and read by people as
"nothing here".

====================================  ==========================================================
int, float, Decimal                   0, which sums and compares without an error
bool                                  False
date, timestamp, timestamptz          1970-01-01 (00:00, UTC): the Unix epoch, known as a default
time, timetz, interval                00:00 (UTC), no time at all
uuid                                  the nil UUID (RFC 9562, section 5.9)
bytea                                 no bytes
inet, cidr                            0.0.0.0/0 or ::/0 in the class of the value, keeping the family
ranges, multiranges                   the empty range
Python enums, anything else           ``None``: there is no neutral member, and no guess is safe
====================================  ==========================================================
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import Any, Final

from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

_EPOCH: Final = dt.date(1970, 1, 1)
_NIL: Final = uuid.UUID(int=0)
_ABSENT: Final[Any] = object()

# OIDs from PostgreSQL's pg_type.dat, where they are fixed for good.
TEXT_OIDS: Final = frozenset({18, 19, 25, 1042, 1043})  # "char", name, text, bpchar, varchar
TEXT_ARRAY_OIDS: Final = frozenset({1002, 1003, 1009, 1014, 1015})
BY_OID: Final[Mapping[int, Any]] = MappingProxyType(
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

# Days and microseconds from PostgreSQL's epoch, 2000-01-01, to the Unix one.
_DAYS: Final = (_EPOCH - dt.date(2000, 1, 1)).days
_MICROSECONDS: Final = (_DAYS * 86_400_000_000).to_bytes(8, "big", signed=True)

WIRE: Final[Mapping[int, tuple[bytes, bytes]]] = MappingProxyType(
    {
        16: (b"f", bytes(1)),
        17: (b"\\x", b""),
        20: (b"0", bytes(8)),
        21: (b"0", bytes(2)),
        23: (b"0", bytes(4)),
        26: (b"0", bytes(4)),
        700: (b"0", bytes(4)),
        701: (b"0", bytes(8)),
        1082: (b"1970-01-01", _DAYS.to_bytes(4, "big", signed=True)),
        1083: (b"00:00:00", bytes(8)),
        1114: (b"1970-01-01 00:00:00", _MICROSECONDS),
        1184: (b"1970-01-01 00:00:00+00", _MICROSECONDS),
        1186: (b"00:00:00", bytes(16)),
        1266: (b"00:00:00+00", bytes(12)),
        1700: (b"0", bytes(8)),
        2950: (str(_NIL).encode(), bytes(16)),
    }
)
"""The same as PostgreSQL sends it, in text and in binary (the ``*_send`` functions of its sources)."""


def neutral(value: Any) -> Any:
    """Return the value of the type of ``value`` that says nothing."""
    kind = type(value)
    if (simple := _BY_TYPE.get(kind, _ABSENT)) is not _ABSENT:
        return simple
    if isinstance(value, dt.datetime):
        return dt.datetime(1970, 1, 1, tzinfo=value.tzinfo and dt.UTC)
    if isinstance(value, dt.time):
        return dt.time(0, tzinfo=value.tzinfo and dt.UTC)
    if isinstance(value, NETWORK):
        return kind((0, 0)) if issubclass(kind, (IPv4Network, IPv6Network)) else kind(0)
    if isinstance(value, Range):
        return kind(empty=True)
    if isinstance(value, Multirange):
        return kind()
    return None


_BY_TYPE: Final[Mapping[type, Any]] = MappingProxyType(
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
NETWORK: Final = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
