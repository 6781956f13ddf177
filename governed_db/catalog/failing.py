"""Expressions over several columns that fail for some values and not for others.

A generated column computes with what an UPDATE leaves as it is, and so does an index over an expression: with
``tax GENERATED ALWAYS AS (gross - net)`` a value for ``net`` that overflows tells how large ``gross`` is, and
with an index on ``1 / (salary - base)`` a guess for ``base`` that divides by zero is right. They answer as a
check over the same columns would, and are listed as constraints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from governed_db.catalog.model import Column, Constraint, Function
from governed_db.catalog.queries import FIRST_USER_OID

_KINDS = {"s": "g", "v": "g", "i": "e"}  # of queries.PARTS' expressions: generated columns, indexes

# Nodes that only take values along or choose between them (src/include/nodes/primnodes.h): a cast through
# text, a domain's check, a subscript or a document can fail.
_TAKING = frozenset(
    {
        "VAR", "CONST", "OPEXPR", "FUNCEXPR", "BOOLEXPR", "NULLTEST", "BOOLEANTEST", "COALESCE",
        "COALESCEEXPR", "CASE", "CASEEXPR", "WHEN", "CASEWHEN", "CASETESTEXPR", "MINMAX", "MINMAXEXPR",
        "RELABELTYPE", "DISTINCTEXPR", "NULLIFEXPR", "COLLATE", "COLLATEEXPR", "SCALARARRAYOPEXPR",
        "ARRAY", "ARRAYEXPR",
    }
)  # fmt: skip
# Functions of PostgreSQL that have a value for every value: joining text and changing its case, telling
# words apart. Comparisons are told by how PostgreSQL names them (texteq, date_lt).
_TOTAL = frozenset(
    {
        "textcat", "lower", "upper", "initcap", "btrim", "ltrim", "rtrim", "replace", "translate",
        "reverse", "md5", "left", "right", "length", "char_length", "character_length", "octet_length",
        "textlen", "to_tsvector", "setweight", "tsvector_concat", "strip", "text", "starts_with",
    }
)  # fmt: skip
_COMPARES = re.compile(r"[a-z0-9_]*(?:eq|ne|lt|le|gt|ge)")

_BOOLEAN = 16  # OID of the type, from pg_type.dat

_NODES = re.compile(r"\{([A-Z_]+)")
_COLUMNS = re.compile(r":varattno (-?\d+)")
_CALLS = re.compile(r":(?:funcid|opfuncid) (\d+)")

Rows = Sequence[tuple[str | None, ...]]


def failing(
    expressions: Rows, functions: Mapping[int, Function], columns: Mapping[int, tuple[Column, ...]]
) -> dict[int, tuple[Constraint, ...]]:
    """Return, by relation, what computes with several columns and may fail: kinds g and e.

    Args:
        expressions: relation or domain, column, what it is, pg_node_tree; of ``queries.PARTS``.
        functions: by OID.
        columns: by relation.
    """
    found: dict[int, list[Constraint]] = {}
    for relation, column, kind, tree in expressions:
        if kind not in _KINDS:
            continue
        name = next((c.name for c in columns.get(int(relation or 0), ()) if str(c.number) == column), "")
        for numbers, calls, taking in _parts(tree or ""):
            alone = len(numbers) == 1 and 0 not in numbers
            if alone or not numbers or (taking and all(_total(functions.get(oid)) for oid in calls)):
                continue
            made = Constraint(name=name, kind=_KINDS[kind], columns=numbers)
            found.setdefault(int(relation or 0), []).append(made)
    return {oid: tuple(each) for oid, each in found.items()}


@lru_cache(maxsize=1024)  # as many generated columns and indexes over expressions as a large schema has
def _parts(tree: str) -> tuple[tuple[tuple[int, ...], tuple[int, ...], bool], ...]:
    """Return, of each expression of a list: its columns, what it calls, and whether it only takes along."""
    return tuple(
        (
            tuple(sorted({max(0, int(n)) for n in _COLUMNS.findall(part)})),
            tuple(sorted({int(n) for n in _CALLS.findall(part)})),
            _TAKING.issuperset(_NODES.findall(part)),
        )
        for part in split(tree)
    )


def split(tree: str) -> Iterator[str]:
    """Yield the nodes that stand side by side in a pg_node_tree."""
    depth = start = 0
    for each in re.finditer(r"\\.|[{}]", tree):
        if each[0] == "{":
            if depth == 0:
                start = each.start()
            depth += 1
        elif each[0] == "}":
            depth -= 1
            if depth == 0:
                yield tree[start : each.end()]


def _total(function: Function | None) -> bool:
    if function is None or function.oid >= FIRST_USER_OID:
        return False
    compares = function.returns == _BOOLEAN and _COMPARES.fullmatch(function.name) is not None
    return compares or function.name in _TOTAL
