"""Expressions: what a value is made of, and which columns are used in making it.

:func:`project` follows a value that is handed on; :func:`consume` notes every column below a node as
used. Nothing is skipped for being unknown: a node without a rule of its own is searched like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from governed_db.catalog import suggest
from governed_db.catalog.absent import column_hint
from governed_db.catalog.bound import Source
from governed_db.catalog.comparing import counts, given, pairs, tells_nullness
from governed_db.catalog.context import SELECT_LIST, WHOLE_ROW, Context, Node
from governed_db.catalog.model import Function, Relation
from governed_db.catalog.names import figure, tagged
from governed_db.catalog.queries import FIRST_USER_OID
from governed_db.catalog.results import COMPUTED, call_type, call_types, choose, constant_type
from governed_db.catalog.scope import NOTHING, Ambiguous, Col, Item, Rows, Scope

# Nodes without columns. A type's modifiers may look like columns (geometry(point)) and never are.
_LEAVES = frozenset(
    {"A_Const", "ParamRef", "typeName", "TypeName", "String", "SetToDefault", "CurrentOfExpr"}
)
JSON_CALLS = {
    "JsonObjectConstructor": "json_object",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayAgg": "json_arrayagg",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "JsonFuncExpr": "",  # its operation is its name
    "MergeSupportFunc": "merge_action",
}
"""Nodes that older servers do not have, with the function that they call instead."""

_CONSTANTS = frozenset({"A_Const", "ParamRef", "SetToDefault", "SQLValueFunction"})


def strings(nodes: Sequence[Node]) -> list[str]:
    """Return the names in a list of String nodes, leaving out anything else."""
    return [n["String"].get("sval", "") for n in nodes if "String" in n]


def starred(fields: Sequence[Node]) -> bool:
    """Return whether a list of fields ends in ``*``."""
    return bool(fields) and "A_Star" in fields[-1]


def item_of(ctx: Context, scope: Scope, names: Sequence[str]) -> Item | None:
    """Return the FROM entry that a qualifier (``t``, ``s.t``, ``db.s.t``) means."""
    try:
        if len(names) == 1:
            return scope.item(names[0])
        if len(names) == 3 and names[0] != ctx.session.database:
            return None
        if len(names) not in (2, 3):
            return None
        schema = ctx.session.temp_schema if names[-2] == "pg_temp" else names[-2]
        return scope.table((schema or "",), names[-1])
    except Ambiguous:
        ctx.gap(f"table name {names[-1]} is ambiguous")
        return None


def reference(ctx: Context, scope: Scope, node: Node) -> Col:
    """Return what a ColumnRef means (parse_expr.c, transformColumnRef), without noting a use."""
    fields = node.get("fields", ())
    names = strings(fields)
    written = ".".join(names)
    try:
        if starred(fields):
            item = item_of(ctx, scope, names)
            if item is not None:
                return item.whole()
        elif len(names) == 1:
            found = scope.column(names[0])
            if found is not None:
                return found
            item = scope.item(names[0])
            if item is not None:
                return item.whole()
        elif names:
            item = item_of(ctx, scope, names[:-1])
            if item is not None:
                return field_of(ctx, item, names[-1], node.get("location", 0))
    except Ambiguous:
        ctx.gap(f"column {written} is ambiguous")
        return Col(names[-1])
    if names and names[0] in ctx.variables:
        if len(names) > 1:
            ctx.called.add(names[-1])  # in SQL functions p.f may be f(p)
        return Col(names[-1])
    ctx.missing(written or "*", "column", node.get("location", 0), partial(column_hint, scope, names))
    return Col(names[-1] if names else "")


def field_of(ctx: Context, item: Item, name: str, location: int) -> Col:
    """Return ``item.name``: its column, else a function of its whole row (parse_func.c)."""
    found = item.find(name)
    if found is not None:
        return found
    ctx.called.add(name)
    if item.rest is None and not any(ctx.catalog.candidates(None, name, ctx.session)):
        hint = partial(suggest.hint, name, [c.name for c in item.columns])
        ctx.missing(f"{item.name}.{name}" if item.name else name, "column", location, hint)
    whole = item.whole().sources
    ctx.use(whole, WHOLE_ROW, location)
    return Col(name, whole)


def project(ctx: Context, scope: Scope, node: Node, clause: str = SELECT_LIST) -> Col:
    """Return the value of ``node`` as it is handed on; only what it computes with counts as used."""
    tag, value = tagged(node)
    if tag == "ColumnRef":
        column = reference(ctx, scope, value)
        if not column.plain and (column.row is not None or starred(value.get("fields", ()))):
            ctx.use(column.sources, WHOLE_ROW, value.get("location", 0))
        return column
    if tag == "SubLink" and value.get("subLinkType") == "EXPR_SUBLINK":
        rows = ctx.query(ctx, value.get("subselect", {}), scope)
        if rows.rest is None and rows.columns:
            return rows.columns[0]
        return Col("", rows.every())
    if tag == "A_Indirection":
        return _indirection(ctx, scope, value, clause)
    if tag in _CONSTANTS or not node:
        return Col("", type_oid=constant_type(tag, value) if node else 0)
    if tag == "TypeCast":
        type_ = ctx.type(value.get("typeName", {}))
        sources = consume(ctx, scope, value.get("arg"), clause)
        oid = type_.oid if type_ is not None else 0
        return Col("", sources, type_oid=oid, row=ctx.fields(oid, sources) if oid else None)
    return Col("", consume(ctx, scope, node, clause), type_oid=_type(ctx, scope, node) or COMPUTED)


def named(ctx: Context, scope: Scope, node: Node, clause: str = SELECT_LIST) -> Col:
    """Return :func:`project`'s value under the name that PostgreSQL would give it."""
    column = project(ctx, scope, node, clause)
    name = figure(node, column.name)
    return column if column.name == name else column._replace(name=name)


