"""What type a call returns, where that can be told without PostgreSQL's whole choice among overloads."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from governed_db.catalog.model import Function
from governed_db.catalog.queries import FIRST_USER_OID

# pg_type.dat: anyarray, anyelement, anynonarray, anyenum, anyrange ... and their anycompatible kin.
_POLYMORPHIC = frozenset({2277, 2283, 2776, 3500, 3831, 4537, 5077, 5078, 5079, 5080, 4538})
_RECORD = 2249

COMPUTED = -1
"""The type of a value that is computed: one of those it is computed from, or made by what computes it.

All of these are noted where they stand, so that such a value brings no type of its own along.
"""

LITERAL = 705
"""pg_type's "unknown": a string constant, which becomes whatever is wanted."""
_BOOL, _INT4 = 16, 23
# parse_expr.c, transformSQLValueFunction: name, date, timetz, timestamptz, time, timestamp.
_VALUES = {
    "SVFOP_CURRENT_DATE": 1082,
    "SVFOP_CURRENT_TIME": 1266,
    "SVFOP_CURRENT_TIME_N": 1266,
    "SVFOP_CURRENT_TIMESTAMP": 1184,
    "SVFOP_CURRENT_TIMESTAMP_N": 1184,
    "SVFOP_LOCALTIME": 1083,
    "SVFOP_LOCALTIME_N": 1083,
    "SVFOP_LOCALTIMESTAMP": 1114,
    "SVFOP_LOCALTIMESTAMP_N": 1114,
}
_NAME = 19


def constant_type(tag: str, body: Mapping[str, Any]) -> int:
    """Return the type of a constant as it is handed on, 0 of what gets its type elsewhere (a parameter)."""
    if tag == "A_Const":
        kinds = {"boolval": _BOOL, "ival": _INT4, "sval": LITERAL, "bsval": 0, "fval": 0}
        return next((oid for kind, oid in kinds.items() if kind in body), LITERAL)
    return _VALUES.get(body.get("op", ""), _NAME) if tag == "SQLValueFunction" else 0


def choose(
    functions: Sequence[Function], arguments: Sequence[int], strings: Container[int]
) -> Sequence[Function]:
    """Return those of ``functions`` that a call can mean.

    Args:
        functions: every candidate of the name, in search order.
        arguments: the arguments' types, 0 where one is not known.
        strings: the types of the string category.
    """
    if 0 in arguments or not arguments:
        return functions
    # func_get_detail: the first that takes exactly these types is the one.
    for function in functions:
        if function.arguments == tuple(arguments):
            return (function,)
    # func_select_candidate: where a constant could be many things, it is a string.
    if set(arguments) == {LITERAL}:
        texts = [
            f
            for f in functions
            if len(f.arguments) == len(arguments) and all(a in strings for a in f.arguments)
        ]
        return texts or functions
    return functions


def call_type(functions: Sequence[Function]) -> int:
    """Return the type that a call of one of ``functions`` has, 0 where they differ."""
    returned = {f.returns for f in functions}
    return returned.pop() if len(returned) == 1 and _fixed(*returned) else 0


def call_types(functions: Sequence[Function]) -> set[int]:
    """Return the types that a call can have; 0 among them where there may be others.

    A polymorphic result has the type of an argument, which stands in the text as well.
    """
    if not functions:
        return {0}
    types: set[int] = set()
    for function in functions:
        if function.returns == _RECORD and function.outputs and function.oid < FIRST_USER_OID:
            continue
        if function.returns in _POLYMORPHIC and not _POLYMORPHIC.isdisjoint(function.arguments):
            continue
        types.add(function.returns if _fixed(function.returns) else 0)
    return types


def _fixed(oid: int) -> bool:
    # Of a row type of users' the fields are compared, too; what made it has them.
    return oid != _RECORD and oid not in _POLYMORPHIC and 0 < oid < FIRST_USER_OID
