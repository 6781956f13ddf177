"""Uses of a column that tell little of its value: whether it is NULL, whether it equals what a caller gives.

Only what is certain from the text and the catalog is recognised here. Whether it may be told is for the
policy to say (:mod:`governed_db.masking.plan`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from governed_db.catalog.bound import Operand
from governed_db.catalog.context import Context, Node
from governed_db.catalog.names import tagged
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.catalog.scope import Col

# pg_type.dat: any, anyarray, anyelement, anynonarray, anyenum, anyrange, anymultirange, and anycompatible...
_ANY = frozenset({2276, 2277, 2283, 2776, 3500, 3831, 4537, 5077, 5078, 5079, 5080, 4538})
_TEXT, _VARCHAR = 25, 1043
_DEPTH = 32  # domains over domains

# Each of them says whether two values are equal and nothing else, however it is negated or put together.
_KINDS = {
    "AEXPR_OP": ("=", "<>"),
    "AEXPR_IN": ("=", "<>"),
    "AEXPR_OP_ANY": ("=", "<>"),
    "AEXPR_OP_ALL": ("=", "<>"),
    "AEXPR_DISTINCT": ("=",),
    "AEXPR_NOT_DISTINCT": ("=",),
}
_ARRAYS = frozenset({"AEXPR_OP_ANY", "AEXPR_OP_ALL"})


class Pair(NamedTuple):
    """One side of a comparison, and what it is compared with: any of several."""

    left: Node
    right: Sequence[Node]


def tells_nullness(ctx: Context, column: Col) -> bool:
    """Return whether asking if ``column`` is NULL tells that alone: of a row, IS NULL looks inside."""
    return column.plain and column.row is None and _scalar(ctx, column.type_oid) and _as_stored(ctx, column)


def counts(ctx: Context, call: Node) -> Node | None:
    """Return the argument of PostgreSQL's own ``count(x)``, which tells how often x is not NULL."""
    arguments = call.get("args", ())
    if len(arguments) != 1 or call.get("agg_distinct") or call.get("func_variadic"):
        return None
    functions, name = ctx.candidates(call)
    if name != "count" or not functions or any(f.oid >= FIRST_USER_OID for f in functions):
        return None
    argument: Node = arguments[0]
    return argument if "ColumnRef" in argument else None


def pairs(value: Node) -> list[Pair] | None:
    """Return the single comparisons that an A_Expr for equality consists of, ``None`` for any other."""
    kind = value.get("kind", "")
    names = [n["String"].get("sval", "") for n in value.get("name", ()) if "String" in n]
    if kind not in _KINDS or not names or names[-1] not in _KINDS[kind]:
        return None
    if len(names) > 1 and names[:-1] != ["pg_catalog"]:
        return None
    left, right = value.get("lexpr", {}), value.get("rexpr", {})
    rights = right.get("List", {}).get("items", ()) if kind == "AEXPR_IN" else (right,)
    cells = left.get("RowExpr", {}).get("args")
    if cells is None:
        return None if any("RowExpr" in r for r in rights) else [Pair(left, rights)]
    rows = [r.get("RowExpr", {}).get("args", ()) for r in rights]
    if kind in _ARRAYS or any(len(row) != len(cells) for row in rows):
        return None
    return [Pair(cell, [row[place] for row in rows]) for place, cell in enumerate(cells)]


def given(ctx: Context, value: Node, column: Col, others: Sequence[Node]) -> tuple[Operand, ...]:
    """Return the values of the caller that ``column`` is compared with, ``()`` where it is more than that.

    Args:
        ctx: of the caller's own text; in bodies and views nothing is the caller's.
        value: the A_Expr.
        column: one side of it, as it is.
        others: the other side.
    """
    if ctx.text is None or not column.plain or column.row is not None or not _as_stored(ctx, column):
        return ()
    array = value.get("kind") in _ARRAYS
    right = array and others and others[0] is value.get("rexpr")
    oid = column.type_oid
    if array and not right:  # 'x' = ANY(column): its elements are compared
        type_ = ctx.catalog.types.get(oid)
        oid = type_.element if type_ is not None else 0
    name = value["name"][-1]["String"].get("sval", "")
    if not _scalar(ctx, oid) or not _built_in(ctx, oid, name, qualified=len(value["name"]) > 1):
        return ()
    found: list[Operand] = []
    for other in others:
        operands = _elements(ctx, other, oid) if right else operand(ctx, other, oid)
        if not operands:
            return ()
        found += operands
    return tuple(found)