def _indirection(ctx: Context, scope: Scope, value: Node, clause: str) -> Col:
    """Return ``(x).field``, ``x[1]``: still the column itself where x is a row of FROM."""
    steps = list(value.get("indirection", ()))
    arg = value.get("arg", {})
    ref = arg.get("ColumnRef")
    column = reference(ctx, scope, ref) if ref is not None else project(ctx, scope, arg, clause)
    location = ref.get("location", 0) if ref is not None else -1
    whole = ref is not None and column.row is not None and not column.plain
    if whole and steps and "String" in steps[0]:
        field = steps[0]["String"].get("sval", "")
        hit = next((c for c in column.row or () if c.name == field), None)
        hit = hit or _system_field(ctx, scope, ref or {}, field)
        if hit is not None:
            column, whole = hit, False
            steps.pop(0)
    if not steps:
        return column
    ctx.use(column.sources, WHOLE_ROW if whole else clause, location)
    return _computed(ctx, scope, column, steps, clause)


def _system_field(ctx: Context, scope: Scope, ref: Node, field: str) -> Col | None:
    item = item_of(ctx, scope, strings(ref.get("fields", ())))
    return item.find(field) if item is not None else None


def _computed(ctx: Context, scope: Scope, column: Col, steps: list[Node], clause: str) -> Col:
    sources, row = column.sources, column.row
    for step in steps:
        field = strings((step,))
        if not field:
            if "A_Indices" in step:
                sources |= consume(ctx, scope, step, clause)
                row = None
            continue
        inner = next((c for c in row or () if c.name == field[0]), None)
        if inner is None:
            ctx.called.add(field[0])
        row = inner.row if inner is not None else None
    return Col("", sources, row=row)


