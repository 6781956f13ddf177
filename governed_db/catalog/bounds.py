"""How many rows a write can touch at most, proven by its text and the unique keys of its target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from governed_db.catalog.context import Context, Node
from governed_db.catalog.expressions import reference
from governed_db.catalog.model import Column, Relation
from governed_db.catalog.scope import Ambiguous, Item, Scope
from governed_db.statement.facts import Access

# Types whose values compare equal across each other only if they are the same value. float is missing on
# purpose: many bigints are equal to one double.
_EXACT = ({"int2", "int4", "int8", "numeric"}, {"text", "varchar"})


def quiet(ctx: Context, target: Relation, access: Access, columns: frozenset[int] | None = None) -> bool:
    """Return whether writing ``target`` changes its own rows and nothing else.

    ``columns`` are the numbers of those that an UPDATE sets; ``None``: any.
    """
    if target.kind not in "rp" or target.has_rules:
        return False
    accesses = [access]
    if access is Access.UPDATE:
        columns = target.changed(columns) if columns is not None else None
        if target.kind == "p":
            # A row that moves to another partition is deleted there and inserted here.
            accesses += (Access.DELETE, Access.INSERT)
    role = ctx.session.replication_role
    keys = ctx.memo.referencing.get(target.oid, ())
    for each in accesses:
        if any(t.fires(each, columns, role) for t in target.triggers):
            return False
        if any(k.cascades(each, columns) for k in keys):
            return False
    children = ctx.memo.children.get(target.oid, ())
    return all(
        quiet(ctx, child, each, _same(target, child, columns)) for child in children for each in accesses
    )


def _same(parent: Relation, child: Relation, columns: frozenset[int] | None) -> frozenset[int] | None:
    """Return the numbers that ``columns`` of ``parent`` have in ``child``, where they have the same names."""
    if columns is None:
        return None
    found = [child.column(c.name) for c in parent.columns if c.number in columns]
    return frozenset(c.number for c in found if c is not None) if all(found) else None


def inserted_rows(ctx: Context, query: Node | None) -> int | None:
    """Return how many rows an INSERT of ``query`` (``None``: DEFAULT VALUES) can make."""
    if query is None:
        return 1
    limit = query.get("limitCount", {}).get("A_Const", {}).get("ival")
    if limit is not None and query.get("limitOption") == "LIMIT_OPTION_COUNT":
        count: int = limit.get("ival", 0)
        return count
    lists = query.get("valuesLists")
    if lists is None or "limitCount" in query:
        return None
    if len(lists) == 1 and _may_return_sets(ctx, lists):
        return None  # INSERT ... VALUES (generate_series(...)) makes many rows of one
    return len(lists)


def _may_return_sets(ctx: Context, node: Any) -> bool:
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, list):
            stack.extend(current)
        elif isinstance(current, dict):
            for tag, value in current.items():
                if tag == "FuncCall":
                    candidates, _ = ctx.candidates(value)
                    if not candidates or any(f.returns_set for f in candidates):
                        return True
                elif tag == "A_Indirection" or (tag == "ColumnRef" and len(value.get("fields", ())) > 1):
                    return True  # ('x').f and a.f may be calls as well
                elif tag == "A_Expr" and _own_operator(ctx, value):
                    return True
                if isinstance(value, dict | list) and tag != "typeName":
                    stack.append(value)
    return False


def _own_operator(ctx: Context, value: Node) -> bool:
    words = [n["String"].get("sval", "") for n in value.get("name", ()) if "String" in n]
    return bool(words) and bool(ctx.catalog.operators.get(words[-1]))


def matched_rows(
    ctx: Context, target: Relation, item: Item, scope: Scope, where: Node | None, *, only: bool
) -> int | None:
    """Return how many rows of ``target`` a WHERE can match: known values for a whole unique key."""
    if where is None:
        return None
    if "CurrentOfExpr" in where:
        return 1
    if target.kind != "p" and not only and ctx.memo.children.get(target.oid):
        return None  # a key holds for the parent's own rows, not for those of its children
    fixed: dict[int, int] = {}
    for condition in _conjuncts(where):
        column, count = _known(ctx, target, item, scope, condition)
        if column:
            fixed[column] = min(count, fixed.get(column, count))
    proofs = []
    for key in target.keys:
        if key and key <= fixed.keys():
            rows = 1
            for column in key:
                rows *= fixed[column]
            proofs.append(rows)
    return min(proofs, default=None)


def _conjuncts(where: Node) -> Iterator[Node]:
    stack = [where]
    while stack:
        node = stack.pop()
        both = node.get("BoolExpr", {})
        if both.get("boolop") == "AND_EXPR":
            stack.extend(both.get("args", ()))
        else:
            yield node


def _known(ctx: Context, target: Relation, item: Item, scope: Scope, node: Node) -> tuple[int, int]:
    """Return the target's column that ``node`` sets equal to constants, and how many those are."""
    expression = node.get("A_Expr", {})
    names = [n["String"].get("sval", "") for n in expression.get("name", ()) if "String" in n]
    if names != ["="] or ctx.catalog.operators.get("="):
        return 0, 0
    left, right = expression.get("lexpr", {}), expression.get("rexpr", {})
    kind = expression.get("kind")
    if kind == "AEXPR_IN":
        column = _column(ctx, target, item, scope, left)
        items = right.get("List", {}).get("items", ())
        fits = column is not None and all(_constant(ctx, column, i) for i in items)
        return (column.number, len(items)) if fits and column is not None else (0, 0)
    if kind != "AEXPR_OP":
        return 0, 0
    for side, other in ((left, right), (right, left)):
        column = _column(ctx, target, item, scope, side)
        if column is not None and _constant(ctx, column, other):
            return column.number, 1
    return 0, 0


def _column(ctx: Context, target: Relation, item: Item, scope: Scope, node: Node) -> Column | None:
    ref = node.get("ColumnRef")
    if ref is None:
        return None
    fields = ref.get("fields", ())
    try:
        found = item.find(fields[-1].get("String", {}).get("sval", "")) if fields else None
    except Ambiguous:
        return None
    # Only if the reference means the target's own column, not a namesake from FROM.
    if found is None or reference(ctx, scope, ref).sources != found.sources:
        return None
    if len(fields) > 1 and fields[-2].get("String", {}).get("sval") != item.name:
        return None  # the same table once more in FROM: same column, another row
    number = next(iter(found.sources)).column
    return next((c for c in target.columns if c.number == number), None)


def _constant(ctx: Context, column: Column, node: Node) -> bool:
    if "A_Const" in node:
        return True
    if "ParamRef" in node:
        return True
    cast = node.get("TypeCast")
    if cast is None or not ("A_Const" in cast.get("arg", {}) or "ParamRef" in cast.get("arg", {})):
        return False
    type_ = ctx.type(cast.get("typeName", {}))
    own = ctx.catalog.types.get(column.type_oid)
    if type_ is None or own is None:
        return False
    if type_.oid == own.oid:
        return True
    both = {type_.name, own.name}
    return type_.schema == own.schema == "pg_catalog" and any(both <= group for group in _EXACT)