def operand(ctx: Context, node: Node, type_oid: int, *, array: bool = False) -> tuple[Operand, ...]:
    """Return the value that ``node`` hands on from the caller to a type, ``()`` if it is none."""
    exact = True
    while "TypeCast" in node:
        cast = node["TypeCast"]
        name = cast.get("typeName", {})
        bounds = name.get("arrayBounds")
        type_ = ctx.type({k: v for k, v in name.items() if k != "arrayBounds"})
        if type_ is None or bool(bounds) != array:
            return ()
        if type_.oid >= FIRST_USER_OID and type_.oid != type_oid:
            return ()
        # A cast to varchar(3) compares, and stores, a part: what a part equals tells of the whole.
        exact = exact and not name.get("typmods") and type_.oid in (_TEXT, _VARCHAR, type_oid)
        node = cast.get("arg", {})
        # In text 'x' the type stands before the constant, where no parameter can take its place.
        exact = exact and name.get("location", 0) > node.get("A_Const", {}).get("location", -1)
    tag, value = tagged(node)
    if tag == "ParamRef":
        return (Operand(value.get("number", 0), value.get("location", 0), array, exact),)
    if tag == "A_Const":
        return (Operand(0, value.get("location", 0), array, exact),)
    return ()


def _elements(ctx: Context, node: Node, type_oid: int) -> tuple[Operand, ...]:
    """Return the values of an array that the caller gives, whole or one by one."""
    inner = node
    if "TypeCast" in inner and "A_ArrayExpr" in inner["TypeCast"].get("arg", {}):
        name = inner["TypeCast"].get("typeName", {})
        type_ = ctx.type({k: v for k, v in name.items() if k != "arrayBounds"})
        if type_ is None or type_.oid not in (_TEXT, _VARCHAR, type_oid) or name.get("typmods"):
            return ()
        inner = inner["TypeCast"]["arg"]
    if "A_ArrayExpr" not in inner:
        return operand(ctx, node, type_oid, array=True)
    found: list[Operand] = []
    for element in inner["A_ArrayExpr"].get("elements", ()):
        operands = operand(ctx, element, type_oid)
        if not operands:
            return ()
        found += operands
    return tuple(found)


def _as_stored(ctx: Context, column: Col) -> bool:
    from governed_db.catalog.views import unchanged  # noqa: PLC0415 - reading a view binds expressions

    return bool(column.sources) and all(unchanged(ctx.catalog, source) for source in column.sources)


def _types(ctx: Context, oid: int) -> list[int]:
    """Return the type and, of a domain, those that it is one of."""
    found = [oid]
    for _ in range(_DEPTH):
        type_ = ctx.catalog.types.get(found[-1])
        if type_ is None or type_.kind != "d":
            break
        found.append(type_.base)
    return found


def _scalar(ctx: Context, oid: int) -> bool:
    type_ = ctx.catalog.types.get(_types(ctx, oid)[-1])
    return type_ is not None and type_.kind in "berm" and not type_.relation


def _built_in(ctx: Context, oid: int, name: str, *, qualified: bool) -> bool:
    """Return whether ``name`` between a value of this type and one that the caller gives is PostgreSQL's own.

    Operators of a vetted extension between values of its own type count as that; and no silent cast of
    users may take the column's value elsewhere first.
    """
    own = set(_types(ctx, oid))
    operators = () if qualified else ctx.catalog.operators.get(name, ())
    for operator in operators:
        sides = {operator.left, operator.right}
        if (sides & own or sides & _ANY) and not (
            operator.left == operator.right and _of_extension(ctx, operator.function)
        ):
            return False
    for casts in ctx.catalog.casts.values():
        for cast in casts:
            silent = cast.context == "i" and cast.source in own
            if silent and not (cast.function == 0 and _vetted_type(ctx, cast.source)):
                return False
    return True


def _of_extension(ctx: Context, oid: int) -> bool:
    from governed_db.catalog.reach import reason  # noqa: PLC0415 - likewise

    function = ctx.catalog.function(oid)
    return (
        function is not None
        and function.extension is not None
        and function.kind == "f"
        and reason(ctx.memo, function) is None
    )


def _vetted_type(ctx: Context, oid: int) -> bool:
    """Return whether every operator for equality of a type of users is a vetted extension's."""
    mine = [o for o in ctx.catalog.operators.get("=", ()) if o.left == o.right == oid]
    return bool(mine) and all(_of_extension(ctx, o.function) for o in mine)