def consume(ctx: Context, scope: Scope, node: Any, clause: str) -> frozenset[Source]:
    """Note every column below ``node`` as used in ``clause``; return their sources.

    Iterative, because chains of operators nest as deep as they are long.
    """
    found: frozenset[Source] = NOTHING
    stack: list[tuple[Any, str]] = [(node, clause)]
    while stack:
        current, why = stack.pop()
        if type(current) is list:
            stack.extend([(n, why) for n in reversed(current)])
            continue
        if type(current) is not dict:
            continue
        for tag, value in current.items():
            if tag in _LEAVES or not value or type(value) is str:
                continue
            if tag == "ColumnRef":
                column = reference(ctx, scope, value)
                whole = (column.row is not None and not column.plain) or starred(value.get("fields", ()))
                ctx.use(column.sources, WHOLE_ROW if whole else why, value.get("location", 0))
                ctx.operand(Rows((column,)))
                found |= column.sources
            elif tag == "A_Indirection":
                column = _indirection(ctx, scope, value, why)
                ctx.use(column.sources, why, _location(value))
                found |= column.sources
            elif tag == "SubLink":
                stack.append((value.get("testexpr"), why))
                found |= _sublink(ctx, scope, value, why)
            elif tag == "SelectStmt":
                found |= _sublink(ctx, scope, {"subselect": {tag: value}}, why)
            elif tag == "FuncCall":
                found |= _rows_of(ctx, value, why)
                found |= _call(ctx, scope, value)
                ctx.operands |= call_types(_called(ctx, scope, value, 0))
                name = strings(value.get("funcname", ()))[-1:]
                counted = counts(ctx, value)
                told = counted is not None and _tell_nullness(ctx, scope, counted, _clause(why, name))
                left_out = ("funcname", "args") if told else ("funcname",)
                stack.append(({k: v for k, v in value.items() if k not in left_out}, _clause(why, name)))
            elif tag in ("A_Expr", "NullTest"):
                _note(ctx, scope, tag, value)
                stack.append((_tested(ctx, scope, tag, value, why), why))
            else:
                _note(ctx, scope, tag, value)
                stack.append((value, why))
    return found


def row_types(ctx: Context, functions: Sequence[Function]) -> list[Relation]:
    """Return the relations whose rows ``functions``, as far as users made them, hand out by their type."""
    types = [ctx.catalog.types.get(f.returns) for f in functions if f.oid >= FIRST_USER_OID]
    relations = [ctx.catalog.relations.get(t.relation) for t in types if t is not None and t.relation]
    return [r for r in relations if r is not None and r.kind in "rpvmf"]


def _rows_of(ctx: Context, value: Node, clause: str) -> frozenset[Source]:
    """Note that the rows which a call returns are used, whatever makes them."""
    if value is ctx.shown:
        return NOTHING
    functions, _ = ctx.candidates(value)
    sources = frozenset(Source(relation.oid, 0) for relation in row_types(ctx, functions))
    ctx.use(sources, clause, value.get("location", 0))
    return sources


def _tell_nullness(ctx: Context, scope: Scope, node: Node, clause: str) -> bool:
    """Note that nothing but whether a column is NULL is told, if ``node`` is one and that is all."""
    ref = node.get("ColumnRef")
    if ref is None or starred(ref.get("fields", ())):
        return False
    column = reference(ctx, scope, ref)
    if not tells_nullness(ctx, column):
        return False
    ctx.use(column.sources, clause, ref.get("location", 0), nullness=True)
    return True


def _tested(ctx: Context, scope: Scope, tag: str, value: Node, clause: str) -> Any:
    """Note what an operator or IS NULL tells of a column alone; return what is left to consume."""
    if tag == "NullTest":
        return None if _tell_nullness(ctx, scope, value.get("arg", {}), clause) else value
    return _compared(ctx, scope, value, clause)


def _compared(ctx: Context, scope: Scope, value: Node, clause: str) -> Any:
    """Note the columns that are compared with values of the caller alone; return what is left to consume.

    What such a comparison says is told by these uses, and only by them: they stand for what it makes.
    """
    single = pairs(value) if ctx.text is not None else None
    if single is None:
        return value
    rest: list[Node] = []
    for pair in single:
        sides = [(pair.left, pair.right)]
        if len(pair.right) == 1:
            sides.append((pair.right[0], (pair.left,)))
        for node, others in sides:
            ref = node.get("ColumnRef")
            if ref is None or starred(ref.get("fields", ())):
                continue
            column = reference(ctx, scope, ref)
            operands = given(ctx, value, column, others)
            if operands:
                ctx.use(column.sources, clause, ref.get("location", 0), operands=operands)
                ctx.operand(Rows((column,)))
                rest += others
                break
        else:
            rest += (pair.left, *pair.right)
    return rest


