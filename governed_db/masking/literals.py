"""What a redacted value is in SQL: a constant of the column's own type, written so that it means one thing.

They are the neutral values that :mod:`governed_db.masking.transforms` gives for the same types, as far as
they do not depend on the value: a constant tells nothing. Every type is written with its schema, so that
neither a search_path nor a temporary object changes what is meant.
"""

from __future__ import annotations

from typing import Final

from governed_db.catalog.model import Catalog, Column, Type
from governed_db.masking.recognise import fitting

# OIDs from PostgreSQL's pg_type.dat, where they are fixed for good. None: the mark of the label.
_NEUTRAL: Final[dict[int, str | None]] = {
    16: "f",  # bool
    17: "",  # bytea
    18: None,  # "char"
    19: None,  # name
    20: "0",  # int8
    21: "0",  # int2
    23: "0",  # int4
    25: None,  # text
    26: "0",  # oid
    114: "{}",  # json
    650: "0.0.0.0/0",  # cidr
    700: "0",  # float4
    701: "0",  # float8
    790: "0",  # money
    869: "0.0.0.0/0",  # inet
    1042: None,  # bpchar
    1043: None,  # varchar
    1082: "1970-01-01",  # date
    1083: "00:00",  # time
    1114: "1970-01-01 00:00",  # timestamp
    1184: "1970-01-01 00:00+00",  # timestamptz
    1186: "0",  # interval
    1266: "00:00+00",  # timetz
    1700: "0",  # numeric
    2950: "00000000-0000-0000-0000-000000000000",  # uuid
    3802: "{}",  # jsonb
}

_OF_EXTENSIONS: Final[dict[str, str | None]] = {"citext": None, "hstore": ""}
"""Types that extensions of PostgreSQL's own distribution bring, whose input is known."""

LENGTHS: Final[dict[int, int]] = {18: 1, 1002: 1, 19: 63, 1003: 63}
"""Bytes that "char" and name hold (NAMEDATALEN - 1), and elements of their arrays; marks are ASCII."""

_BPCHAR, _VARCHAR, _NUMERIC, _INTERVAL = 1042, 1043, 1700, 1186
_AS_IT_IS: Final = frozenset({1083, 1114, 1184, 1266, 1560, 1562})
"""Types whose modifier is the number that is written: times and timestamps, bit and varbit."""
_MAX_DOMAINS = 32


def identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def constant(text: str) -> str:
    """Return ``text`` as a string constant; it reads the same whatever standard_conforming_strings is."""
    if "\\" in text:
        raise ValueError("a constant with a backslash means two things")
    return "'" + text.replace("'", "''") + "'"


def redacted(catalog: Catalog, column: Column, label: str | None) -> tuple[str, bool]:
    """Return an expression for a redacted value of ``column``, and whether it is NULL.

    Args:
        catalog: where its type is.
        column: a column that may hold anything.
        label: the label that a text shows in the place of the value; ``None``: always NULL.
    """
    base, modifier = _base(catalog, column.type_oid, column.type_modifier)
    if base is None:
        # Of a type that this catalog does not have nothing can be said, not even its name.
        return "NULL", True
    if base.kind == "p":
        return "NULL::pg_catalog.text", True  # anyarray, in statistics: nothing can be cast to it
    name = _type(catalog, base, modifier)
    value = None if label is None else _value(catalog, base, modifier, label)
    if value is None:
        return f"NULL::{name}", True
    return f"{constant(value)}::{name}", False


def typed_null(catalog: Catalog, column: Column) -> str:
    """Return NULL of the type that :func:`redacted` gives for ``column``."""
    return redacted(catalog, column, None)[0]


def _base(catalog: Catalog, oid: int, modifier: int) -> tuple[Type | None, int]:
    """Return a type and its modifier, of a domain those it is over (getBaseTypeAndTypmod, lsyscache.c)."""
    type_ = catalog.types.get(oid)
    for _ in range(_MAX_DOMAINS):
        if type_ is None or type_.kind != "d":
            break
        modifier = type_.modifier
        type_ = catalog.types.get(type_.base)
    return type_, modifier


def _element(catalog: Catalog, type_: Type, modifier: int) -> tuple[Type | None, int]:
    """Return what ``type_`` is an array of, ``None`` where it is no array (as oidvector and point)."""
    if type_.category != "A" or not type_.element or not type_.name.startswith("_"):
        return None, -1
    return _base(catalog, type_.element, modifier)


def _type(catalog: Catalog, type_: Type, modifier: int) -> str:
    element, its = _element(catalog, type_, modifier)
    if element is not None:
        return f"{_type(catalog, element, its)}[]"
    written = f"{identifier(type_.schema)}.{identifier(type_.name)}"
    # How modifiers are packed: VARHDRSZ (4) is added to both (varchar.c, numeric.c).
    if type_.oid in (_BPCHAR, _VARCHAR) and modifier > 4:
        written += f"({modifier - 4})"
    elif type_.oid == _NUMERIC and modifier > 4:
        precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
        written += f"({precision},{(scale ^ 1024) - 1024})"
    elif type_.oid in _AS_IT_IS and modifier >= 0:
        written += f"({modifier})"
    elif type_.oid == _INTERVAL and modifier >= 0:
        # Fields above, precision below; all bits of the latter say that there is none (timestamp.h).
        fields, precision = modifier >> 16 & 0x7FFF, modifier & 0xFFFF
        written += f"({fields})" if precision == 0xFFFF else f"({fields},{precision})"
    return written


def _value(catalog: Catalog, type_: Type, modifier: int, label: str) -> str | None:
    element, its = _element(catalog, type_, modifier)
    if element is not None:
        inner = _value(catalog, element, its, label)
        # One element stands for any number of them: how many there are tells of the value.
        return "{}" if inner is None else f'{{"{inner}"}}'
    if type_.kind == "r":
        return "empty"
    if type_.kind == "m":
        return "{}"
    known: dict[int, str | None] | dict[str, str | None] = _NEUTRAL
    key: int | str = type_.oid
    if type_.kind == "b" and type_.name in _OF_EXTENSIONS and type_.schema != "pg_catalog":
        known, key = _OF_EXTENSIONS, type_.name
    if key not in known:
        return None
    value = known[key]  # type: ignore[index]  # the key belongs to the table it was chosen with
    if value is not None:
        return value
    length = LENGTHS.get(type_.oid, 0)
    if type_.oid in (_BPCHAR, _VARCHAR) and modifier > 4:
        length = modifier - 4
    return fitting(label, length)
