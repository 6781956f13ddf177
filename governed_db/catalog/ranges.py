"""FROM: what each entry brings into scope (parse_clause.c, transformFromClauseItem)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from governed_db.catalog.bound import Source
from governed_db.catalog.context import Context, Node
from governed_db.catalog.expressions import consume, project, strings
from governed_db.catalog.functions import function_columns
from governed_db.catalog.model import Relation
from governed_db.catalog.names import tagged
from governed_db.catalog.scope import NOTHING, Ambiguous, Col, Item, Rows, Scope, renamed
from governed_db.statement.facts import Access

# Views and composite types have no system columns.
_WITH_SYSTEM_COLUMNS = frozenset("rpmtSf")


def from_clause(ctx: Context, nodes: Sequence[Node], scope: Scope) -> None:
    """Bring the entries of a FROM list into ``scope``, each seeing those before it only if LATERAL."""
    for node in nodes:
        scope.items.extend(from_item(ctx, node, scope.items, scope))


def from_item(ctx: Context, node: Node, before: list[Item], scope: Scope) -> list[Item]:
    """Return what one FROM entry brings. ``before`` holds the entries that a LATERAL one can see."""
    tag, value = tagged(node)
    if tag == "RangeVar":
        return [range_var(ctx, value, scope)]
    if tag == "JoinExpr":
        return _join(ctx, value, before, scope)
    if tag == "RangeTableSample":
        items = from_item(ctx, value.get("relation", {}), before, scope)
        consume(ctx, _lateral(before, scope), [value.get("args"), value.get("repeatable")], "TABLESAMPLE")
        return items
    lateral = _lateral(before, scope)
    alias, names = _alias(value)
    if tag == "RangeSubselect":
        seen = lateral if value.get("lateral") else Scope([], scope.outer, scope.ctes)
        rows = ctx.query(ctx, value.get("subquery", {}), seen)
        return [Item(alias, renamed(rows.columns, names), rest=rows.rest)]
    if tag == "RangeFunction":
        rows = _functions(ctx, value, lateral, alias)
        return [Item(alias or _first_function(value), renamed(rows.columns, names), rest=rows.rest)]
    if tag in ("RangeTableFunc", "JsonTable"):
        sources = consume(ctx, lateral, {k: v for k, v in value.items() if k != "alias"}, _TABLES[tag])
        columns = tuple(Col(name, sources) for name in _column_names(value.get("columns", ())))
        if tag == "JsonTable":
            ctx.called.add("json_table")
        default = "xmltable" if tag == "RangeTableFunc" else "json_table"
        return [Item(alias or default, renamed(columns, names))]
    ctx.gap(f"{tag or 'nothing'} in FROM is not understood")
    return [Item(None, (), rest=NOTHING)]


_TABLES = {"RangeTableFunc": "XMLTABLE", "JsonTable": "JSON_TABLE"}


def _lateral(before: list[Item], scope: Scope) -> Scope:
    return Scope(list(before), scope.outer, scope.ctes)


def _alias(value: Node) -> tuple[str | None, tuple[str, ...]]:
    alias = value.get("alias")
    if not alias:
        return None, ()
    return alias.get("aliasname"), tuple(strings(alias.get("colnames", ())))


def range_var(ctx: Context, value: Node, scope: Scope) -> Item:
    """Return what a name in FROM brings: a WITH query of that name before any relation."""
    name = value.get("relname", "")
    alias, names = _alias(value)
    cte = scope.ctes.get(name) if not value.get("schemaname") else None
    if cte is not None:
        rows = bound_cte(ctx, cte)
        return Item(alias or name, renamed(rows.columns, names), rest=rows.rest)
    relation = ctx.relation(value, Access.READ)
    return Item(alias or name, (), rest=NOTHING) if relation is None else table(ctx, relation, alias, names)


def table(ctx: Context, relation: Relation, alias: str | None = None, names: tuple[str, ...] = ()) -> Item:
    """Return what ``relation`` brings under ``alias``."""
    return Item(
        alias or relation.name,
        renamed(ctx.columns(relation), names),
        relation=None if alias else relation,
        system=relation.oid if relation.kind in _WITH_SYSTEM_COLUMNS else 0,
    )


def bound_cte(ctx: Context, cte: Any) -> Rows:
    """Return the columns of a WITH query, binding it when it is first named."""
    if cte.rows is None and not cte.busy and cte.scope is not None:
        cte.busy = True
        rows = ctx.query(ctx, {"CommonTableExpr": cte.node, "cte": cte}, cte.scope)
        cte.rows, cte.busy = rows, False
    if cte.rows is None:
        ctx.gap("a WITH query refers to itself in a way that is not understood")
        return Rows((), NOTHING)
    rows = cte.rows
    return Rows(renamed(rows.columns, cte.names), rows.rest) if cte.busy else rows


def _join(ctx: Context, value: Node, before: list[Item], scope: Scope) -> list[Item]:
    left = from_item(ctx, value.get("larg", {}), before, scope)
    right = from_item(ctx, value.get("rarg", {}), before + left, scope)
    lefts, rights = _visible(left), _visible(right)
    names = strings(value.get("usingClause", ()))
    if value.get("isNatural"):
        have = {c.name for c in rights[0]}
        names = [c.name for c in lefts[0] if c.name in have]
        if lefts[1] is not None or rights[1] is not None:
            ctx.gap("NATURAL JOIN with columns that are not known")
    merged = [_merge(ctx, value, name, left, right) for name in names]
    if value.get("quals"):
        consume(ctx, Scope(left + right, scope.outer, scope.ctes), value["quals"], "JOIN ... ON")
    using = set(names)
    columns = (
        *merged,
        *(c for c in lefts[0] if c.name not in using),
        *(c for c in rights[0] if c.name not in using),
    )
    rest = None if lefts[1] is None and rights[1] is None else (lefts[1] or NOTHING) | (rights[1] or NOTHING)
    alias, renames = _alias(value)
    if alias:
        items = [Item(alias, renamed(columns, renames), rest=rest)]
    else:
        for item in left + right:
            item.by_column = False
        items = [*left, *right, Item(None, columns, rest=rest, by_name=False)]
    using_alias = value.get("join_using_alias")
    if using_alias:
        items.append(Item(using_alias.get("aliasname"), tuple(merged), by_column=False))
    return items


def _visible(items: list[Item]) -> tuple[tuple[Col, ...], frozenset[Source] | None]:
    """Return the columns that ``*`` would give of ``items``."""
    shown = [i for i in items if i.by_column]
    rests = [i.rest for i in shown if i.rest is not None]
    columns = tuple(c for i in shown for c in i.columns)
    return columns, NOTHING.union(*rests) if rests else None


def _merge(ctx: Context, value: Node, name: str, left: list[Item], right: list[Item]) -> Col:
    """Return the one column that JOIN ... USING makes of two (parse_clause.c, buildMergedJoinVar)."""
    sides = []
    for items in (left, right):
        try:
            found, guesses = Scope(items).own_column(name)
        except Ambiguous:
            ctx.gap(f"column {name} in USING is ambiguous")
            found, guesses = None, NOTHING
        if found is None and guesses is None:
            ctx.missing(name, "column")
        sides.append(found or Col(name, guesses or NOTHING))
    a, b = sides
    ctx.use(a.sources | b.sources, "JOIN ... USING", -1)
    ctx.operand(Rows((a, b)))
    kind = value.get("jointype", "JOIN_INNER")
    if kind == "JOIN_LEFT":
        return a
    if kind == "JOIN_RIGHT":
        return b
    both = a.plain and b.plain and kind == "JOIN_INNER"  # FULL is a COALESCE of the two
    return Col(name, a.sources | b.sources, both, a.type_oid)


def _functions(ctx: Context, value: Node, lateral: Scope, alias: str | None) -> Rows:
    calls = [entry.get("List", {}).get("items", ()) for entry in value.get("functions", ())]
    columns: list[Col] = []
    rest: frozenset[Source] | None = None
    for call in calls:
        node = call[0] if call else {}
        ctx.shown = node.get("FuncCall")
        sources = project(ctx, lateral, node, _clause(node)).sources
        if "ColumnRef" not in node:
            ctx.use(sources, _clause(node), -1)
        listed = value.get("coldeflist") or (call[1].get("List", {}).get("items") if len(call) > 1 else None)
        if listed:
            columns += [_defined(ctx, c.get("ColumnDef", {}), sources) for c in listed]
            continue
        found = function_columns(ctx, lateral, node, alias if len(calls) == 1 else None, sources)
        columns += found.columns
        if found.rest is not None:
            rest = (rest or NOTHING) | found.rest
    if value.get("ordinality"):
        columns.append(Col("ordinality"))
    return Rows(tuple(columns), rest)


def _defined(ctx: Context, definition: Node, sources: frozenset[Source]) -> Col:
    type_ = ctx.type(definition.get("typeName", {}))
    oid = type_.oid if type_ is not None else 0
    return Col(definition.get("colname", ""), sources, False, oid, ctx.fields(oid, sources) if oid else None)


def _clause(node: Node) -> str:
    name = strings(node.get("FuncCall", {}).get("funcname", ()))
    return f"{name[-1]}() in FROM" if name else "an expression in FROM"


def _first_function(value: Node) -> str | None:
    for entry in value.get("functions", ()):
        for node in entry.get("List", {}).get("items", ())[:1]:
            name = strings(node.get("FuncCall", {}).get("funcname", ()))
            return name[-1] if name else None
    return None


def _column_names(columns: Sequence[Node]) -> list[str]:
    names: list[str] = []
    for node in columns:
        _, value = tagged(node)
        if value.get("coltype") == "JTC_NESTED":
            names += _column_names(value.get("columns", ()))
        else:
            names.append(value.get("colname") or value.get("name") or "")
    return names