def _note_operator(ctx: Context, scope: Scope, value: Node) -> None:
    at = value.get("location", 0)
    sides = tuple(_type(ctx, scope, value.get(side, {})) for side in ("lexpr", "rexpr"))
    for operator in ctx.catalog.operators.get("".join(strings(value.get("name", ()))[-1:]), ()):
        ctx.operands.add(operator.result)
    # Queries of views are read beside the statement, and their places are places of another text.
    ctx.compared[at] = sides if ctx.compared.get(at, sides) == sides else ()


def _called(ctx: Context, scope: Scope, value: Node, depth: int) -> Sequence[Function]:
    """Return what a FuncCall can mean, and note the types of its arguments."""
    candidates, _ = ctx.candidates(value)
    catalog = ctx.catalog
    if not (catalog.operator_classes or catalog.casts or any(f.oid >= FIRST_USER_OID for f in candidates)):
        return candidates
    types = tuple(_argument(ctx, scope, a, depth + 1) for a in value.get("args", ()))
    at = value.get("location", 0)
    ctx.passed[at] = types if ctx.passed.get(at, types) == types else ()
    return choose(candidates, types, ctx.memo.strings)


def _argument(ctx: Context, scope: Scope, node: Node, depth: int) -> int:
    constant = node.get("A_Const")
    return constant_type("A_Const", constant) if constant is not None else _type(ctx, scope, node, depth)


def _type(ctx: Context, scope: Scope, node: Node, depth: int = 0) -> int:
    """Return the type of a column, a cast, a call; 0 of anything else."""
    tag, value = tagged(node)
    if tag == "ColumnRef" and not starred(value.get("fields", ())):
        return reference(ctx, scope, value).type_oid
    if tag == "TypeCast":
        type_ = ctx.type(value.get("typeName", {}))
        return type_.oid if type_ is not None else 0
    if tag == "FuncCall" and depth < _CALLS:
        return call_type(_called(ctx, scope, value, depth))
    return 0


_CALLS = 3
"""Calls in calls whose type is looked for: each looks at those in it again, and deeper ones are rare."""


def _note(ctx: Context, scope: Scope, tag: str, value: Node) -> None:
    """Note what an expression calls or compares beside what its operands do."""
    if tag == "A_Expr" and ctx.catalog.operators:
        _note_operator(ctx, scope, value)
    elif tag == "TypeCast":
        # Arrays are compared by their elements.
        names = {k: v for k, v in value.get("typeName", {}).items() if k != "arrayBounds"}
        type_ = ctx.type(names)
        ctx.operands.add(type_.oid if type_ is not None else 0)
    elif tag in JSON_CALLS:
        # A server older than the grammar reads a call of a function of that name here.
        ctx.called.add(JSON_CALLS[tag] or value.get("op", "").removesuffix("_OP").lower())


def _clause(why: str, name: list[str]) -> str:
    # In the select list the call says more than the place; elsewhere (WHERE, ...) the place does.
    return f"{name[0]}()" if why == SELECT_LIST and name else why


def _location(value: Node) -> int:
    ref = value.get("arg", {}).get("ColumnRef")
    return ref.get("location", 0) if ref is not None else -1


def _sublink(ctx: Context, scope: Scope, value: Node, clause: str) -> frozenset[Source]:
    with ctx.inner_uses() as inside:
        rows = ctx.query(ctx, value.get("subselect", {}), scope)
        if value.get("subLinkType") != "EXISTS_SUBLINK":
            ctx.use(rows.every(), clause, value.get("location", -1))
            ctx.operand(rows)
        # Whether there are rows, and which, depends on what the subselect filters by.
        return frozenset(use.source for use in inside if not (use.nullness or use.operands))


def _call(ctx: Context, scope: Scope, value: Node) -> frozenset[Source]:
    args = value.get("args", ())
    if len(args) == 1:
        names = strings(value.get("funcname", ()))
        if len(names) == 1:
            ctx.projected.add(names[0])  # f(t) may be the column t.f; all of t is noted as used either way
    over = value.get("over", {})
    window = over.get("name") or over.get("refname")
    return scope.window(window) if window else NOTHING
